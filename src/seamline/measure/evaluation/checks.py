"""Checks on scorecards: what they ask, and the small grammar that they are written in.

    check   := metric step* compare number
    metric  := name [ "@" number | "[" word "]" ]
    step    := "." ( "vs(" rival ")" | "drop_vs(" rival ")" | "abs" | "worst_slice(" slice ")"
                   | "gap(" slice ")" | "in(" slice "," value ")" )
    slice   := word ( "*" word )*            value := word ( "*" word )*
    word    := name | number | quoted text
    rival   := "incumbent" | "baseline"
    compare := ">=" | "<=" | ">" | "<"

`metric.vs(rival)` is candidate - rival. `metric.drop_vs(rival)` is how much worse the candidate is:
rival - candidate where higher is better, candidate - rival where lower is better. `abs` is the
distance from zero. `worst_slice(column)` asks every value of a slice with enough rows,
`in(column, value)` one that is named beforehand, `gap(column)` the largest value minus the least.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seamline.measure.evaluation.grammar import Parsed, Parser
from seamline.measure.evaluation.vocabulary import Rival


class Compare(StrEnum):
    AT_LEAST = ">="
    AT_MOST = "<="
    ABOVE = ">"
    BELOW = "<"

    def holds(self, value: float, limit: float) -> bool:
        """
        >>> Compare(">=").holds(0.7, 0.7), Compare(">").holds(0.7, 0.7)
        (True, False)
        """
        if self in (Compare.AT_LEAST, Compare.AT_MOST) and value == limit:
            return True
        return value > limit if self.wants_more else value < limit

    @property
    def wants_more(self) -> bool:
        return self in (Compare.AT_LEAST, Compare.ABOVE)


class Over(StrEnum):
    """Which slices a check asks about."""

    WORST = "worst_slice"
    GAP = "gap"
    ONE = "in"


@dataclass(frozen=True)
class Check:
    """`metric` is its key on a scorecard: `f1[UA]`, `ndcg@10`. `rival` with `as_drop` (drop_vs) or
    without (vs). `slice` with `over`, and the `slice_value` of `in`."""

    text: str
    metric: str
    compare: Compare
    limit: float
    rival: Rival | None = None
    as_drop: bool = False
    absolute: bool = False
    slice: str | None = None
    over: Over | None = None
    slice_value: str | None = None
    higher_is_better: bool | None = None
    is_own: bool = False

    def to_json(self) -> dict[str, Any]:
        """A metric of the team's own goes with its direction: no vocabulary knows it."""
        plain: dict[str, Any] = {"text": self.text}
        return plain | {"own": {self.metric: self.higher_is_better}} if self.is_own else plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Check:
        return parse_check(data["text"], data.get("own"))


def parse_check(text: str, own: Mapping[str, bool | None] | None = None) -> Check:
    """`own`: metrics of the team's own, and whether higher is better.

    Raises InvalidInput that points at the character and names the nearest word.

    >>> check = parse_check("mae.drop_vs(incumbent) <= 0")
    >>> check.metric, check.rival, check.as_drop, check.compare, check.limit
    ('mae', <Rival.INCUMBENT: 'incumbent'>, True, <Compare.AT_MOST: '<='>, 0.0)
    >>> check = parse_check("recall@0.35.in(origin*hour, JFK*5) >= 0.5")
    >>> check.metric, check.slice, check.slice_value
    ('recall@0.35', 'origin*hour', 'JFK*5')
    >>> parse_check("cost.vs(incumbent) <= 0", {"cost": False}).higher_is_better
    False
    >>> parse_check("auk > 0.7")
    Traceback (most recent call last):
    seamline.domain.errors.InvalidInput: Check 'auk > 0.7', character 1: there is no metric 'auk'. \
Did you mean auc?
        auk > 0.7
        ^
    """
    return _to_check(Parser(text, own or {}).read())


def _to_check(read: Parsed) -> Check:
    return Check(
        text=read.text,
        metric=read.metric,
        compare=Compare(read.compare),
        limit=read.limit,
        rival=None if read.rival is None else Rival(read.rival),
        as_drop=read.as_drop,
        absolute=read.absolute,
        slice=read.slice,
        over=None if read.over is None else Over(read.over),
        slice_value=read.slice_value,
        higher_is_better=read.higher_is_better,
        is_own=read.is_own,
    )
