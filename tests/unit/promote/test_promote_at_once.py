"""People and the loop in the same instant: on PostgreSQL these are transactions side by side, on
SQLite they queue. Whoever comes first, nothing happens twice, and nothing interleaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from seamline.domain.errors import SeamlineError
from seamline.domain.states import PromotionPhase, Role, Verdict
from seamline.promote.approvals import approvals_of, approve, reject
from seamline.promote.environments import apply_policies, find_environment
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.holds import lift_holds, set_hold
from seamline.promote.policy import DEFAULT_POLICIES, ApprovalRule, gates_asked
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.recount import all_problems
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion, request_rollback
from seamline.promote.steps import advance, finish, point_environment
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores
from seamline.trust.roles import Principal

HERE = "development"
ROUNDS = 5
BEA, CID = (Principal(name, frozenset({Role.APPROVER})) for name in ("bea", "cid"))


def rules(stores: Stores, count: int = 0, soak_s: float = 0.0) -> None:
    plain = [replace(one, gates=(), soak_s=soak_s, automatic=False) for one in DEFAULT_POLICIES]
    plain[1] = replace(plain[1], approvals=ApprovalRule(count))
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")


@pytest.fixture
def house(stores: Stores) -> Stores:
    rules(stores)
    for number in range(1, 4):
        pin = Pin("m", str(number), f"sha256:{number:064x}")
        record_release(stores, Release(packages=(pin,)), f"r{number}", by="ada")
    return stores


def at_once(*deeds: Callable[[], Any]) -> list[Any]:
    """What each came to: its result, or its refusal. Anything else is an error of the test's."""
    ready, came_to = threading.Barrier(len(deeds)), list[Any]([None] * len(deeds))

    def do(number: int, deed: Callable[[], Any]) -> None:
        ready.wait()
        try:
            came_to[number] = deed()
        except Exception as error:
            came_to[number] = error

    threads = [threading.Thread(target=do, args=pair) for pair in enumerate(deeds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in came_to:
        if isinstance(one, Exception) and not isinstance(one, SeamlineError):
            raise one
    return came_to


def checked(stores: Stores, promotion: Promotion) -> Promotion:
    advance(stores, promotion.id)
    with stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    for gate in gates_asked(policy, promotion.kind):
        record_gate(stores, promotion.id, GateResult(gate, Verdict.PASS, "", {}), by="seamline")
    return advance(stores, promotion.id)


def asked(stores: Stores, alias: str) -> Promotion:
    return checked(stores, request_promotion(stores, alias, HERE, by="ada"))


def go_live(stores: Stores, promotion: Promotion) -> None:
    finish(stores, promotion.id, PromotionPhase.LIVE, "", caused_by=None)


def _approve_and_go_on(stores: Stores, promotion: Promotion) -> None:
    approve(stores, promotion.id, BEA, {})
    advance(stores, promotion.id)


def promote(stores: Stores, alias: str) -> Promotion:
    promotion = asked(stores, alias)
    point_environment(stores, promotion.id)
    go_live(stores, promotion)
    return promotion


def found(stores: Stores, promotion: Promotion) -> Promotion:
    with stores.db.read() as connection:
        return find_promotion(connection, promotion.id)


def count(stores: Stores, kind: str, subject: str) -> int:
    with stores.db.read() as connection:
        return len(read_facts(connection, kinds=[kind], subject=subject))


def is_sound(stores: Stores) -> None:
    with stores.db.read() as connection:
        assert verify_chain(connection).broken is None
        assert all_problems(connection) == []
        here = list_promotions(connection, environment=HERE, open_only=True)
    assert len(here) <= 1, "two are open"


@pytest.mark.parametrize("needed", [1, 2])
def test_two_approvers(house: Stores, needed: int) -> None:
    rules(house, needed)
    for number in range(ROUNDS):
        promotion = asked(house, f"r{1 + number % 2}")
        at_once(
            *(partial(approve, house, promotion.id, who, {}) for who in (BEA, CID)),
            partial(advance, house, promotion.id),
        )
        advance(house, promotion.id)
        assert found(house, promotion).phase is PromotionPhase.APPLYING
        moved = count(house, "promotion.moved", promotion.id)
        assert moved == 3, "checking, awaiting approval, applying: each once"
        with house.db.read() as connection:
            names = [one.principal for one in approvals_of(connection, promotion.id)]
        assert len(names) == len(set(names)) >= needed
        point_environment(house, promotion.id)
        go_live(house, promotion)
        is_sound(house)


def test_one_person_in_two_windows(house: Stores) -> None:
    rules(house, 2)
    promotion = asked(house, "r1")
    said = at_once(*[partial(approve, house, promotion.id, BEA, {})] * 4)
    assert [isinstance(one, Promotion) for one in said].count(True) == 1
    assert advance(house, promotion.id).phase is PromotionPhase.AWAITING_APPROVAL
    assert count(house, "approval.given", promotion.id) == 1


def test_yes_and_no(house: Stores) -> None:
    """One of them decides it; the other one is told, or was heard before."""
    rules(house, 1)
    for number in range(ROUNDS):
        promotion = asked(house, f"r{1 + number % 2}")
        at_once(
            partial(_approve_and_go_on, house, promotion),
            partial(reject, house, promotion.id, CID, "no"),
        )
        after = found(house, promotion).phase
        assert after in (PromotionPhase.APPLYING, PromotionPhase.REJECTED)
        if after is PromotionPhase.APPLYING:
            point_environment(house, promotion.id)
            go_live(house, promotion)
        is_sound(house)


def test_two_promotions(house: Stores) -> None:
    for _ in range(ROUNDS):
        at_once(
            *(
                partial(request_promotion, house, alias, HERE, by="ada")
                for alias in ("r1", "r2", "r3")
            )
        )
        is_sound(house)


def test_a_promotion_beside_a_rollback(house: Stores) -> None:
    promote(house, "r1")
    promote(house, "r2")
    with house.db.read() as connection:
        first = list_promotions(connection, environment=HERE)[-1].release
    for _ in range(ROUNDS):
        said = at_once(
            partial(request_rollback, house, HERE, "bad", by="bea"),
            partial(request_promotion, house, "r3", HERE, by="ada"),
        )
        is_sound(house)
        back = said[0]
        assert isinstance(back, SeamlineError) or back.release == first


def test_a_rollback_while_another_release_becomes_live(house: Stores) -> None:
    """Back to what was live before the new one, or not at all: never further back."""
    promote(house, "r1")
    live = promote(house, "r2")
    coming = asked(house, "r3")
    point_environment(house, coming.id)
    said = at_once(
        partial(go_live, house, coming),
        partial(request_rollback, house, HERE, "bad", by="bea"),
    )
    assert isinstance(said[1], SeamlineError) or said[1].release == live.release
    assert found(house, coming).phase is PromotionPhase.LIVE
    is_sound(house)


def test_the_pointer_moves_once(house: Stores) -> None:
    for number in range(ROUNDS):
        promotion = asked(house, f"r{1 + number % 2}")
        at_once(*[partial(point_environment, house, promotion.id)] * 3)
        at_once(*[partial(go_live, house, promotion)] * 3)
        with house.db.read() as connection:
            changed = read_facts(connection, kinds=["environment.changed"], subject=HERE)
        assert len(changed) == number + 1
        is_sound(house)


def test_a_hold_in_the_instant_of_applying(house: Stores) -> None:
    """It came first, and keeps it back; or it came later, and stands for what comes next."""
    for number in range(ROUNDS):
        promotion = asked(house, f"r{1 + number % 2}")
        at_once(
            partial(point_environment, house, promotion.id),
            partial(set_hold, house, HERE, "audit", by="root"),
        )
        after = found(house, promotion).phase
        assert after in (PromotionPhase.VERIFYING, PromotionPhase.AWAITING_APPROVAL)
        at_once(*[partial(lift_holds, house, HERE, "done", by="root")] * 2)
        with house.db.read() as connection:
            lifted = read_facts(connection, kinds=["hold.lifted"])
        assert len(lifted) == number + 1
        advance(house, promotion.id)
        point_environment(house, promotion.id)
        go_live(house, promotion)
        is_sound(house)


def test_a_policy_in_the_instant_of_a_request(house: Stores) -> None:
    """Neither waits for the other in a circle."""
    for number in range(ROUNDS):
        at_once(
            partial(rules, house, number % 2, soak_s=float(number)),
            *(partial(request_promotion, house, alias, HERE, by="ada") for alias in ("r1", "r2")),
        )
        is_sound(house)
