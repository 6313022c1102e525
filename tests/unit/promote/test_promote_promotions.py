from __future__ import annotations

from dataclasses import replace

import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Refused
from seamline.domain.states import PromotionPhase, Role, Verdict
from seamline.promote.admission import admit
from seamline.promote.approvals import approvals_of, approve, reject
from seamline.promote.environments import (
    apply_policies,
    find_environment,
    live_release,
)
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.policy import (
    DEFAULT_POLICIES,
    EnvironmentPolicy,
    check_policies,
    gates_asked,
)
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion
from seamline.promote.steps import advance, finish, point_environment
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.roles import Principal

WHEEL, IR = "sha256:" + "a1" * 32, "sha256:" + "b2" * 32
RELEASE = Release(packages=(Pin("m", "1", WHEEL),), pipelines=(Pin("p", "1", IR),))
BEA = Principal("bea", frozenset({Role.APPROVER}))
FAST = tuple(replace(policy, soak_s=0.0) for policy in DEFAULT_POLICIES)


@pytest.fixture
def release(stores: Stores) -> str:
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, FAST, by="root")
    return record_release(stores, RELEASE, "r1", by="ada").digest


def _pass_gates(stores: Stores, promotion_id: str) -> None:
    with stores.db.read() as connection:
        promotion = find_promotion(connection, promotion_id)
        policy = find_environment(connection, promotion.environment).policy
        gates = gates_asked(policy, promotion.kind)
    for gate in gates:
        record_gate(stores, promotion_id, GateResult(gate, Verdict.PASS, "", {}), by="seamline")


def _to(stores: Stores, environment: str) -> Promotion:
    """Request and pass the gates; ends waiting for approval, or applying."""
    promotion = request_promotion(stores, "r1", environment, by="ada")
    advance(stores, promotion.id)
    _pass_gates(stores, promotion.id)
    return advance(stores, promotion.id)


def _go_live(stores: Stores, environment: str) -> None:
    promotion = _to(stores, environment)
    if promotion.phase is PromotionPhase.AWAITING_APPROVAL:
        approve(stores, promotion.id, BEA, {})
        promotion = advance(stores, promotion.id)
    point_environment(stores, promotion.id)
    finish(stores, promotion.id, PromotionPhase.LIVE, "", caused_by=None)


def test_the_whole_way(stores: Stores, release: str) -> None:
    for environment in ("development", "staging", "production"):
        _go_live(stores, environment)
        with stores.db.read() as connection:
            found = live_release(connection, environment)
            assert found is not None
            assert found.digest == release
            admit(connection, environment, "It", [WHEEL, IR])
            with pytest.raises(Refused, match="does not hold it"):
                admit(connection, environment, "It", ["sha256:" + "cc" * 32])


def test_out_of_order_is_refused(stores: Stores, release: str) -> None:
    with pytest.raises(Refused, match="has not been live in staging"):
        request_promotion(stores, "r1", "production", by="ada")
    with pytest.raises(InvalidInput):
        request_promotion(stores, "r1", "dataops", by="ada")
    with pytest.raises(NotFound, match="Did you mean staging"):
        request_promotion(stores, "r1", "stagin", by="ada")


def test_nothing_runs_where_nothing_is_live(stores: Stores, release: str) -> None:
    with stores.db.read() as connection:
        with pytest.raises(Refused, match="no release is live"):
            admit(connection, "production", "It", [IR])
        admit(connection, "dataops", "It", ["sha256:" + "cc" * 32])


def test_approvals(stores: Stores, release: str) -> None:
    _go_live(stores, "development")
    promotion = _to(stores, "staging")
    assert promotion.phase is PromotionPhase.AWAITING_APPROVAL
    with pytest.raises(Forbidden, match="approver"):
        approve(stores, promotion.id, Principal("cid", frozenset({Role.DEVELOPER})), {})
    with pytest.raises(InvalidInput, match="reason"):
        reject(stores, promotion.id, BEA, "  ")
    approve(stores, promotion.id, BEA, {})
    with pytest.raises(Conflict, match="already"):
        approve(stores, promotion.id, BEA, {})
    assert advance(stores, promotion.id).phase is PromotionPhase.APPLYING
    with pytest.raises(Conflict, match="only while it awaits approval"):
        approve(stores, promotion.id, Principal("eve", frozenset({Role.ADMIN})), {})


def test_a_changed_policy_dismisses_the_approval(stores: Stores, release: str) -> None:
    _go_live(stores, "development")
    promotion = _to(stores, "staging")
    approve(stores, promotion.id, BEA, {})
    stricter = tuple(replace(one, soak_s=one.soak_s + 60) for one in FAST)
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, stricter, by="root")
    assert advance(stores, promotion.id).phase is PromotionPhase.CHECKING
    with stores.db.read() as connection:
        assert approvals_of(connection, promotion.id) == ()


def test_soak_holds_it_back_and_time_lets_it_go(
    stores: Stores, release: str, clock: ManualClock
) -> None:
    _go_live(stores, "development")
    _go_live(stores, "staging")
    soaked = tuple(replace(one, soak_s=3600) if one.name == "production" else one for one in FAST)
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, soaked, by="root")
    promotion = _to(stores, "production")
    approve(stores, promotion.id, BEA, {})
    assert advance(stores, promotion.id).phase is PromotionPhase.AWAITING_APPROVAL
    clock.advance(3601)
    assert advance(stores, promotion.id).phase is PromotionPhase.APPLYING


def test_a_rejection_ends_it(stores: Stores, release: str) -> None:
    _go_live(stores, "development")
    promotion = _to(stores, "staging")
    assert reject(stores, promotion.id, BEA, "wrong month").phase is PromotionPhase.REJECTED


def test_a_newer_request_supersedes(stores: Stores, release: str) -> None:
    first = request_promotion(stores, "r1", "development", by="ada")
    with pytest.raises(Conflict, match="already"):
        request_promotion(stores, "r1", "development", by="ada")
    record_release(stores, Release(packages=RELEASE.packages), "r2", by="ada")
    request_promotion(stores, "r2", "development", by="ada")
    with stores.db.read() as connection:
        assert find_promotion(connection, first.id).phase is PromotionPhase.SUPERSEDED


def test_a_release_that_has_been_live_can_still_go_on(stores: Stores, release: str) -> None:
    _go_live(stores, "development")
    record_release(stores, Release(packages=RELEASE.packages), "r2", by="ada")
    newer = request_promotion(stores, "r2", "development", by="ada")
    with pytest.raises(Refused, match="has not been live in development"):
        request_promotion(stores, "r2", "staging", by="ada")
    advance(stores, newer.id)
    _pass_gates(stores, newer.id)
    point_environment(stores, advance(stores, newer.id).id)
    finish(stores, newer.id, PromotionPhase.LIVE, "", caused_by=None)
    assert request_promotion(stores, "r1", "staging", by="ada").phase is PromotionPhase.REQUESTED


def test_policies_with_a_cycle_or_an_unknown_gate() -> None:
    with pytest.raises(InvalidInput, match="leads back"):
        check_policies((EnvironmentPolicy("a", "b"), EnvironmentPolicy("b", "a")))
    with pytest.raises(InvalidInput, match="Did you mean digests"):
        check_policies((EnvironmentPolicy("a", gates=("digest",)),))
    with pytest.raises(InvalidInput, match="is no environment"):
        check_policies((EnvironmentPolicy("a", "z"),))


def _verifying(stores: Stores, environment: str, reference: str = "r1") -> Promotion:
    promotion = request_promotion(stores, reference, environment, by="ada")
    advance(stores, promotion.id)
    _pass_gates(stores, promotion.id)
    promotion = advance(stores, promotion.id)
    point_environment(stores, promotion.id)
    return promotion


def test_what_cannot_be_verified_gives_the_pointer_back(stores: Stores, release: str) -> None:
    record_release(stores, Release(packages=RELEASE.packages), "r2", by="ada")
    for reference, before in (("r1", None), ("r1", release), ("r2", release)):
        promotion = _verifying(stores, "development", reference)
        with pytest.raises(Refused, match=r"not (been )?live in development"):
            request_promotion(stores, "r2", "staging", by="ada")
        if reference == "r1" and before == release:
            finish(stores, promotion.id, PromotionPhase.LIVE, "", caused_by=None)
            continue
        finish(stores, promotion.id, PromotionPhase.FAILED, "refused", caused_by=None)
        with stores.db.read() as connection:
            environment = find_environment(connection, "development")
            assert environment.release == before
            assert find_promotion(connection, promotion.id).phase is PromotionPhase.FAILED
            changed = read_facts(connection, kinds=["environment.changed"])[-1].body
        assert (changed["release"], changed["before"]) == (before, promotion.release)
    request_promotion(stores, "r1", "staging", by="ada")


def test_only_what_is_verified_supersedes(stores: Stores, release: str) -> None:
    _go_live(stores, "development")
    record_release(stores, Release(packages=RELEASE.packages), "r2", by="ada")
    second = _verifying(stores, "development", "r2")
    with stores.db.read() as connection:
        phases = {one.phase for one in list_promotions(connection, environment="development")}
    assert phases == {PromotionPhase.LIVE, PromotionPhase.VERIFYING}
    finish(stores, second.id, PromotionPhase.LIVE, "", caused_by=None)
    with stores.db.read() as connection:
        phases = {one.phase for one in list_promotions(connection, environment="development")}
    assert phases == {PromotionPhase.SUPERSEDED, PromotionPhase.LIVE}
