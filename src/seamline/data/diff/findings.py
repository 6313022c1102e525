"""What a comparison of two versions finds, and who committed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from seamline.measure.drift import ValueChange


class Change(StrEnum):
    """In the order in which they are told: the first are those that break what comes after."""

    TYPE = "type"
    COLUMN_GONE = "column_gone"
    COLUMN_NEW = "column_new"
    ROWS = "rows"
    MISSING = "missing"
    VALUES_GONE = "values_gone"
    VALUES_NEW = "values_new"
    SHIFT = "shift"

    @property
    def is_of_schema(self) -> bool:
        return self in (Change.TYPE, Change.COLUMN_GONE, Change.COLUMN_NEW)


@dataclass(frozen=True)
class Producer:
    """The task of a run that made a delivery. `version` is a tag that its component was published
    with; None where its bytes were not published under the component's name."""

    task: str
    component: str
    version: str | None
    #: The pipeline as it was asked for: NAME@TAG, or its name.
    pipeline: str

    def say(self) -> str:
        """
        >>> Producer("prep", "prep", "1.4", "churn@2.0").say()
        'component prep@1.4'
        >>> Producer("prep", "prep", None, "churn@2.0").say()
        'component prep of churn@2.0'
        """
        if self.version is not None:
            return f"component {self.component}@{self.version}"
        return f"component {self.component} of {self.pipeline}"


@dataclass(frozen=True)
class Commit:
    """The version that brought some rows, and where it had them from."""

    dataset: str
    version: int
    run_id: str | None
    committed_by: str
    source: str
    at: str
    producer: Producer | None = None

    def say(self) -> str:
        """
        >>> Commit("churn", 4, None, "ada", "july.csv", "").say()
        'committed by ada from july.csv as churn@4'
        """
        if self.run_id is None:
            made = f"{self.committed_by} from {self.source}"
        elif self.producer is None:
            made = f"run {self.run_id}"
        else:
            made = f"run {self.run_id}, {self.producer.say()}"
        return f"committed by {made} as {self.dataset}@{self.version}"


@dataclass(frozen=True)
class FirstSeen:
    """The first partition that shows it: `bad` of its `rows` (None: it is not a count)."""

    partition: str
    bad: int | None
    rows: int
    commit: Commit

    def say(self) -> str:
        count = "" if self.bad is None else f" ({self.bad:,} of {self.rows:,})"
        return f"first in partition {self.partition}{count}; {self.commit.say()}"


@dataclass(frozen=True)
class Finding:
    """`statement` says what differs; `effect` orders findings of one kind, the largest first.

    `before` and `after`: types, shares, counts or means, as the kind has them.
    """

    change: Change
    column: str | None
    statement: str
    effect: float
    before: Any = None
    after: Any = None
    values: tuple[ValueChange, ...] = ()
    measures: tuple[tuple[str, float], ...] = ()
    first: FirstSeen | None = None

    def sentence(self) -> str:
        return self.statement if self.first is None else f"{self.statement}; {self.first.say()}"

    def to_json(self) -> dict[str, Any]:
        return {
            "change": str(self.change),
            "column": self.column,
            "sentence": self.sentence(),
            "statement": self.statement,
            "before": self.before,
            "after": self.after,
            "effect": self.effect,
            "values": [asdict(one) for one in self.values],
            "measures": dict(self.measures),
            "first": None if self.first is None else asdict(self.first),
        }


@dataclass(frozen=True)
class VersionDiff:
    """`findings`: the worst first. `part` says which rows of `after` are held against `before`:
    all of them, or those that were added to it."""

    before: str
    after: str
    is_same_digest: bool
    findings: tuple[Finding, ...]
    part: str
    #: Things to know about how it was made: another basis, thresholds.
    notes: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        return bool(self.findings) or not self.is_same_digest

    def to_json(self) -> dict[str, Any]:
        return {
            "before": self.before,
            "after": self.after,
            "differs": self.differs,
            "is_same_digest": self.is_same_digest,
            "findings": [one.to_json() for one in self.findings],
            "part": self.part,
            "notes": list(self.notes),
        }


def with_producers(diff: VersionDiff, find: Callable[[Commit], Producer | None]) -> VersionDiff:
    """`find` is asked once for each commit that a run made."""
    known: dict[tuple[str, int], Producer | None] = {}

    def complete(finding: Finding) -> Finding:
        if finding.first is None or finding.first.commit.run_id is None:
            return finding
        commit = finding.first.commit
        key = (commit.dataset, commit.version)
        if key not in known:
            known[key] = find(commit)
        first = replace(finding.first, commit=replace(commit, producer=known[key]))
        return replace(finding, first=first)

    return replace(diff, findings=tuple(complete(one) for one in diff.findings))
