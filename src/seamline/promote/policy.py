"""What an environment demands before a release may become live in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import Role
from seamline.store.canonical import digest_of_json


class Party(StrEnum):
    """How a person can be involved in a release."""

    TRAINER = "trainer"
    AUTHOR = "author"
    REQUESTER = "requester"


@dataclass(frozen=True)
class ApprovalRule:
    count: int = 0
    roles: tuple[Role, ...] = (Role.APPROVER, Role.ADMIN)
    #: Nobody who is one of these to the release can approve it (law 5).
    exclude: tuple[Party, ...] = tuple(Party)


@dataclass(frozen=True)
class EnvironmentPolicy:
    """`after`: the environment where the release must be live, or have been, first."""

    name: str
    after: str | None = None
    gates: tuple[str, ...] = ()
    approvals: ApprovalRule = field(default_factory=ApprovalRule)
    #: How long the release has to be live in `after` first.
    soak_s: float = 0.0
    #: Requested by the platform as soon as the release is live in `after`.
    automatic: bool = False
    #: Formats of models that run code when they are loaded, and may come in all the same.
    formats: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return digest_of_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Without what is not asked for, so that policies of earlier versions keep their digest."""
        document = asdict(self)
        if not self.formats:
            del document["formats"]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> EnvironmentPolicy:
        rule = document["approvals"]
        return cls(
            name=document["name"],
            after=document["after"],
            gates=tuple(document["gates"]),
            approvals=ApprovalRule(
                rule["count"],
                tuple(Role(role) for role in rule["roles"]),
                tuple(Party(party) for party in rule["exclude"]),
            ),
            soak_s=document["soak_s"],
            automatic=document["automatic"],
            formats=tuple(document.get("formats", ())),
        )


GATES = ("digests", "provenance", "evaluation", "successes", "soak")
#: Decided where a release holds models that run code when loaded, whatever the policy's gates are.
FORMATS = "formats"

_DAY_S = 86_400.0

#: The mission's rules; a platform file can replace them.
DEFAULT_POLICIES = (
    EnvironmentPolicy("dataops"),
    EnvironmentPolicy("development", "dataops", ("digests", "provenance"), automatic=True),
    EnvironmentPolicy(
        "staging",
        "development",
        ("digests", "provenance", "evaluation"),
        ApprovalRule(count=1),
    ),
    EnvironmentPolicy(
        "production",
        "staging",
        ("digests", "provenance", "evaluation", "successes", "soak"),
        ApprovalRule(count=1),
        soak_s=_DAY_S,
    ),
)


def check_policies(policies: tuple[EnvironmentPolicy, ...]) -> None:
    """Raises InvalidInput for an unknown gate or `after`, or a cycle of `after`."""
    known = {policy.name: policy for policy in policies}
    for policy in policies:
        for gate in policy.gates:
            if gate not in GATES:
                raise InvalidInput(
                    f"environments.{policy.name}: there is no gate {gate!r}.",
                    next_step=nearest(gate, GATES),
                )
        seen, step = {policy.name}, policy.after
        while step is not None:
            if step not in known:
                raise InvalidInput(
                    f"environments.{policy.name}: after = {step!r} is no environment.",
                    next_step=nearest(step, known),
                )
            if step in seen:
                raise InvalidInput(
                    f"environments.{policy.name}: its chain of `after` leads back to {step!r}."
                )
            seen.add(step)
            step = known[step].after
