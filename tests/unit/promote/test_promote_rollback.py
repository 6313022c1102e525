"""Rollback, holds and broken glass: what comes in past the regular way, and what keeps back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Refused
from seamline.domain.promote_facts import HoldSet, RollbackRequested
from seamline.domain.states import PromotionKind, PromotionPhase, Role, Verdict
from seamline.promote.approvals import approve
from seamline.promote.environments import apply_policies, find_environment, live_release
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.glass import break_glass, broken_glass, mend_glass
from seamline.promote.holds import lift_holds, set_hold, standing_holds
from seamline.promote.policy import DEFAULT_POLICIES, BreakGlassRule, gates_asked
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_emergency, request_promotion, request_rollback
from seamline.promote.steps import advance, finish, point_environment
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.roles import Principal

BEA = Principal("bea", frozenset({Role.APPROVER}))
ROOT = Principal("root", frozenset({Role.ADMIN}))


@pytest.fixture
def house(stores: Stores) -> Stores:
    """Releases r1, r2 and r3; development takes any, staging one approval."""
    policies = [replace(one, soak_s=0.0, min_successes=1) for one in DEFAULT_POLICIES]
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(policies), by="root")
    for number in (1, 2, 3):
        pin = Pin("m", str(number), f"sha256:{number:064x}")
        record_release(stores, Release(packages=(pin,)), f"r{number}", by="ada")
    return stores


def check(stores: Stores, promotion: Promotion, verdict: Verdict = Verdict.PASS) -> Promotion:
    """Through the gates, all decided so."""
    advance(stores, promotion.id)
    with stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    for gate in gates_asked(policy, promotion.kind):
        record_gate(stores, promotion.id, GateResult(gate, verdict, "", {}), by="seamline")
    return advance(stores, promotion.id)


def apply(stores: Stores, promotion: Promotion) -> Promotion:
    after = point_environment(stores, promotion.id)
    if after.phase is PromotionPhase.VERIFYING:
        finish(stores, promotion.id, PromotionPhase.LIVE, "", caused_by=None)
    return found(stores, promotion)


def found(stores: Stores, promotion: Promotion) -> Promotion:
    with stores.db.read() as connection:
        return find_promotion(connection, promotion.id)


def live(stores: Stores, environment: str = "development") -> str | None:
    with stores.db.read() as connection:
        release = live_release(connection, environment)
    return release.alias if release else None


def promote(stores: Stores, alias: str, environment: str = "development") -> Promotion:
    promotion = check(stores, request_promotion(stores, alias, environment, by="ada"))
    if promotion.phase is PromotionPhase.AWAITING_APPROVAL:
        approve(stores, promotion.id, BEA, {})
        promotion = advance(stores, promotion.id)
    return apply(stores, promotion)


def roll_back(stores: Stores, to: str | None = None) -> Promotion:
    asked = request_rollback(stores, "development", "bad on Mondays", by="bea", to=to)
    return apply(stores, check(stores, asked))


def test_a_rollback_brings_back_what_was_live_and_holds_what_goes(house: Stores) -> None:
    first, second = promote(house, "r1"), promote(house, "r2")
    back = roll_back(house)
    assert live(house) == "r1"
    assert (back.kind, back.phase) == (PromotionKind.ROLLBACK, PromotionPhase.LIVE)
    assert found(house, second).phase is PromotionPhase.ROLLED_BACK
    assert found(house, first).phase is PromotionPhase.SUPERSEDED
    with house.db.read() as connection:
        [hold] = standing_holds(connection)
        [asked] = read_facts(connection, kinds=[RollbackRequested.kind])
        [held] = read_facts(connection, kinds=[HoldSet.kind])
    assert (hold.reason, hold.set_by) == ("bad on Mondays", "bea")
    assert asked.body["rolled_back"] == hold.release
    assert held.caused_by == asked.id
    with pytest.raises(Refused, match="was rolled back in development by bea"):
        request_promotion(house, "r2", "development", by="ada")
    promote(house, "r3")  # a mended one may come
    assert live(house) == "r3"
    lift_holds(house, "development", "understood", by="bea")
    promote(house, "r2")
    assert live(house) == "r2"


def test_each_rollback_goes_one_further_back(house: Stores) -> None:
    for alias in ("r1", "r2", "r3"):
        promote(house, alias)
    roll_back(house)
    assert live(house) == "r2"
    roll_back(house)
    assert live(house) == "r1"
    with pytest.raises(Refused, match="No other release was live in development"):
        roll_back(house)


def test_a_rollback_to_a_named_release(house: Stores) -> None:
    with pytest.raises(Refused, match="Nothing is live in development"):
        roll_back(house)
    promote(house, "r1")
    promote(house, "r2")
    with pytest.raises(Refused, match="was never live in development"):
        roll_back(house, to="r3")
    with pytest.raises(InvalidInput, match="Release r2 is what is live"):
        roll_back(house, to="r2")
    with pytest.raises(InvalidInput, match="A rollback needs a reason"):
        request_rollback(house, "development", "  ", by="bea")
    roll_back(house, to="r1")
    assert live(house) == "r1"


def test_bytes_that_do_not_hold_are_not_rolled_back_to(house: Stores) -> None:
    promote(house, "r1")
    promote(house, "r2")
    asked = request_rollback(house, "development", "bad", by="bea")
    after = check(house, asked, Verdict.FAIL)
    assert after.phase is PromotionPhase.FAILED
    assert live(house) == "r2"


def test_what_was_rolled_back_upstream_does_not_go_on(house: Stores) -> None:
    promote(house, "r1")
    promote(house, "r2")
    roll_back(house)
    with pytest.raises(Refused, match="has not been live in development"):
        request_promotion(house, "r2", "staging", by="ada")
    assert request_promotion(house, "r1", "staging", by="ada").environment == "staging"


def test_a_hold_by_hand_keeps_everything_back(house: Stores) -> None:
    set_hold(house, "development", "audit week", by="root")
    waiting = check(house, request_promotion(house, "r1", "development", by="ada"))
    assert waiting.phase is PromotionPhase.AWAITING_APPROVAL
    assert "development is on hold by root since" in waiting.reason
    lift_holds(house, "development", "over", by="root")
    assert apply(house, advance(house, waiting.id)).phase is PromotionPhase.LIVE
    with pytest.raises(NotFound, match="There is no hold on development"):
        lift_holds(house, "development", "again", by="root")


def test_a_hold_that_comes_before_the_pointer_moves_sends_it_back(house: Stores) -> None:
    applying = check(house, request_promotion(house, "r1", "development", by="ada"))
    assert applying.phase is PromotionPhase.APPLYING
    set_hold(house, "development", "wait", by="root")
    assert point_environment(house, applying.id).phase is PromotionPhase.AWAITING_APPROVAL
    assert live(house) is None


def test_a_policy_that_changes_before_the_pointer_moves_is_checked(house: Stores) -> None:
    applying = check(house, request_promotion(house, "r1", "development", by="ada"))
    stricter = [replace(one, gates=("digests",)) if one.name == "development" else one
                for one in DEFAULT_POLICIES]  # fmt: skip
    with house.db.transaction() as tx:
        apply_policies(tx, house.facts, tuple(stricter), by="root")
    assert point_environment(house, applying.id).phase is PromotionPhase.CHECKING
    assert live(house) is None


def test_emergencies_come_in_under_broken_glass_only(house: Stores) -> None:
    with pytest.raises(Forbidden, match="root has not broken the glass of production"):
        request_emergency(house, "r1", "production", by="root")
    with pytest.raises(Forbidden, match="its policy lets admin"):
        break_glass(house, "production", BEA, "fire", 60)
    with pytest.raises(InvalidInput, match="for 4 h at the longest, not for 5 h"):
        break_glass(house, "production", ROOT, "fire", 5 * 3600)
    with pytest.raises(InvalidInput, match="needs a reason"):
        break_glass(house, "production", ROOT, "", 60)
    break_glass(house, "production", ROOT, "fire", 60)
    with pytest.raises(Conflict, match="already"):
        break_glass(house, "production", ROOT, "fire", 60)
    with pytest.raises(Forbidden, match="ada has not broken"):
        request_emergency(house, "r1", "production", by="ada")
    came = apply(house, check(house, request_emergency(house, "r1", "production", by="root")))
    assert (came.kind, came.phase) == (PromotionKind.EMERGENCY, PromotionPhase.LIVE)
    assert live(house, "production") == "r1"


def test_emergencies_do_not_come_past_the_bytes(house: Stores) -> None:
    break_glass(house, "production", ROOT, "fire", 60)
    came = check(house, request_emergency(house, "r1", "production", by="root"), Verdict.FAIL)
    assert came.phase is PromotionPhase.FAILED


def test_glass_closes_with_time_or_by_hand(house: Stores, clock: ManualClock) -> None:
    break_glass(house, "production", ROOT, "fire", 60)
    late = check(house, request_emergency(house, "r1", "production", by="root"))
    clock.advance(61)
    with house.db.read() as connection:
        assert broken_glass(connection, clock.now()) == []
    assert point_environment(house, late.id).phase is PromotionPhase.FAILED
    assert "glass that it came in under is whole again" in found(house, late).reason
    break_glass(house, "production", ROOT, "again", 60)
    mend_glass(house, "production", by="bea")
    with pytest.raises(Forbidden):
        request_emergency(house, "r1", "production", by="root")
    with pytest.raises(NotFound, match="is whole"):
        mend_glass(house, "production", by="bea")


def test_nobody_breaks_the_glass_where_the_policy_names_nobody(house: Stores) -> None:
    shut = [replace(one, break_glass=BreakGlassRule(())) for one in DEFAULT_POLICIES]
    with house.db.transaction() as tx:
        apply_policies(tx, house.facts, tuple(shut), by="root")
    with pytest.raises(Forbidden, match="its policy lets nobody"):
        break_glass(house, "production", ROOT, "fire", 60)
