"""What an environment demands before a release may become live in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import Fidelity, Promotes, PromotionKind, Role
from seamline.promote.gate_rules import GateRules
from seamline.promote.windows import Window, parse_window
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
class BreakGlassRule:
    """Who may bring in a release without gates on quality, approvals, soak or windows, and for how
    long at most. The bytes are checked all the same."""

    roles: tuple[Role, ...] = (Role.ADMIN,)
    longest_s: float = 14_400.0


@dataclass(frozen=True)
class ExternalGate:
    """Somebody else's decision, asked for by HTTP; `secret` (of the environment) signs the
    question."""

    name: str
    url: str
    secret: str | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True)
class CustomCheck:
    """A check of the team's own: a pipeline of the release that answers with a verdict, run in the
    environment."""

    name: str
    #: The pipeline's name in the release.
    pipeline: str
    timeout_s: float = 1_800.0
    #: Only of releases that hold one of these models; of every release, where it names none.
    models: tuple[str, ...] = ()


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
    #: How many runs of the release's pipelines have to succeed in `after` (gate `successes`).
    min_successes: int = 1
    #: Runs that were further from production than this do not count.
    fidelity: Fidelity | None = None
    #: When a promotion may be applied, as `parse_window` reads it; at any time without one.
    windows: tuple[str, ...] = ()
    external: tuple[ExternalGate, ...] = ()
    checks: tuple[CustomCheck, ...] = ()
    gate: GateRules = field(default_factory=GateRules)
    break_glass: BreakGlassRule = field(default_factory=BreakGlassRule)
    #: How many releases are kept loaded beside the live one: first the one that a rollback would
    #: bring back, then the one on its way in. Each costs the memory of its models.
    warm: int = 2
    #: Where the environment is live, if that is another server; `secret` (of the environment)
    #: holds the token for it, as its key `token`.
    url: str | None = None
    secret: str | None = None
    #: Public key of the one server that releases for this environment come from.
    origin: str | None = None
    promotes: Promotes = Promotes.MODEL

    @property
    def digest(self) -> str:
        return digest_of_json(self.to_json())

    @property
    def open_windows(self) -> tuple[Window, ...]:
        return tuple(parse_window(text) for text in self.windows)

    def to_json(self) -> dict[str, Any]:
        """Without what is not asked for, so that policies of earlier versions keep their digest."""
        document = {**asdict(self), "gate": self.gate.to_json()}
        plain = EnvironmentPolicy(self.name)
        for name in _OPTIONAL:
            if getattr(self, name) == getattr(plain, name):
                del document[name]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> EnvironmentPolicy:
        rule = document["approvals"]
        glass = document.get("break_glass")
        fidelity = document.get("fidelity")
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
            min_successes=document.get("min_successes", 1),
            fidelity=Fidelity(fidelity) if fidelity else None,
            windows=tuple(document.get("windows", ())),
            external=tuple(ExternalGate(**one) for one in document.get("external", ())),
            checks=tuple(
                CustomCheck(**{**one, "models": tuple(one["models"])})
                for one in document.get("checks", ())
            ),
            gate=GateRules.from_json(document.get("gate", {})),
            break_glass=BreakGlassRule(
                tuple(Role(role) for role in glass["roles"]), glass["longest_s"]
            )
            if glass
            else BreakGlassRule(),
            warm=document.get("warm", 2),
            url=document.get("url"),
            secret=document.get("secret"),
            origin=document.get("origin"),
            promotes=Promotes(document.get("promotes", Promotes.MODEL)),
        )


_OPTIONAL = (
    *("formats", "min_successes", "fidelity", "windows", "external", "break_glass", "warm"),
    *("url", "secret", "origin", "promotes", "checks", "gate"),
)

#: Whether the bytes are the ones that were approved, and who made them: asked of every promotion.
INTEGRITY = ("digests", "provenance")
GATES = (
    *INTEGRITY,
    *("data_contract", "likeness", "evaluation", "backtest", "security", "successes", "soak"),
    *("pipeline", "infrastructure", "interface", "load"),
)
#: Decided where a release holds models that run code when loaded, whatever the policy's gates are.
FORMATS = "formats"
#: Decided for each regular promotion: which of the policy's rules are looser than they were.
POLICY = "policy"
#: What the names of a team's own checks begin with, and those of somebody else's decisions.
CHECK, EXTERNAL = "check:", "external:"
#: Decided where an environment takes over code: what was trained in it, and goes live.
CODE = "code"

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
        min_successes=3,
    ),
)


def gates_asked(policy: EnvironmentPolicy, kind: PromotionKind) -> tuple[str, ...]:
    """The policy's for a regular promotion; whatever the kind, the bytes are looked at.

    >>> gates_asked(EnvironmentPolicy("qa", gates=("evaluation",)), PromotionKind.ROLLBACK)
    ('digests', 'provenance')
    """
    if kind is not PromotionKind.REGULAR:
        return INTEGRITY
    code = (CODE,) if policy.promotes is Promotes.CODE else ()
    others = (*map(check_name, policy.checks), *map(external_name, policy.external))
    return (*code, *policy.gates, *others, POLICY)


def external_name(gate: ExternalGate) -> str:
    """
    >>> external_name(ExternalGate("change-ticket", "https://example.org"))
    'external:change-ticket'
    """
    return f"{EXTERNAL}{gate.name}"


def check_name(check: CustomCheck) -> str:
    """
    >>> check_name(CustomCheck("late-share", "late-share-check"))
    'check:late-share'
    """
    return f"{CHECK}{check.name}"


def check_policies(policies: Sequence[EnvironmentPolicy]) -> None:
    """Raises InvalidInput for an unknown gate or `after`, a cycle of `after`, or a bad window."""
    known = {policy.name: policy for policy in policies}
    for policy in policies:
        for gate in policy.gates:
            if gate not in GATES:
                raise InvalidInput(
                    f"environments.{policy.name}: there is no gate {gate!r}.",
                    next_step=nearest(gate, GATES),
                )
        _ = policy.open_windows
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
