"""Approvals at the same instant, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from seamline.domain.errors import Conflict
from seamline.domain.states import PromotionPhase, Role, Verdict
from seamline.promote.approvals import approvals_of, approve
from seamline.promote.environments import apply_policies
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.policy import DEFAULT_POLICIES, POLICY, ApprovalRule
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion
from seamline.promote.steps import advance, finish, point_environment
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores
from seamline.trust.roles import Principal

ROUNDS = 3


def waiting(stores: Stores, number: int) -> Promotion:
    """A promotion that waits for two approvals."""
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    plain[1] = replace(plain[1], approvals=ApprovalRule(count=2))
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")
    made = Release(pipelines=(Pin("p", str(number), "sha256:" + f"{number:064x}"),))
    record_release(stores, made, f"r{number}", by="ada")
    asked = request_promotion(stores, f"r{number}", "development", by="ada")
    advance(stores, asked.id)
    record_gate(stores, asked.id, GateResult(POLICY, Verdict.PASS, "", {}), by="seamline")
    return advance(stores, asked.id)


def approve_at_once(stores: Stores, promotion: Promotion, names: Sequence[str]) -> list[str]:
    """What each was told: nothing, or the refusal."""
    together = threading.Barrier(len(names))

    def one(name: str) -> str:
        together.wait()
        try:
            approve(stores, promotion.id, Principal(name, frozenset({Role.APPROVER})), {})
            advance(stores, promotion.id)
        except Conflict as error:
            return error.message
        return ""

    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(one, names))


@pytest.mark.parametrize("names", [("bea", "eve"), ("bea", "bea")])
def test_two_approvals_at_the_same_instant(stores: Stores, names: tuple[str, str]) -> None:
    """Two people's both count, and it moves once; of one person's the second is refused."""
    for number in range(ROUNDS):
        promotion = waiting(stores, number)
        said = approve_at_once(stores, promotion, names)
        people = set(names)
        with stores.db.read() as connection:
            given = approvals_of(connection, promotion.id)
            moved = [
                fact
                for fact in read_facts(connection, subject=promotion.id)
                if fact.kind == "promotion.moved" and fact.body["after"] == "applying"
            ]
            phase = find_promotion(connection, promotion.id).phase
            assert verify_chain(connection).broken is None
        assert sorted(one.principal for one in given) == sorted(people)
        refused = [text for text in said if "has approved promotion" in text]
        if len(people) == 2:
            assert (phase, len(moved)) == (PromotionPhase.APPLYING, 1)
            assert refused == []
            advance_to_end(stores, promotion)
        else:
            assert (phase, len(moved)) == (PromotionPhase.AWAITING_APPROVAL, 0)
            assert len(refused) == 1


def advance_to_end(stores: Stores, promotion: Promotion) -> None:
    """Out of the way of the next round: two never interleave."""
    point_environment(stores, promotion.id)
    finish(stores, promotion.id, PromotionPhase.LIVE, "", caused_by=None)
