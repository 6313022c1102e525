"""A promotion's way from request to live: checks, waiting, applying, verifying."""

from __future__ import annotations

import logging
from contextlib import suppress

from seamline.app.platform import Platform
from seamline.app.promote.apply_release import enter_packages
from seamline.app.promote.gates import gates_of
from seamline.app.promote.promote_code import retrain_in_place
from seamline.domain.errors import (
    Conflict,
    DigestMismatch,
    InvalidInput,
    NotFound,
    Refused,
    SeamlineError,
    Unavailable,
)
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.code import find_by_code_run, promotes_code
from seamline.promote.decide import decide_step
from seamline.promote.environments import TRAINING, find_environment
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.situation import load_situation
from seamline.promote.steps import advance, finish, point_environment
from seamline.store.facts import RecordedFact

#: What will say the same again, however often the environment is trained in.
FINAL = (InvalidInput, NotFound, Refused, Conflict, DigestMismatch)
_LOG = logging.getLogger("seamline.promotions")


def on_promotion_moved(platform: Platform, fact: RecordedFact) -> None:
    """Does what the promotion's *present* phase asks for; safe to do again."""
    promotion_id = fact.body["promotion_id"]
    with platform.stores.db.read() as connection:
        promotion = find_promotion(connection, promotion_id)
    match promotion.phase:
        case PromotionPhase.REQUESTED:
            advance(platform.stores, promotion_id, caused_by=fact.id)
        case PromotionPhase.CHECKING:
            _go_through_gates(platform, promotion, fact)
        case PromotionPhase.AWAITING_APPROVAL:
            advance(platform.stores, promotion_id, caused_by=fact.id)
        case PromotionPhase.APPLYING:
            point_environment(platform.stores, promotion_id, caused_by=fact.id)
        case _:
            return


def on_run_ended(platform: Platform, fact: RecordedFact) -> None:
    """What a promotion of code has trained, or predicted with it, is checked on."""
    if fact.body["environment"] == TRAINING:
        return
    with platform.stores.db.read() as connection:
        found = find_by_code_run(connection, fact.body["environment"], fact.body["run_id"])
    if found is not None:
        _go_through_gates(platform, found, fact)


def _go_through_gates(platform: Platform, promotion: Promotion, fact: RecordedFact) -> None:
    stores = platform.stores
    with stores.db.read() as connection:
        is_code = promotes_code(connection, promotion)
    try:
        if promotion.retrained is not None and not is_code:
            raise Refused(f"{promotion.environment} does not take over code any more.")
        ready = retrain_in_place(platform, promotion, fact) if is_code else promotion
    except FINAL as error:
        finish(stores, promotion.id, PromotionPhase.FAILED, str(error), caused_by=fact.id)
        return
    if ready is None:
        return  # the end of a run comes here
    with stores.db.read() as connection:
        release = find_release(connection, ready.goes_live)
    with suppress(DigestMismatch, NotFound):  # what the gates say, too
        enter_packages(platform, ready.environment, release, by=fact.by)
    _check(platform, ready, release)
    after = advance(stores, promotion.id, caused_by=fact.id)
    if after.phase is PromotionPhase.CHECKING:
        raise Unavailable(
            f"The policy of {after.environment} changed while promotion {promotion.id} "
            "was checked: its gates are checked again."
        )


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
    """Promotions that wait only for time go on when it has passed, and those whose policy changed
    are checked again: whoever approved is to see that it does not count any more. One that cannot
    be looked at (its release was altered, for one) holds up no other."""
    with platform.stores.db.read() as connection:
        found = list_promotions(connection, open_only=True)
    for promotion in found:
        if promotion.phase is not PromotionPhase.AWAITING_APPROVAL:
            continue
        try:
            with platform.stores.db.read() as connection:
                step = decide_step(load_situation(connection, platform.stores, promotion))
            if step.phase is not None or step.dismiss:
                advance(platform.stores, promotion.id)
        except SeamlineError as error:
            _LOG.warning("promotion %s cannot go on: %s", promotion.id, error)
