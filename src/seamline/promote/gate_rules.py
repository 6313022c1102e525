"""Limits of single gates, as `[environments.NAME.gate.GATE]` declares them.

A gate reads its own: `policy.gate.security.oldest`. A new gate adds a frozen dataclass whose fields
all have defaults, and a field of `GateRules` called like the gate. Only what differs from the
defaults is part of a policy's digest, so that policies which say nothing of a gate keep theirs.
Durations stay the texts that they were written as (`parse_duration_s` where they are used), tables
are not allowed, and lists are tuples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import InvalidInput

#: What the gate `load` sends at the most.
MOST_PER_S = 400.0


class Looser(StrEnum):
    """Which change of a limit lets in more: it is told where a promotion relies on it."""

    HIGHER = "higher"
    LOWER = "lower"
    #: Of a list: whatever is added.
    LONGER = "longer"
    #: Of a list: whatever is left out.
    SHORTER = "shorter"
    #: Nobody can tell in general: whatever is changed.
    OTHER = "other"


def limit(default: Any, looser: Looser) -> Any:
    """A field of a gate's rules. A duration's text is compared by its length."""
    return field(default=default, metadata={"looser": looser})


@dataclass(frozen=True)
class SecurityRule:
    """Limits of the gate `security`."""

    #: Folder or zip file with advisories as OSV publishes them (JSON), by its absolute path on the
    #: server's machine. Without one, nobody knows what is known to be bad: inconclusive.
    advisories: str | None = limit(None, Looser.OTHER)
    #: How long ago the newest of them may have been modified.
    oldest: str = limit("7d", Looser.HIGHER)
    #: Ids of advisories that somebody has looked at, and that stop nothing here.
    accepted: tuple[str, ...] = limit((), Looser.LONGER)

    def __post_init__(self) -> None:
        check_duration("oldest", self.oldest)
        if self.advisories is not None and not PurePath(self.advisories).is_absolute():
            raise InvalidInput(
                f"advisories = {self.advisories!r} is a relative path: it is another one for each "
                "process.",
                next_step="Write it from / on.",
            )


@dataclass(frozen=True)
class DataContractRule:
    """Limits of the gate `data_contract`."""

    #: Share of the delivered rows that may have been set aside, of each dataset version.
    quarantined: float = limit(0.05, Looser.HIGHER)

    def __post_init__(self) -> None:
        check_share("quarantined", self.quarantined)


@dataclass(frozen=True)
class LikenessRule:
    """Limits of the gate `likeness`. Shares are of what production has."""

    #: The environment whose data the others' has to be like.
    production: str = limit("production", Looser.OTHER)
    #: Least share of its rows.
    rows: float = limit(0.01, Looser.LOWER)
    #: Least share of the different values in each of its keys.
    keys: float = limit(0.01, Looser.LOWER)
    #: Least share of its rows whose category is there, too, for each column of categories.
    categories: float = limit(0.95, Looser.LOWER)
    #: Population stability index above which a column has drifted, where it is also more than
    #: production's own days show among themselves.
    psi: float = limit(0.2, Looser.HIGHER)
    #: How far the newest day may lie behind production's.
    lag: str = limit("7d", Looser.HIGHER)

    def __post_init__(self) -> None:
        check_duration("lag", self.lag)
        for key in ("rows", "keys", "categories"):
            check_share(key, getattr(self, key))
        if self.psi <= 0:
            raise InvalidInput(f"psi has to be above 0, not {self.psi:g}.")


@dataclass(frozen=True)
class PipelineRule:
    """Limits of the gate `pipeline`."""

    #: How many times the incumbent's time its tasks may take; 10 s more are always allowed.
    slower: float = limit(2.0, Looser.HIGHER)
    #: How many times the incumbent's peak of memory; 64 MB more are always allowed.
    larger: float = limit(1.5, Looser.HIGHER)
    #: Which part of the keys that the incumbent answered has to be answered. Where nothing is live
    #: yet: of the keys of the input, if this is declared.
    coverage: float | None = limit(None, Looser.LOWER)
    #: By how much the part of a column that is null may be larger than the incumbent's.
    nulls: float = limit(0.01, Looser.HIGHER)
    #: The longest that its tasks may take together, whatever the incumbent's did.
    longest: str | None = limit(None, Looser.HIGHER)
    #: The most memory that one of its tasks may take.
    memory_mb: float | None = limit(None, Looser.HIGHER)
    #: After that long without an end: an error.
    timeout: str = limit("1h", Looser.OTHER)

    def __post_init__(self) -> None:
        check_duration("timeout", self.timeout)
        check_duration("longest", self.longest or "0s")
        check_at_least("slower", self.slower, 1.0)
        check_at_least("larger", self.larger, 1.0)


@dataclass(frozen=True)
class InfrastructureRule:
    """Limits of the gate `infrastructure`."""

    #: The most memory that a model may take to load and to answer its sample rows.
    memory_mb: float = limit(2048.0, Looser.HIGHER)
    #: The longest that it may take to load and to answer them once, with nothing compiled yet.
    longest: str = limit("2m", Looser.HIGHER)
    #: After that long without an end, installing included: an error.
    timeout: str = limit("15m", Looser.OTHER)

    def __post_init__(self) -> None:
        check_duration("longest", self.longest)
        check_duration("timeout", self.timeout)


@dataclass(frozen=True)
class InterfaceRule:
    """Limits of the gate `interface`."""

    #: How far back the prediction log is asked what callers send.
    look_back: str = limit("7d", Looser.LOWER)
    #: Changes that break callers, and that they have been told of: `late-arrival.input.hour`.
    accepted: tuple[str, ...] = limit((), Looser.LONGER)

    def __post_init__(self) -> None:
        check_duration("look_back", self.look_back)


@dataclass(frozen=True)
class LoadRule:
    """Limits of the gate `load`."""

    #: The longest that 95 of 100 requests may take, whatever the incumbent's do.
    p95_ms: float = limit(1000.0, Looser.HIGHER)
    #: How many requests it has to answer in a second, at the least.
    rps: float | None = limit(None, Looser.LOWER)
    #: How many times the incumbent's 95th percentile; 5 ms more are always allowed.
    slower: float = limit(1.5, Looser.HIGHER)
    #: Requests that are sent in a second while it is measured, if `rps` does not ask for more.
    rate: float = limit(100.0, Looser.LOWER)
    #: After that long without an end: an error.
    timeout: str = limit("5m", Looser.OTHER)

    def __post_init__(self) -> None:
        check_duration("timeout", self.timeout)
        check_at_least("slower", self.slower, 1.0)
        check_at_least("rate", self.rate, 1.0)
        if self.rate > MOST_PER_S or (self.rps or 0.0) > MOST_PER_S:
            raise InvalidInput(
                f"The gate load sends at most {MOST_PER_S:.0f} requests in a second: it must not "
                "press what answers others.",
                next_step="Measure more with a load generator of your own, and ask for its verdict "
                "as an external gate.",
            )


@dataclass(frozen=True)
class GateRules:
    """One field for each gate that has limits."""

    data_contract: DataContractRule = field(default_factory=DataContractRule)

    likeness: LikenessRule = field(default_factory=LikenessRule)
    security: SecurityRule = field(default_factory=SecurityRule)
    pipeline: PipelineRule = field(default_factory=PipelineRule)
    infrastructure: InfrastructureRule = field(default_factory=InfrastructureRule)
    interface: InterfaceRule = field(default_factory=InterfaceRule)
    load: LoadRule = field(default_factory=LoadRule)

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the defaults.

        >>> GateRules(security=SecurityRule(oldest="2d")).to_json()
        {'security': {'oldest': '2d'}}
        """
        told: dict[str, Any] = {}
        defaults = GateRules()
        for one in fields(self):
            rule, default = getattr(self, one.name), getattr(defaults, one.name)
            if rule != default:
                mine, plain = asdict(rule), asdict(default)
                told[one.name] = {key: mine[key] for key in mine if mine[key] != plain[key]}
        return told

    @classmethod
    def from_json(cls, document: Mapping[str, Mapping[str, Any]]) -> GateRules:
        """
        >>> GateRules.from_json({"security": {"accepted": ["CVE-1"]}}).security.accepted
        ('CVE-1',)
        """
        plain = GateRules()
        return cls(
            **{
                name: type(getattr(plain, name))(
                    **{
                        key: tuple(value) if isinstance(value, list) else value
                        for key, value in told.items()
                    }
                )
                for name, told in document.items()
            }
        )


def loosened_limits(before: GateRules, after: GateRules, gates: Collection[str]) -> Iterator[str]:
    """A sentence for each limit, of these gates, that asks for less, or that nobody can compare.

    >>> strict, loose = SecurityRule(oldest="2d"), SecurityRule(oldest="9d", accepted=("CVE-1",))
    >>> list(loosened_limits(GateRules(security=strict), GateRules(security=loose), ["security"]))
    ['security.oldest: 2d → 9d', 'security.accepted: also CVE-1']
    >>> list(loosened_limits(GateRules(security=loose), GateRules(security=strict), ["security"]))
    []
    """
    for gate in (one for one in fields(GateRules) if one.name in gates):
        old, new = getattr(before, gate.name), getattr(after, gate.name)
        for one in fields(old):
            said = _loosened(
                Looser(one.metadata["looser"]), getattr(old, one.name), getattr(new, one.name)
            )
            if said is not None:
                yield f"{gate.name}.{one.name}: {said}"


def _loosened(looser: Looser, old: Any, new: Any) -> str | None:
    if old == new or old is None:  # a limit where there was none
        return None
    if looser in (Looser.LONGER, Looser.SHORTER):
        added = set(new) - set(old) if looser is Looser.LONGER else set(old) - set(new)
        word = "also" if looser is Looser.LONGER else "not any more"
        return f"{word} {', '.join(sorted(added))}" if added else None
    if looser is not Looser.OTHER and new is not None:
        is_higher = _size(new) > _size(old)
        if is_higher is not (looser is Looser.HIGHER):
            return None
    return f"{_said(old)} → {_said(new)}"


def _said(value: Any) -> str:
    return "none" if value is None else str(value)


def _size(value: Any) -> float:
    return parse_duration_s(value) if isinstance(value, str) else float(value)


def check_duration(key: str, text: str) -> None:
    """Raises InvalidInput that names the key."""
    try:
        parse_duration_s(text)
    except InvalidInput as error:
        raise InvalidInput(f"{key}: {error.message}", next_step=error.next_step) from error


def check_share(key: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise InvalidInput(f"{key} has to be between 0 and 1, not {value:g}.")


def check_at_least(key: str, value: float, least: float) -> None:
    if not value >= least:
        raise InvalidInput(f"{key} has to be {least:g} or more, not {value:g}.")
