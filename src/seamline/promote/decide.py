"""The promotion state machine as pure rules: what follows from what is known.

requested → checking → awaiting approval → applying → verifying → live, or an end:
rejected (a person said no), failed (a check said no), errored (machinery broke),
superseded (a newer request for the environment).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime

from seamline.domain.clock import from_iso, iso
from seamline.domain.durations import say_duration
from seamline.domain.states import PromotionKind, PromotionPhase, Verdict
from seamline.promote.policy import FORMATS, EnvironmentPolicy, Party, gates_asked
from seamline.promote.windows import is_open, opens_at
from seamline.trust.refusals import say_owners, say_roles
from seamline.trust.roles import Grant, Principal

GLASS_IS_WHOLE = "the glass that it came in under is whole again"


@dataclass(frozen=True)
class Approval:
    id: str
    principal: str
    policy_digest: str
    evidence_digest: str
    comment: str
    at: str
    #: What the approver was to the release, where the policy lets such a person approve.
    self_approved: tuple[Party, ...] = ()
    #: The approver's own key that signed it; empty where none did.
    key_id: str = ""


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
    kind: PromotionKind = PromotionKind.REGULAR
    #: In words: why the environment, or this release in it, is held back.
    held: tuple[str, ...] = ()
    #: For an emergency: whether the glass that it came in under is broken still.
    glass_is_broken: bool = False


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
        case PromotionPhase.APPLYING:
            return _before_applying(situation)
        case _:
            return Step(None)


def _after_checks(situation: Situation) -> Step:
    """Failed, errored and inconclusive are three things (law 7); only `pass` opens a gate."""
    asked = gates_asked(situation.policy, situation.kind)
    missing = [gate for gate in asked if gate not in situation.gates]
    if missing:
        return Step(None, tuple(f"the gate {gate} is still being checked" for gate in missing))
    bound = [*asked, *([FORMATS] if FORMATS in situation.gates else [])]
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
    return _or_wait(situation)


def _or_wait(situation: Situation) -> Step:
    if situation.kind is PromotionKind.EMERGENCY and not situation.glass_is_broken:
        return Step(PromotionPhase.FAILED, (GLASS_IS_WHOLE,))
    waiting = tuple(why_not_yet(situation))
    return Step(PromotionPhase.AWAITING_APPROVAL if waiting else PromotionPhase.APPLYING, waiting)


def _after_waiting(situation: Situation) -> Step:
    if situation.policy_digest != situation.policy.digest:
        return _checked_again(situation)
    step = _or_wait(situation)
    if step.phase is PromotionPhase.AWAITING_APPROVAL:
        stale = tuple(one for one in situation.approvals if not _binds(one, situation))
        return Step(None, step.reasons, dismiss=stale)
    return step


def _before_applying(situation: Situation) -> Step:
    """Between the decision and the pointer's move the world may have gone on."""
    if situation.policy_digest != situation.policy.digest:
        return _checked_again(situation)
    step = _or_wait(situation)
    return step if step.phase is not PromotionPhase.APPLYING else Step(PromotionPhase.VERIFYING)


def _checked_again(situation: Situation) -> Step:
    reason = f"the policy of {situation.policy.name} changed since the checks"
    return Step(PromotionPhase.CHECKING, (reason,), dismiss=situation.approvals)


def _binds(approval: Approval, situation: Situation) -> bool:
    return (approval.policy_digest, approval.evidence_digest) == (
        situation.policy.digest,
        situation.evidence_digest,
    )


def why_not_yet(situation: Situation) -> list[str]:
    """What a promotion whose gates are open still waits for, in words."""
    if situation.kind is not PromotionKind.REGULAR:
        return []
    return [
        *situation.held,
        *_lacking_approvals(situation),
        *_soak_left(situation),
        *_until_a_window(situation.policy, situation.now),
    ]


def _lacking_approvals(situation: Situation) -> list[str]:
    rule = situation.policy.approvals
    # People, not approvals: two that came at the same moment may be one person's.
    bound = {one.principal for one in situation.approvals if _binds(one, situation)}
    lacking = rule.count - len(bound)
    if lacking <= 0:
        return []
    excluded = f", not the {', '.join(rule.exclude)}" if rule.exclude else ""
    plural = "s" if lacking > 1 else ""
    return [f"{lacking} more approval{plural} by {' or '.join(rule.roles)}{excluded}"]


def _soak_left(situation: Situation) -> list[str]:
    policy = situation.policy
    left = soak_left_s(policy, situation.upstream_live_since, situation.now)
    if left is None:
        return [f"the release is not live in {policy.after}"]
    if left <= 0:
        return []
    soak = say_duration(policy.soak_s)
    return [f"{say_duration(left)} of {soak} soak in {policy.after} are left"]


def _until_a_window(policy: EnvironmentPolicy, now: datetime) -> list[str]:
    windows = policy.open_windows
    if is_open(windows, now):
        return []
    opens = opens_at(windows, now)
    return [
        f"the next window opens in {say_duration((opens - now).total_seconds())}, "
        f"at {iso(opens)} ({'; '.join(policy.windows)})"
    ]


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


def may_vote(approver: Principal, policy: EnvironmentPolicy) -> frozenset[Grant]:
    """The roles of theirs that the policy lets approve, as they have them in its environment."""
    rule = policy.approvals
    return frozenset(
        one for one in approver.held if one.role in rule.roles and one.is_in(policy.name)
    )


def why_may_not_approve(
    approver: Principal,
    policy: EnvironmentPolicy,
    parties: Mapping[Party, Mapping[str, str]],
    teams: Set[str | None] = frozenset(),
) -> str | None:
    """None when this person may approve, else the sentence that says why not.

    `parties`: party → {person: what they did}, for the release and this promotion.
    `teams`: whose things the release holds; None among them: something is no team's.
    """
    rule, votes = policy.approvals, may_vote(approver, policy)
    if not votes:
        return (
            f"{approver.name} ({say_roles(approver)}) may not approve for {policy.name}: "
            f"that needs the role {' or '.join(rule.roles)}."
        )
    if not approver.covers(votes, teams):
        return (
            f"{approver.name} ({say_roles(approver)}) may not approve this promotion to "
            f"{policy.name}: {say_owners(teams)}."
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
