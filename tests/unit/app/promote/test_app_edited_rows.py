"""Rows edited by hand, bytes altered, clocks put back: what notices it, and that nothing that was
not allowed becomes live by it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, text, update

from seamline.app.promote.advance_promotion import advance_waiting
from seamline.app.promote.show_release import verify_release
from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, DigestMismatch, SeamlineError
from seamline.domain.states import PromotionPhase, Role
from seamline.promote.admission import admit
from seamline.promote.approvals import approve
from seamline.promote.environments import (
    apply_policies,
    find_environment,
    live_release,
)
from seamline.promote.holds import set_hold
from seamline.promote.policy import DEFAULT_POLICIES, ApprovalRule
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.recount import all_problems
from seamline.promote.release import Pin, Release, find_release, record_release
from seamline.promote.requests import request_promotion, request_rollback
from seamline.promote.rows import (
    APPROVALS,
    ENVIRONMENTS,
    GATE_RESULTS,
    HOLDS,
    PROMOTIONS,
    RELEASES,
)
from seamline.server import ControlPlane
from seamline.store.facts import verify_chain
from seamline.trust.roles import Principal

BEA = Principal("bea", frozenset({Role.APPROVER}))
OTHER = "sha256:" + "0f" * 32
HERE = "development"


def settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def rules(plane: ControlPlane, **changes: Any) -> None:
    """The bytes are looked at, and somebody approves, in development; `changes`: of its policy."""
    plain = [replace(one, gates=("digests",), soak_s=0.0, automatic=False)
             for one in DEFAULT_POLICIES]  # fmt: skip
    plain[1] = replace(plain[1], approvals=ApprovalRule(1), **changes)
    with plane.platform.stores.db.transaction() as tx:
        apply_policies(tx, plane.platform.stores.facts, tuple(plain), by="root")


def release(plane: ControlPlane, alias: str) -> str:
    """Of one lock that is stored."""
    digest = plane.platform.stores.blobs.put(alias.encode())
    made = Release(locks=(Pin("m", alias, digest),))
    return record_release(plane.platform.stores, made, alias, by="ada").digest


def phase_of(plane: ControlPlane, promotion: Promotion) -> PromotionPhase:
    with plane.platform.stores.db.read() as connection:
        return find_promotion(connection, promotion.id).phase


def live_in(plane: ControlPlane, environment: str = HERE) -> str | None:
    with plane.platform.stores.db.read() as connection:
        return find_environment(connection, environment).release


def bring_in(plane: ControlPlane, alias: str) -> Promotion:
    asked = request_promotion(plane.platform.stores, alias, HERE, by="ada")
    settle(plane)
    approve(plane.platform.stores, asked.id, BEA, {})
    settle(plane)
    assert phase_of(plane, asked) is PromotionPhase.LIVE
    return asked


def try_to_go_on(plane: ControlPlane, promotion: Promotion) -> None:
    """Whatever people and the loop would do next."""
    for step in (
        lambda: advance_waiting(plane.platform),
        lambda: approve(plane.platform.stores, promotion.id, BEA, {}),
        lambda: advance_waiting(plane.platform),
    ):
        with suppress(SeamlineError):
            step()
        settle(plane)


@dataclass(frozen=True)
class Edit:
    """`done`: to the promotion of r1, which waits for an approval; `named`: what says so."""

    done: Callable[[Connection, str], Any]
    named: str


def _forge_approval(tx: Connection, promotion: str) -> None:
    row = tx.execute(PROMOTIONS.select().where(PROMOTIONS.c.id == promotion)).one()
    tx.execute(
        insert(APPROVALS).values(
            id="forged",
            promotion_id=promotion,
            principal="bea",
            policy_digest=row.policy_digest,
            evidence_digest=row.evidence_digest,
            comment="",
            at=row.requested_at,
            self_approved="",
        )
    )


def _of(table: Any, **values: Any) -> Callable[[Connection, str], Any]:
    """That promotion's rows in the table."""
    key = "id" if table is PROMOTIONS else "promotion_id"
    return lambda tx, promotion: tx.execute(
        update(table).where(table.c[key] == promotion).values(**values)
    )


def _loosen(tx: Connection, promotion: str) -> None:
    row = tx.execute(ENVIRONMENTS.select().where(ENVIRONMENTS.c.name == HERE)).one()
    loose = row.policy.replace('"count": 1', '"count": 0')
    assert loose != row.policy
    tx.execute(update(ENVIRONMENTS).where(ENVIRONMENTS.c.name == HERE).values(policy=loose))


EDITS = {
    "an approval that nobody gave": Edit(_forge_approval, "no fact tells the approval of bea"),
    "a phase": Edit(_of(PROMOTIONS, phase="applying"), "phase: its row says applying"),
    "another release": Edit(_of(PROMOTIONS, release=OTHER), "release: its row says"),
    "another requester": Edit(_of(PROMOTIONS, requested_by="bea"), "requested_by: its row says"),
    "another kind": Edit(_of(PROMOTIONS, kind="rollback"), "kind: its row says rollback"),
    "evidence of a gate": Edit(_of(GATE_RESULTS, evidence='{"checked":[]}'), "gate digests: its"),
    "a gate's verdict": Edit(_of(GATE_RESULTS, verdict="fail"), "gate digests: its row says"),
    "a gate's row": Edit(
        lambda tx, promotion: tx.execute(delete(GATE_RESULTS)), "gate digests: its row says None"
    ),
    "the policy": Edit(_loosen, "policy of development: its row says"),
    "the frozen evidence": Edit(
        _of(PROMOTIONS, evidence_digest=OTHER), "not what it was when approval was asked"
    ),
    "a hold that is lifted": Edit(
        lambda tx, promotion: tx.execute(update(HOLDS).values(lifted_at="2026-01-01")), "hold "
    ),
    "a hold that is gone": Edit(lambda tx, promotion: tx.execute(delete(HOLDS)), "its row is gone"),
    "the release's document": Edit(
        lambda tx, promotion: tx.execute(update(RELEASES).values(document='{"schema": 1}')),
        "expected sha256:",
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_row_brings_nothing_in(plane: ControlPlane, what: str) -> None:
    stores = plane.platform.stores
    rules(plane)
    release(plane, "r1")
    asked = request_promotion(stores, "r1", HERE, by="ada")
    settle(plane)
    if "hold" in what:
        set_hold(stores, HERE, "audit", by="root")
    with stores.db.read() as connection:
        assert all_problems(connection) == []
    with stores.db.transaction() as tx:
        EDITS[what].done(tx, asked.id)
    with stores.db.read() as connection:
        assert any(EDITS[what].named in one for one in all_problems(connection))
    try_to_go_on(plane, asked)
    assert live_in(plane) is None
    with stores.db.read() as connection:
        assert verify_chain(connection).broken is None


def test_without_an_edit_it_goes_live(plane: ControlPlane) -> None:
    """Or the test above would prove nothing."""
    rules(plane)
    digest = release(plane, "r1")
    asked = request_promotion(plane.platform.stores, "r1", HERE, by="ada")
    settle(plane)
    try_to_go_on(plane, asked)
    assert live_in(plane) == digest


def test_an_approval_whose_row_is_gone_is_named_and_asked_for_again(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    rules(plane)
    release(plane, "r1")
    asked = request_promotion(stores, "r1", HERE, by="ada")
    settle(plane)
    set_hold(stores, HERE, "wait", by="root")
    approve(stores, asked.id, BEA, {})
    with stores.db.transaction() as tx:
        tx.execute(delete(APPROVALS))
    settle(plane)
    with stores.db.read() as connection:
        [problem] = all_problems(connection)
    assert problem == f"promotion {asked.id}: the approval of bea is gone"
    assert live_in(plane) is None


def test_a_pointer_moved_by_hand_runs_nothing(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    rules(plane)
    first, second = release(plane, "r1"), release(plane, "r2")
    bring_in(plane, "r1")
    with stores.db.transaction() as tx:
        tx.execute(update(ENVIRONMENTS).where(ENVIRONMENTS.c.name == HERE).values(release=second))
    with stores.db.read() as connection:
        with pytest.raises(DigestMismatch, match=f"expected {first}, found {second}"):
            admit(connection, HERE, "It", [])
        with pytest.raises(DigestMismatch, match="live in development"):
            live_release(connection, HERE)
        assert any("environment development" in one for one in all_problems(connection))
    with pytest.raises(DigestMismatch, match="live in development"):
        request_rollback(stores, HERE, "bad", by="bea")
    bring_in(plane, "r1")  # puts it right
    with stores.db.read() as connection:
        assert live_release(connection, HERE) is not None
        assert all_problems(connection) == []


def test_soak_is_not_shortened_by_an_edited_time(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    rules(plane)
    digest = release(plane, "r1")
    bring_in(plane, "r1")
    soaked = [replace(one, gates=(), automatic=False, soak_s=86_400.0) for one in DEFAULT_POLICIES]
    soaked[2] = replace(soaked[2], approvals=ApprovalRule(0))
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(soaked), by="root")
    asked = request_promotion(stores, "r1", "staging", by="ada")
    settle(plane)
    assert phase_of(plane, asked) is PromotionPhase.AWAITING_APPROVAL
    with stores.db.transaction() as tx:
        where = ENVIRONMENTS.c.release == digest
        tx.execute(
            update(ENVIRONMENTS).where(where).values(changed_at="2020-01-01T00:00:00.000000Z")
        )
    advance_waiting(plane.platform)
    settle(plane)
    assert phase_of(plane, asked) is PromotionPhase.ERRORED
    assert live_in(plane, "staging") is None


def test_order_is_not_got_around_by_an_edited_history(plane: ControlPlane) -> None:
    """The row of a promotion that failed says that it was live and superseded."""
    stores = plane.platform.stores
    rules(plane)
    release(plane, "r1")
    asked = request_promotion(stores, "r1", HERE, by="ada")
    settle(plane)
    with stores.db.transaction() as tx:
        tx.execute(update(PROMOTIONS).values(phase="superseded", live_number=1))
    further = request_promotion(stores, "r1", "staging", by="ada")
    settle(plane)
    assert phase_of(plane, further) is PromotionPhase.ERRORED
    with stores.db.read() as connection:
        reason = find_promotion(connection, further.id).reason
    assert f"promotion {asked.id}: no fact says that it was ever live" in reason


def test_a_kept_policy_that_was_edited_hides_no_loosened_rule(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    rules(plane)
    release(plane, "r1")
    bring_in(plane, "r1")
    with stores.db.transaction() as tx:
        tx.execute(text("UPDATE policies SET document = replace(document, '\"count\": 1', "
                        "'\"count\": 0')"))  # fmt: skip
    release(plane, "r2")
    asked = request_promotion(stores, "r2", HERE, by="ada")
    settle(plane)
    assert phase_of(plane, asked) is PromotionPhase.ERRORED
    with stores.db.read() as connection:
        assert (
            "policy of development: expected sha256:" in find_promotion(connection, asked.id).reason
        )
        assert any(one.startswith("policy sha256:") for one in all_problems(connection))


# Bytes ------------------------------------------------------------------------------------------
def _reach(plane: ControlPlane, phase: str) -> Promotion:
    """r1 on its way, at that phase, one step of the loop at a time."""
    stores = plane.platform.stores
    asked = request_promotion(stores, "r1", HERE, by="ada")
    while phase_of(plane, asked) != phase:
        if phase_of(plane, asked) is PromotionPhase.AWAITING_APPROVAL:
            with suppress(Conflict):  # has approved already
                approve(stores, asked.id, BEA, {})
        assert plane.loop.step(), f"it stops before {phase}"
    return asked


@pytest.mark.parametrize("how", ["altered", "removed"])
@pytest.mark.parametrize("before", [None, "r0"], ids=["the first", "another one is live"])
@pytest.mark.parametrize(
    "phase", ["requested", "checking", "awaiting_approval", "applying", "verifying", "live"]
)
def test_bytes_that_go_at_any_phase(
    plane: ControlPlane, phase: str, before: str | None, how: str
) -> None:
    stores = plane.platform.stores
    rules(plane)
    digest = release(plane, "r1")
    live = release(plane, before) if before else None
    if before:
        bring_in(plane, before)
    asked = _reach(plane, phase)
    path = stores.blobs.verified_path(stores.blobs.put(b"r1"), "r1")
    path.chmod(0o644)
    if how == "altered":
        path.write_bytes(b"rx")
    else:
        path.unlink()
    settle(plane)
    if phase_of(plane, asked) is PromotionPhase.AWAITING_APPROVAL:
        approve(stores, asked.id, BEA, {})
        settle(plane)
    is_live = phase == "live"
    assert phase_of(plane, asked) == ("live" if is_live else "failed")
    assert live_in(plane) == (digest if is_live else live)
    assert not verify_release(plane.platform, "r1")["verified"]
    with stores.db.read() as connection:
        assert all_problems(connection) == []


# Clocks -----------------------------------------------------------------------------------------
def test_a_clock_that_goes_back_breaks_no_order(plane: ControlPlane) -> None:
    """Which release was live before is told by no clock; soak counts no time that has not passed;
    what was closed stays closed."""
    stores, clock = plane.platform.stores, plane.platform.stores.clock
    assert isinstance(clock, ManualClock)
    rules(plane)
    digests = {alias: release(plane, alias) for alias in ("r1", "r2", "r3")}
    for alias in digests:
        bring_in(plane, alias)
        clock.advance(-3600)
    asked = request_rollback(stores, HERE, "bad", by="bea")
    clock.advance(-86_400)  # what had become due by then does not wait for a day
    settle(plane)
    assert phase_of(plane, asked) is PromotionPhase.LIVE
    assert live_in(plane) == digests["r2"]
    with stores.db.read() as connection:
        assert verify_chain(connection).broken is None
        assert all_problems(connection) == []


def test_a_release_edited_in_the_database_is_refused_by_its_digest(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    digest = release(plane, "r1")
    with stores.db.transaction() as tx:
        tx.execute(update(RELEASES).values(document=Release().document().decode()))
    with stores.db.read() as connection, pytest.raises(DigestMismatch, match=digest):
        find_release(connection, "r1")
