"""A promotion's way from request to live: checks, waiting, applying, verifying."""

from __future__ import annotations

import logging
from contextlib import suppress

from seamline.app.platform import Platform
from seamline.app.promote.apply_release import enter_packages
from seamline.app.promote.check_gates import check_gates
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
from seamline.domain.states import PromotionPhase
from seamline.promote.code import find_by_code_run, promotes_code
from seamline.promote.decide import decide_step
from seamline.promote.environments import TRAINING
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import find_release
from seamline.promote.rounds import find_round, is_begun
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
    _check_and_advance(platform, ready, fact.id)


def _check_and_advance(platform: Platform, promotion: Promotion, caused_by: str | None) -> None:
    stores = platform.stores
    with stores.db.read() as connection:
        release = find_release(connection, promotion.goes_live)
        began = find_round(connection, promotion)
    if not check_gates(platform, promotion, release):
        return
    with stores.db.read() as connection:
        is_same = find_round(connection, promotion) == began
    after = advance(stores, promotion.id, caused_by=caused_by) if is_same else promotion
    if after.phase is PromotionPhase.CHECKING:
        raise Unavailable(
            f"The policy of {after.environment} changed while promotion {promotion.id} "
            "was checked: its gates are checked again."
        )


def advance_waiting(platform: Platform) -> None:
    """Promotions that wait only for time go on when it has passed, and those whose policy changed
    are checked again: whoever approved is to see that it does not count any more. Gates that went
    on by themselves are looked at. One that cannot be looked at (its release was altered, for one)
    holds up no other."""
    with platform.stores.db.read() as connection:
        found = list_promotions(connection, open_only=True)
    checking = [one for one in found if one.phase is PromotionPhase.CHECKING]
    platform.gate_work.keep_only([one.id for one in checking])
    for promotion in found:
        try:
            if promotion.phase is PromotionPhase.AWAITING_APPROVAL:
                _go_on_in_time(platform, promotion)
            elif promotion.phase is PromotionPhase.CHECKING:
                _go_on_checking(platform, promotion)
        except SeamlineError as error:
            _LOG.warning("promotion %s cannot go on: %s", promotion.id, error)


def _go_on_in_time(platform: Platform, promotion: Promotion) -> None:
    with platform.stores.db.read() as connection:
        step = decide_step(load_situation(connection, platform.stores, promotion))
    if step.phase is not None or step.dismiss:
        advance(platform.stores, promotion.id)


def _go_on_checking(platform: Platform, promotion: Promotion) -> None:
    """One that was begun: the first look is that of the fact that it moved by."""
    with platform.stores.db.read() as connection:
        if not is_begun(connection, promotion):
            return
        began = find_round(connection, promotion)
    _check_and_advance(platform, promotion, began)
