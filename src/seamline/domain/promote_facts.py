"""What the room `promote` tells: policies, releases, promotions, approvals, and the pointers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seamline.domain.fact import Fact


@dataclass(frozen=True)
class PolicyApplied(Fact):
    kind: ClassVar[str] = "policy.applied"
    room: ClassVar[str] = "promote"
    environment: str
    digest: str
    before: str | None


@dataclass(frozen=True)
class ReleaseCreated(Fact):
    kind: ClassVar[str] = "release.created"
    room: ClassVar[str] = "promote"
    release: str
    alias: str


@dataclass(frozen=True)
class ReleaseRefused(Fact):
    """A run was to make a release, and cannot."""

    kind: ClassVar[str] = "release.refused"
    room: ClassVar[str] = "promote"
    name: str
    run_id: str
    reason: str


@dataclass(frozen=True)
class PromotionRequested(Fact):
    kind: ClassVar[str] = "promotion.requested"
    room: ClassVar[str] = "promote"
    promotion_id: str
    release: str
    environment: str
    #: Why, where whoever asked said so.
    reason: str = ""


@dataclass(frozen=True)
class RollbackRequested(Fact):
    """A promotion of a release that was live there before; no one else is asked."""

    kind: ClassVar[str] = "rollback.requested"
    room: ClassVar[str] = "promote"
    promotion_id: str
    environment: str
    release: str
    #: What is live, and goes.
    rolled_back: str
    reason: str


@dataclass(frozen=True)
class HoldSet(Fact):
    """Until it is lifted nothing comes into the environment by itself, and the release that was
    rolled back not at all."""

    kind: ClassVar[str] = "hold.set"
    room: ClassVar[str] = "promote"
    hold_id: str
    environment: str
    release: str | None
    reason: str


@dataclass(frozen=True)
class HoldLifted(Fact):
    kind: ClassVar[str] = "hold.lifted"
    room: ClassVar[str] = "promote"
    hold_id: str
    environment: str
    reason: str


@dataclass(frozen=True)
class GlassBroken(Fact):
    """Whoever broke it may promote into the environment until then, whatever the policy asks."""

    kind: ClassVar[str] = "glass.broken"
    room: ClassVar[str] = "promote"
    glass_id: str
    environment: str
    reason: str
    until: str


@dataclass(frozen=True)
class GlassMended(Fact):
    """Closed before its time."""

    kind: ClassVar[str] = "glass.mended"
    room: ClassVar[str] = "promote"
    glass_id: str
    environment: str


@dataclass(frozen=True)
class EmergencyRequested(Fact):
    """A promotion under broken glass."""

    kind: ClassVar[str] = "emergency.requested"
    room: ClassVar[str] = "promote"
    promotion_id: str
    environment: str
    release: str
    glass_id: str


@dataclass(frozen=True)
class PromotionMoved(Fact):
    kind: ClassVar[str] = "promotion.moved"
    room: ClassVar[str] = "promote"
    promotion_id: str
    release: str
    environment: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True)
class GateDecided(Fact):
    kind: ClassVar[str] = "gate.decided"
    room: ClassVar[str] = "promote"
    promotion_id: str
    gate: str
    verdict: str
    evidence_digest: str


@dataclass(frozen=True)
class ApprovalGiven(Fact):
    """Binds release, environment, policy and evidence (law 5)."""

    kind: ClassVar[str] = "approval.given"
    room: ClassVar[str] = "promote"
    promotion_id: str
    release: str
    environment: str
    policy_digest: str
    evidence_digest: str
    comment: str
    #: What the approver was to the release: trainer, author, requester; mostly nothing of these.
    self_approved: tuple[str, ...] = ()


@dataclass(frozen=True)
class ApprovalDismissed(Fact):
    kind: ClassVar[str] = "approval.dismissed"
    room: ClassVar[str] = "promote"
    promotion_id: str
    approval_id: str
    reason: str


@dataclass(frozen=True)
class EnvironmentChanged(Fact):
    kind: ClassVar[str] = "environment.changed"
    room: ClassVar[str] = "promote"
    environment: str
    #: None: what was there first could not be verified and was taken back.
    release: str | None
    before: str | None
    promotion_id: str
