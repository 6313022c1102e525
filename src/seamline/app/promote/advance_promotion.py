"""A promotion's way from request to live: checks, waiting, applying, verifying."""

from __future__ import annotations

import logging
from contextlib import suppress

from seamline.app.platform import Platform
from seamline.app.promote.apply_release import enter_packages
from seamline.app.promote.gates import gates_of
from seamline.domain.errors import DigestMismatch, NotFound, SeamlineError, Unavailable
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.decide import why_not_yet
from seamline.promote.environments import find_environment
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.situation import load_situation
from seamline.promote.steps import advance, point_environment
from seamline.store.facts import RecordedFact

_LOG = logging.getLogger("seamline.promotions")


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
            with suppress(DigestMismatch, NotFound):  # what the gates say, too
                enter_packages(platform, promotion.environment, release, by=fact.by)
            _check(platform, promotion, release)
            after = advance(platform.stores, promotion_id, caused_by=fact.id)
            if after.phase is PromotionPhase.CHECKING:
                raise Unavailable(
                    f"The policy of {after.environment} changed while promotion {promotion_id} "
                    "was checked: its gates are checked again."
                )
        case PromotionPhase.AWAITING_APPROVAL:
            advance(platform.stores, promotion_id, caused_by=fact.id)
        case PromotionPhase.APPLYING:
            point_environment(platform.stores, promotion_id, caused_by=fact.id)
        case _:
            return


def _check(platform: Platform, promotion: Promotion, release: StoredRelease) -> None:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    for name, gate in gates_of(platform, policy, promotion, release).items():
        try:
            result = gate(platform, promotion, release)
        except SeamlineError as error:
            # A gate that breaks is an error, not a failed check (law 7).
            result = GateResult(name, Verdict.ERROR, str(error), {"error": error.message})
        record_gate(platform.stores, promotion.id, result, by="seamline")


def advance_waiting(platform: Platform) -> None:
    """Promotions that wait only for time go on when it has passed; one that cannot be looked at
    (its release was altered, for one) holds up no other."""
    with platform.stores.db.read() as connection:
        found = list_promotions(connection, open_only=True)
    for promotion in found:
        if promotion.phase is not PromotionPhase.AWAITING_APPROVAL:
            continue
        try:
            with platform.stores.db.read() as connection:
                waits = why_not_yet(load_situation(connection, platform.stores, promotion))
            if not waits:
                advance(platform.stores, promotion.id)
        except SeamlineError as error:
            _LOG.warning("promotion %s cannot go on: %s", promotion.id, error)
