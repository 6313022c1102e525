"""The fact types of the trust room; all others stand in `facts.py`, which knows these, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seamline.domain.fact import Fact


@dataclass(frozen=True)
class PrincipalAdded(Fact):
    """With roles that hold everywhere and for everybody's things."""

    kind: ClassVar[str] = "principal.added"
    room: ClassVar[str] = "trust"
    principal: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class RoleGranted(Fact):
    """For the things of `team`, in `environment`; None: for everybody's, in each."""

    kind: ClassVar[str] = "role.granted"
    room: ClassVar[str] = "trust"
    principal: str
    role: str
    team: str | None
    environment: str | None


@dataclass(frozen=True)
class RoleTaken(Fact):
    """A role that was held in just this way ended; others of the same person may go on."""

    kind: ClassVar[str] = "role.taken"
    room: ClassVar[str] = "trust"
    principal: str
    role: str
    team: str | None
    environment: str | None


@dataclass(frozen=True)
class ApproverKeyAdded(Fact):
    """From now on this person's approvals count only when this key of theirs signed them."""

    kind: ClassVar[str] = "approver_key.added"
    room: ClassVar[str] = "trust"
    principal: str
    key_id: str
    public_key: str


@dataclass(frozen=True)
class ApproverKeyEnded(Fact):
    kind: ClassVar[str] = "approver_key.ended"
    room: ClassVar[str] = "trust"
    principal: str
    key_id: str


@dataclass(frozen=True)
class TokenIssued(Fact):
    kind: ClassVar[str] = "token.issued"
    room: ClassVar[str] = "trust"
    principal: str
    token_id: str


@dataclass(frozen=True)
class TokenRevoked(Fact):
    kind: ClassVar[str] = "token.revoked"
    room: ClassVar[str] = "trust"
    principal: str
    token_id: str


@dataclass(frozen=True)
class TokenLimited(Fact):
    """What a token that was just issued is limited to; None: in that respect to nothing."""

    kind: ClassVar[str] = "token.limited"
    room: ClassVar[str] = "trust"
    principal: str
    token_id: str
    team: str | None
    environments: tuple[str, ...] | None
    verbs: tuple[str, ...] | None
    endpoints: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TokenReplaced(Fact):
    """A token was issued in the stead of another one, which goes on until `until`."""

    kind: ClassVar[str] = "token.replaced"
    room: ClassVar[str] = "trust"
    principal: str
    token_id: str
    successor: str
    until: str


@dataclass(frozen=True)
class TeamAdded(Fact):
    kind: ClassVar[str] = "team.added"
    room: ClassVar[str] = "trust"
    team: str


@dataclass(frozen=True)
class TeamJoined(Fact):
    kind: ClassVar[str] = "team.joined"
    room: ClassVar[str] = "trust"
    team: str
    principal: str


@dataclass(frozen=True)
class TeamLeft(Fact):
    kind: ClassVar[str] = "team.left"
    room: ClassVar[str] = "trust"
    team: str
    principal: str


@dataclass(frozen=True)
class KeyRotated(Fact):
    """Another key signs from now on; `sealed`: the list of what the one before it had signed."""

    kind: ClassVar[str] = "key.rotated"
    room: ClassVar[str] = "trust"
    key_id: str
    previous: str
    #: Digest of the signed entry in the key history.
    entry: str
    sealed: str


@dataclass(frozen=True)
class SecretSet(Fact):
    """Keys of a secret or config map got a value, which no fact holds."""

    kind: ClassVar[str] = "secret.set"
    room: ClassVar[str] = "trust"
    environment: str
    #: secret | config_map
    secret_kind: str
    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class SecretDeleted(Fact):
    kind: ClassVar[str] = "secret.deleted"
    room: ClassVar[str] = "trust"
    environment: str
    #: secret | config_map
    secret_kind: str
    name: str
    keys: tuple[str, ...]
