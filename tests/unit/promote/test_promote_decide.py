from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.clock import iso
from seamline.domain.states import PromotionPhase, Role, Verdict
from seamline.promote.decide import (
    Approval,
    Situation,
    decide_step,
    soak_left_s,
    why_may_not_approve,
    why_not_yet,
)
from seamline.promote.policy import ApprovalRule, EnvironmentPolicy, Party
from seamline.trust.roles import Grant, Principal

NOW = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = EnvironmentPolicy(
    "production", "staging", ("digests", "evaluation"), ApprovalRule(count=1), soak_s=3600
)


def _approval(policy: EnvironmentPolicy = POLICY, evidence: str = "e1") -> Approval:
    return Approval("a1", "bea", policy.digest, evidence, "", iso(NOW))


def _situation(phase: PromotionPhase = PromotionPhase.AWAITING_APPROVAL) -> Situation:
    return Situation(
        phase=phase,
        policy=POLICY,
        gates=dict.fromkeys(("digests", "evaluation", "policy"), (Verdict.PASS, "")),
        policy_digest=POLICY.digest,
        evidence_digest="e1",
        approvals=(_approval(),),
        upstream_live_since=iso(NOW - timedelta(hours=2)),
        now=NOW,
    )


def test_all_open_means_applying() -> None:
    assert decide_step(_situation()).phase is PromotionPhase.APPLYING


@pytest.mark.parametrize(
    ("verdict", "phase"),
    [
        (Verdict.FAIL, PromotionPhase.FAILED),
        (Verdict.INCONCLUSIVE, PromotionPhase.FAILED),
        (Verdict.ERROR, PromotionPhase.ERRORED),
    ],
)
def test_only_pass_opens_a_gate(verdict: Verdict, phase: PromotionPhase) -> None:
    situation = _situation(PromotionPhase.CHECKING)
    gates = {**situation.gates, "evaluation": (verdict, "auc 0.51 < 0.60")}
    step = decide_step(replace(situation, gates=gates))
    assert step.phase is phase
    assert "auc 0.51" in step.reasons[0]


def test_a_gate_without_a_result_stops_it() -> None:
    situation = replace(_situation(PromotionPhase.CHECKING), gates={"digests": (Verdict.PASS, "")})
    step = decide_step(situation)
    assert step.phase is None
    assert "evaluation" in step.reasons[0]


@pytest.mark.parametrize(
    "approval", [_approval(replace(POLICY, soak_s=0)), _approval(evidence="e0")]
)
def test_an_approval_of_something_else_is_dismissed(approval: Approval) -> None:
    step = decide_step(replace(_situation(), approvals=(approval,)))
    assert step.phase is None
    assert step.dismiss == (approval,)
    assert "1 more approval" in step.reasons[0]


def test_a_changed_policy_dismisses_and_checks_again() -> None:
    step = decide_step(replace(_situation(), policy=replace(POLICY, soak_s=0)))
    assert step.phase is PromotionPhase.CHECKING
    assert step.dismiss == (_approval(),)


def test_soak_is_explained_with_the_time_left() -> None:
    situation = replace(_situation(), upstream_live_since=iso(NOW - timedelta(minutes=50)))
    assert decide_step(situation).phase is None
    assert why_not_yet(situation) == ["10 min of 1 h soak in staging are left"]
    gone = replace(situation, upstream_live_since=None)
    assert why_not_yet(gone) == ["the release is not live in staging"]


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6))
def test_soak_never_ends_early_even_when_the_clock_goes_back(passed: int, soak: int) -> None:
    policy = replace(POLICY, soak_s=soak)
    since = iso(NOW - timedelta(seconds=passed))
    left = soak_left_s(policy, since, NOW)
    assert left == max(0, soak - max(0, passed))


PARTIES = {
    Party.TRAINER: {"ada": "trained air-time 1.0.0 (run r1)"},
    Party.AUTHOR: {"cid": "published the pipeline air-time-training"},
    Party.REQUESTER: {"dan": "requested this promotion"},
}


@pytest.mark.parametrize(
    ("name", "words"),
    [("ada", "trained air-time 1.0.0"), ("cid", "published"), ("dan", "requested")],
)
def test_trainer_author_and_requester_cannot_approve(name: str, words: str) -> None:
    refusal = why_may_not_approve(
        Principal(name, frozenset({Role.APPROVER, Role.ADMIN})), POLICY, PARTIES
    )
    assert refusal is not None
    assert words in refusal
    assert "production" in refusal


def test_a_stranger_with_the_role_can_and_without_it_cannot() -> None:
    assert (
        why_may_not_approve(Principal("eve", frozenset({Role.APPROVER})), POLICY, PARTIES) is None
    )
    refusal = why_may_not_approve(Principal("eve", frozenset({Role.DEVELOPER})), POLICY, PARTIES)
    assert refusal is not None
    assert "approver" in refusal


def test_two_approvals_of_one_person_are_one() -> None:
    two = replace(POLICY, approvals=ApprovalRule(count=2))
    twice = (_approval(two), replace(_approval(two), id="a2"))
    situation = replace(_situation(), policy=two, policy_digest=two.digest, approvals=twice)
    assert why_not_yet(situation)[0].startswith("1 more approval")
    other = (*twice[:1], replace(twice[1], principal="cid"))
    assert why_not_yet(replace(situation, approvals=other)) == []


@pytest.mark.parametrize(
    ("grant", "teams", "says"),
    [
        (Grant(Role.APPROVER, None, "production"), {"arrivals", None}, None),
        (Grant(Role.APPROVER, "arrivals"), {"arrivals"}, None),
        (Grant(Role.APPROVER, None, "staging"), set(), "approver in staging"),
        (Grant(Role.DEVELOPER, None, "production"), set(), "needs the role"),
        (Grant(Role.APPROVER, "arrivals"), {"arrivals", "punctuality"}, "it holds arrivals'"),
        (Grant(Role.APPROVER, "arrivals"), {None}, "no team's things"),
    ],
)
def test_a_role_votes_where_and_for_whom_it_holds(
    grant: Grant, teams: set[str | None], says: str | None
) -> None:
    eve = Principal("eve", frozenset({Role.VIEWER}), grants=frozenset({grant}))
    refusal = why_may_not_approve(eve, POLICY, PARTIES, teams)
    assert (refusal is None) is (says is None)
    assert (says or "") in (refusal or "")
