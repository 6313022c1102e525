"""A broken rule: how many rows, examples, the first bad day, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from seamline.measure.contracts.terms import Policy

_EXAMPLES = 3


class ViolationKind(StrEnum):
    MISSING_COLUMN = "missing_column"
    UNEXPECTED_COLUMN = "unexpected_column"
    MISTYPED = "mistyped"
    NULLS = "nulls"
    OUT_OF_RANGE = "out_of_range"
    NOT_ALLOWED = "not_allowed"
    #: A text that the pattern does not match.
    NO_MATCH = "no_match"
    #: Of the rule named in `column`: rows for which its expression is false.
    RULE = "rule"
    #: Of the keys, in `column`: rows that have the key of another.
    DUPLICATE_KEYS = "duplicate_keys"
    #: Rows that have a key which the table has already.
    KNOWN_KEYS = "known_keys"
    #: The row's event lies in the future.
    FUTURE = "future"
    #: The newest event is too old.
    STALE = "stale"
    #: Too few or too many rows came.
    ROW_COUNT = "row_count"
    #: The column's values are distributed otherwise than in the newest version.
    DRIFT = "drift"

    @property
    def is_of_rows(self) -> bool:
        """Whether single rows break it, so that they can be set aside; else all of a delivery."""
        return self in (
            ViolationKind.MISTYPED,
            ViolationKind.NULLS,
            ViolationKind.OUT_OF_RANGE,
            ViolationKind.NOT_ALLOWED,
            ViolationKind.NO_MATCH,
            ViolationKind.RULE,
            ViolationKind.FUTURE,
        )

    @property
    def is_told_whole(self) -> bool:
        """Whether `expected` says all there is to say: no rows are counted."""
        return self in (ViolationKind.STALE, ViolationKind.ROW_COUNT, ViolationKind.DRIFT)


@dataclass(frozen=True)
class Violation:
    """`count` of `rows` rows break the rule; `first_bad_day` is the least label among them."""

    kind: ViolationKind
    column: str
    expected: str
    count: int
    rows: int
    examples: tuple[str, ...] = ()
    first_bad_day: str | None = None
    policy: Policy = Policy.REFUSE

    @property
    def share(self) -> float:
        return self.count / self.rows if self.rows else 0.0

    @property
    def does(self) -> Policy:
        """What is done: what concerns a whole delivery cannot be set aside, and is refused."""
        if self.policy is Policy.QUARANTINE and not self.kind.is_of_rows:
            return Policy.REFUSE
        return self.policy

    def sentence(self) -> str:
        """
        >>> examples = ("n/a", "12,50", "EUR 20")
        >>> bad = Violation(
        ...     ViolationKind.MISTYPED, "distance", "float", 60, 29425, examples, "2013-07-09")
        >>> print(bad.sentence())
        distance: 60 of 29,425 values are not float, e.g. 'n/a', '12,50', 'EUR 20'; \
first bad day 2013-07-09.
        """
        if self.kind is ViolationKind.MISSING_COLUMN:
            return f"{self.column}: the column is missing; the contract expects {self.expected}."
        if self.kind is ViolationKind.UNEXPECTED_COLUMN:
            left_out = "" if self.does is Policy.REFUSE else "; it is left out"
            return f"{self.column}: the column is not in the contract{left_out}."
        if self.kind.is_told_whole:
            return f"{self.column}: {self.expected}."
        of_rows = self.kind in (
            ViolationKind.DUPLICATE_KEYS,
            ViolationKind.KNOWN_KEYS,
            ViolationKind.RULE,
        )
        text = f"{self.column}: {self.count:,} of {self.rows:,} {'rows' if of_rows else 'values'}"
        text += f" {self._what()}"
        if self.examples:
            text += f", e.g. {', '.join(repr(example) for example in self.examples)}"
        if self.first_bad_day is not None:
            text += f"; first bad day {self.first_bad_day}"
        return f"{text}."

    def _what(self) -> str:
        return {
            ViolationKind.MISTYPED: f"are not {self.expected}",
            ViolationKind.NULLS: "are missing; the contract allows none",
            ViolationKind.OUT_OF_RANGE: f"are out of range ({self.expected})",
            ViolationKind.NOT_ALLOWED: f"are not among {self.expected}",
            ViolationKind.NO_MATCH: f"do not match {self.expected}",
            ViolationKind.RULE: f"break {self.expected}",
            ViolationKind.DUPLICATE_KEYS: "share their key with another",
            ViolationKind.KNOWN_KEYS: "have a key that is in the table already",
            ViolationKind.FUTURE: f"lie in the future ({self.expected})",
        }[self.kind]

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": str(self.kind),
            "column": self.column,
            "expected": self.expected,
            "count": self.count,
            "rows": self.rows,
            "examples": list(self.examples),
            "first_bad_day": self.first_bad_day,
            "policy": str(self.policy),
            "sentence": self.sentence(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Violation:
        """Also of what was told before there were policies."""
        read = {
            "kind": ViolationKind(data["kind"]),
            "examples": tuple(data["examples"]),
            "policy": Policy(data.get("policy", Policy.REFUSE)),
        }
        told = {key: value for key, value in data.items() if key != "sentence"}
        return cls(**{**told, **read})


def add_violations(found: Iterable[Violation], rows: int) -> list[Violation]:
    """One for each rule that was broken, however the rows came in batches.

    >>> one = Violation(ViolationKind.MISTYPED, "a", "int", 1, 2, ("x",), "2013-01-02")
    >>> other = Violation(ViolationKind.MISTYPED, "a", "int", 2, 3, ("y", "x"), "2013-01-01")
    >>> print(add_violations([one, other], 5)[0].sentence())
    a: 3 of 5 values are not int, e.g. 'x', 'y'; first bad day 2013-01-01.
    """
    merged: dict[tuple[ViolationKind, str], Violation] = {}
    for one in found:
        before = merged.get((one.kind, one.column))
        whole = one.kind in (ViolationKind.MISSING_COLUMN, ViolationKind.UNEXPECTED_COLUMN)
        merged[(one.kind, one.column)] = (
            replace(one, rows=one.rows if whole else rows)
            if before is None
            else replace(
                before,
                count=before.count + one.count,
                examples=tuple(dict.fromkeys(before.examples + one.examples))[:_EXAMPLES],
                first_bad_day=_least(before.first_bad_day, one.first_bad_day),
            )
        )
    return list(merged.values())


def _least(one: str | None, other: str | None) -> str | None:
    return min((day for day in (one, other) if day is not None), default=None)
