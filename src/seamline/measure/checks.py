"""Checks on scorecards: a small grammar, decided on the bound of the interval.

    check   := metric step* compare number
    step    := ".vs(" rival ")" | ".drop_vs(" rival ")" | ".abs" | ".worst_slice(" column ")"
    rival   := "incumbent" | "baseline"
    compare := ">=" | "<=" | ">" | "<"

`metric.vs(rival)` is candidate - rival. `metric.drop_vs(rival)` is how much worse the candidate is:
rival - candidate where higher is better, candidate - rival where lower is better. `abs` is the
distance from zero. `worst_slice(column)` asks every value of a slice column with enough rows.

A check passes when the whole interval keeps it, fails when the whole interval breaks it, and is
inconclusive when the limit lies inside, or when there are too few blocks or rows for an interval.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from seamline.domain.errors import InvalidInput, nearest
from seamline.measure.vocabulary import HIGHER_IS_BETTER, Rival

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<compare>>=|<=|>|<)|(?P<mark>[.()]))"
)
_STEPS = ("abs", "drop_vs", "vs", "worst_slice")


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


@dataclass(frozen=True)
class Check:
    """`rival` with `as_drop` (drop_vs) or without (vs)."""

    text: str
    metric: str
    compare: Compare
    limit: float
    rival: Rival | None = None
    as_drop: bool = False
    absolute: bool = False
    slice: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Check:
        return parse_check(data["text"])


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse_check(text: str) -> Check:
    """Raises InvalidInput that points at the character and names the nearest word.

    >>> check = parse_check("mae.drop_vs(incumbent) <= 0")
    >>> check.metric, check.rival, check.as_drop, check.compare, check.limit
    ('mae', <Rival.INCUMBENT: 'incumbent'>, True, <Compare.AT_MOST: '<='>, 0.0)
    >>> parse_check("auk > 0.7")
    Traceback (most recent call last):
    seamline.domain.errors.InvalidInput: Check 'auk > 0.7', character 1: there is no metric 'auk'. \
Did you mean auc?
        auk > 0.7
        ^
    """
    return _Parser(text).read()


class _Parser:
    """Recursive descent over the tokens of one check."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._split()
        self.next = 0

    def _split(self) -> list[_Token]:
        tokens, at, end = [], 0, len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                raise self._error(f"{self.text[at]!r} is not understood", at, "")
            kind = str(match.lastgroup)
            tokens.append(_Token(kind, match[kind], match.start(kind)))
            at = match.end()
        return [*tokens, _Token("end", "", end)]

    def read(self) -> Check:
        name = self._take("name", "a metric", f"Known: {', '.join(sorted(HIGHER_IS_BETTER))}.")
        if name.text not in HIGHER_IS_BETTER:
            hint = nearest(name.text, HIGHER_IS_BETTER)
            raise self._error(f"there is no metric {name.text!r}", name.at, hint)
        steps: dict[str, Any] = {}
        while self.tokens[self.next].text == ".":
            self.next += 1
            self._read_step(name.text, steps)
        hint = "Write one of >=, <=, >, < and a number."
        compare = self._take("compare", "a comparison", hint)
        limit = self._take("number", "a number", hint)
        self._take("end", "the end of the check", "Write one check per line.")
        return Check(self.text, name.text, Compare(compare.text), float(limit.text), **steps)

    def _read_step(self, metric: str, steps: dict[str, Any]) -> None:
        known = "Known: abs, drop_vs(…), vs(…), worst_slice(…)."
        step = self._take("name", "a step", known)
        if step.text not in _STEPS:
            raise self._error(
                f"there is no step {step.text!r}", step.at, nearest(step.text, _STEPS)
            )
        if step.text == "abs":
            added: dict[str, Any] = {"absolute": True}
        elif step.text == "worst_slice":
            added = {"slice": self._read_argument("a slice column").text}
        else:
            added = {"rival": self._read_rival(), "as_drop": step.text == "drop_vs"}
        if set(added) & set(steps):
            raise self._error(f"{step.text} is there twice", step.at, "Keep one.")
        steps.update(added)
        if steps.get("rival") and steps.get("slice"):
            hint = "Compare overall, or check the slices on their own."
            raise self._error("slices have no comparison with a rival", step.at, hint)
        if steps.get("as_drop") and HIGHER_IS_BETTER[metric] is None:
            hint = f"Write {metric}.vs(…), or {metric}.abs."
            raise self._error(f"{metric} has no better direction", step.at, hint)

    def _read_argument(self, what: str) -> _Token:
        self._take_mark("(")
        argument = self._take("name", what, "")
        self._take_mark(")")
        return argument

    def _read_rival(self) -> Rival:
        token = self._read_argument("incumbent or baseline")
        if token.text not in tuple(Rival):
            hint = nearest(token.text, Rival)
            raise self._error(f"there is no rival {token.text!r}", token.at, hint)
        return Rival(token.text)

    def _take(self, kind: str, what: str, hint: str) -> _Token:
        token = self.tokens[self.next]
        if token.kind != kind:
            found = repr(token.text) if token.text else "the end"
            raise self._error(f"expected {what}, found {found}", token.at, hint)
        self.next += 1
        return token

    def _take_mark(self, mark: str) -> None:
        if self.tokens[self.next].text != mark:
            self._take("mark of its own", repr(mark), "")
        self.next += 1

    def _error(self, what: str, at: int, hint: str) -> InvalidInput:
        message = f"Check {self.text!r}, character {at + 1}: {what}."
        pointer = f"\n    {self.text}\n    {' ' * at}^"
        return InvalidInput(message, next_step=hint + pointer, position=at)
