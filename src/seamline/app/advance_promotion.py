"""A promotion's way from request to live: checks, waiting, applying, verifying."""

from __future__ import annotations

from seamline.app.gates import GATES
from seamline.app.platform import Platform
from seamline.domain.errors import SeamlineError
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.decide import why_not_yet
from seamline.promote.environments import find_environment
from seamline.promote.promotions import (
    GateResult,
    Promotion,
    advance,
    find_promotion,
    finish,
    list_promotions,
    load_situation,
    point_environment,
    record_gate,
)
from seamline.promote.release import StoredRelease, find_release
from seamline.store.facts import RecordedFact


def on_promotion_moved(platform: Platform, fact: RecordedFact) -> None:
    """Does what the promotion's *present* phase asks for; safe to do again."""
    promotion_id = fact.body["promotion_id"]
    with platform.stores.db.read() as connection:
        promotion = find_promotion(connection, promotion_id)
        release = find_release(connection, promotion.release)
    match promotion.phase:
        case PromotionPhase.REQUESTED:
            advance(platform.stores, promotion_id, caused_by=fact.id)
        case PromotionPhase.CHECKING:
            _check(platform, promotion, release)
            advance(platform.stores, promotion_id, caused_by=fact.id)
        case PromotionPhase.AWAITING_APPROVAL:
            advance(platform.stores, promotion_id, caused_by=fact.id)
        case PromotionPhase.APPLYING:
            point_environment(platform.stores, promotion, caused_by=fact.id)
        case _:
            return


def _check(platform: Platform, promotion: Promotion, release: StoredRelease) -> None:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    for gate in policy.gates:
        try:
            result = GATES[gate](platform, promotion, release)
        except SeamlineError as error:
            # A gate that breaks is an error, not a failed check (law 7).
            result = GateResult(gate, Verdict.ERROR, str(error), {"error": error.message})
        record_gate(platform.stores, promotion.id, result, by="seamline")


def advance_waiting(platform: Platform) -> None:
    """Promotions that wait only for time go on when it has passed."""
    with platform.stores.db.read() as connection:
        waiting = [
            one
            for one in list_promotions(connection, open_only=True)
            if one.phase is PromotionPhase.AWAITING_APPROVAL
            and not why_not_yet(load_situation(connection, platform.stores, one))
        ]
    for promotion in waiting:
        advance(platform.stores, promotion.id)


def fail_promotion(platform: Platform, promotion_id: str, error: SeamlineError, cause: str) -> None:
    finish(platform.stores, promotion_id, PromotionPhase.FAILED, str(error), caused_by=cause)
