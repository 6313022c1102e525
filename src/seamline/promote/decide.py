"""The promotion state machine as pure rules: what follows from what is known.

requested → checking → awaiting approval → applying → verifying → live, or an end:
rejected (a person said no), failed (a check said no), errored (machinery broke),
superseded (a newer request for the environment).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from seamline.domain.clock import from_iso
from seamline.domain.durations import say_duration
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.policy import FORMATS, EnvironmentPolicy, Party
from seamline.trust.roles import Principal


@dataclass(frozen=True)
class Approval:
    id: str
    principal: str
    policy_digest: str
    evidence_digest: str
    comment: str
    at: str


@dataclass(frozen=True)
class Situation:
    """All that a promotion's next step depends on."""

    phase: PromotionPhase
    policy: EnvironmentPolicy
    #: gate → (verdict, sentence), for the gates decided so far.
    gates: Mapping[str, tuple[Verdict, str]]
    policy_digest: str | None
    evidence_digest: str | None
    approvals: tuple[Approval, ...]
    #: Since when the release is live in `policy.after`; None when it is not.
    upstream_live_since: str | None
    now: datetime


@dataclass(frozen=True)
class Step:
    """Go to `phase`, or stay (None) and say what is waited for."""

    phase: PromotionPhase | None
    reasons: tuple[str, ...] = ()
    dismiss: tuple[Approval, ...] = ()


def decide_step(situation: Situation) -> Step:
    match situation.phase:
        case PromotionPhase.REQUESTED:
            return Step(PromotionPhase.CHECKING)
        case PromotionPhase.CHECKING:
            return _after_checks(situation)
        case PromotionPhase.AWAITING_APPROVAL:
            return _after_waiting(situation)
        case _:
            return Step(None)


def _after_checks(situation: Situation) -> Step:
    """Failed, errored and inconclusive are three things (law 7); only `pass` opens a gate."""
    missing = [gate for gate in situation.policy.gates if gate not in situation.gates]
    if missing:
        return Step(None, tuple(f"the gate {gate} is still being checked" for gate in missing))
    bound = [*situation.policy.gates, *([FORMATS] if FORMATS in situation.gates else [])]
    decided = {gate: situation.gates[gate] for gate in bound}
    broken = [
        f"{gate}: {text}" for gate, (verdict, text) in decided.items() if verdict is Verdict.ERROR
    ]
    if broken:
        return Step(PromotionPhase.ERRORED, tuple(broken))
    shut = [
        f"{gate} ({verdict}): {text}"
        for gate, (verdict, text) in decided.items()
        if verdict is not Verdict.PASS
    ]
    if shut:
        return Step(PromotionPhase.FAILED, tuple(shut))
    if why_not_yet(situation):
        return Step(PromotionPhase.AWAITING_APPROVAL, tuple(why_not_yet(situation)))
    return Step(PromotionPhase.APPLYING)


def _after_waiting(situation: Situation) -> Step:
    stale = tuple(
        approval
        for approval in situation.approvals
        if (approval.policy_digest, approval.evidence_digest)
        != (situation.policy.digest, situation.evidence_digest)
    )
    if situation.policy_digest != situation.policy.digest:
        reason = f"the policy of {situation.policy.name} changed since the checks"
        return Step(PromotionPhase.CHECKING, (reason,), dismiss=situation.approvals)
    waiting = why_not_yet(situation)
    if waiting:
        return Step(None, tuple(waiting), dismiss=stale)
    return Step(PromotionPhase.APPLYING)


def why_not_yet(situation: Situation) -> list[str]:
    """What a promotion whose gates are open still waits for, in words."""
    policy, reasons = situation.policy, []
    # People, not approvals: two that came at the same moment may be one person's.
    bound = {
        approval.principal
        for approval in situation.approvals
        if approval.policy_digest == policy.digest
        and approval.evidence_digest == situation.evidence_digest
    }
    lacking = policy.approvals.count - len(bound)
    if lacking > 0:
        reasons.append(
            f"{lacking} more approval{'s' if lacking > 1 else ''} by "
            f"{' or '.join(policy.approvals.roles)}"
            + (
                f", not the {', '.join(policy.approvals.exclude)}"
                if policy.approvals.exclude
                else ""
            )
        )
    left = soak_left_s(policy, situation.upstream_live_since, situation.now)
    if left is None:
        reasons.append(f"the release is not live in {policy.after}")
    elif left > 0:
        reasons.append(
            f"{say_duration(left)} of {say_duration(policy.soak_s)} soak in {policy.after} are left"
        )
    return reasons


def soak_left_s(policy: EnvironmentPolicy, live_since: str | None, now: datetime) -> float | None:
    """Seconds left; 0 when soaked or none is asked; None when it is not live upstream.

    A clock that went back counts as no time passed.
    """
    if policy.after is None or policy.soak_s <= 0:
        return 0.0
    if live_since is None:
        return None
    passed = max(0.0, (now - from_iso(live_since)).total_seconds())
    return max(0.0, policy.soak_s - passed)


def why_may_not_approve(
    approver: Principal, policy: EnvironmentPolicy, parties: Mapping[Party, Mapping[str, str]]
) -> str | None:
    """None when this person may approve, else the sentence that says why not.

    `parties`: party → {person: what they did}, for the release and this promotion.
    """
    rule = policy.approvals
    if not approver.roles & set(rule.roles):
        held = ", ".join(sorted(approver.roles)) or "no role"
        return (
            f"{approver.name} ({held}) may not approve for {policy.name}: "
            f"that needs the role {' or '.join(rule.roles)}."
        )
    for party in rule.exclude:
        deed = parties.get(party, {}).get(approver.name)
        if deed is not None:
            return (
                f"{approver.name} may not approve this promotion to {policy.name}: "
                f"{approver.name} {deed}, and the policy asks for somebody who is not "
                f"the {party}."
            )
    return None
