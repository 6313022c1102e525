"""Recursive descent over the text of one check; see `checks` for the grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from seamline.domain.errors import InvalidInput, nearest
from seamline.measure.evaluation.vocabulary import HIGHER_IS_BETTER, WORDS, Rival, Takes

# A number does not swallow the dot before a step: ndcg@10.abs.
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+\.\d+|\d+\.(?![A-Za-z_])|\d+|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[^\W\d]\w*)|(?P<quoted>\"[^\"]*\"|'[^']*')"
    r"|(?P<compare>>=|<=|>|<)|(?P<mark>[.(),*@\[\]]))"
)
_SLICE_STEPS = ("gap", "in", "worst_slice")
_STEPS = ("abs", "drop_vs", "gap", "in", "vs", "worst_slice")
_COMPARE_HINT = "Write one of >=, <=, >, < and a number."
_KNOWN_STEPS = "Known: abs, drop_vs(…), gap(…), in(…, …), vs(…), worst_slice(…)."


@dataclass
class Parsed:
    """What has been read of a check so far."""

    text: str
    metric: str = ""
    compare: str = ""
    limit: float = 0.0
    rival: str | None = None
    as_drop: bool = False
    absolute: bool = False
    slice: str | None = None
    over: str | None = None
    slice_value: str | None = None
    higher_is_better: bool | None = None
    is_own: bool = False


def _is_between(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class Parser:
    """`own`: metrics of the team's own, and whether higher is better."""

    def __init__(self, text: str, own: Mapping[str, bool | None]) -> None:
        self.text = text
        self.own = own
        self.tokens = self._split()
        self.next = 0

    def _split(self) -> list[_Token]:
        tokens, at, end = [], 0, len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                hint = _COMPARE_HINT if self.text[at] in "=≥≤≠!" else ""
                raise self._error(f"{self.text[at]!r} is not understood", at, hint)
            kind = str(match.lastgroup)
            tokens.append(_Token(kind, match[kind], match.start(kind)))
            at = match.end()
        return [*tokens, _Token("end", "", end)]

    def read(self) -> Parsed:
        read = Parsed(self.text)
        self._read_metric(read)
        while self._skip("."):
            self._read_step(read)
        read.compare = self._take("compare", "a comparison", _COMPARE_HINT).text
        limit = self._take("number", "a number", _COMPARE_HINT)
        read.limit = float(limit.text)
        if not isfinite(read.limit):
            raise self._error(f"{limit.text} is more than a float holds", limit.at, _COMPARE_HINT)
        self._take("end", "the end of the check", "Write one check per line.")
        return read

    def _read_metric(self, read: Parsed) -> None:
        directions = {**HIGHER_IS_BETTER, **self.own}
        name = self._take("name", "a metric", f"Known: {', '.join(sorted(directions))}.")
        if name.text not in directions:
            hint = nearest(name.text, directions)
            raise self._error(f"there is no metric {name.text!r}", name.at, hint)
        read.higher_is_better = directions[name.text]
        read.is_own = name.text in self.own
        read.metric = name.text + self._read_behind(name, read.is_own)

    def _read_behind(self, name: _Token, is_own: bool) -> str:
        """`@10`, `[UA]` or nothing."""
        mark = self.tokens[self.next]
        if mark.text not in ("@", "["):
            if not is_own and WORDS[name.text].needs:
                hint = f"Write it as {name.text}@10."
                raise self._error(f"{name.text} stands with a depth", name.at, hint)
            return ""
        self.next += 1
        takes = set() if is_own else set(WORDS[name.text].takes.values())
        fitting = (
            {Takes.DEPTH, Takes.THRESHOLD}
            if mark.text == "@"
            else {
                Takes.CLASS,
                Takes.QUANTILE,
            }
        )
        if not takes & fitting:
            known = " or ".join(sorted(takes - {Takes.NOTHING})) or "nothing"
            hint = f"It takes {known}."
            raise self._error(f"{name.text} takes no {mark.text!r}", mark.at, hint)
        if mark.text == "@":
            return self._read_number(takes)
        at = self.tokens[self.next].at
        word = self._read_words("a class or a quantile")
        if takes & fitting == {Takes.QUANTILE}:
            if not _is_between(word):
                raise self._error(f"{word} is no quantile", at, "Quantiles lie between 0 and 1.")
            word = f"{float(word):g}"
        self._take_mark("]")
        return f"[{word}]"

    def _read_number(self, takes: set[Takes]) -> str:
        """Behind `@`."""
        token = self._take("number", "a number", "Write recall@0.35 or ndcg@10.")
        number = float(token.text)
        is_threshold = Takes.THRESHOLD in takes and 0 <= number <= 1
        is_depth = Takes.DEPTH in takes and number >= 1 and number == int(number)
        if not is_threshold and not is_depth:
            known = {Takes.THRESHOLD: "no threshold from 0 to 1", Takes.DEPTH: "no depth (1, 2, …)"}
            what = " and ".join(text for kind, text in known.items() if kind in takes)
            raise self._error(f"{token.text} is {what}", token.at, "Write recall@0.35 or ndcg@10.")
        return f"@{number:g}"

    def _read_step(self, read: Parsed) -> None:
        step = self._take("name", "a step", _KNOWN_STEPS)
        if step.text not in _STEPS:
            raise self._error(
                f"there is no step {step.text!r}", step.at, nearest(step.text, _STEPS)
            )
        if step.text in _SLICE_STEPS:
            self._read_slice_step(step, read)
        elif step.text == "abs":
            self._refuse_twice(read.absolute, step)
            read.absolute = True
        else:
            self._refuse_twice(read.rival is not None, step)
            read.rival, read.as_drop = self._read_rival(), step.text == "drop_vs"
        self._check_sense(step, read)

    def _read_slice_step(self, step: _Token, read: Parsed) -> None:
        self._refuse_twice(read.slice is not None, step)
        self._take_mark("(")
        read.over, read.slice = step.text, self._read_words("a slice column")
        if step.text == "in":
            self._take_mark(",")
            read.slice_value = self._read_words("the slice's value")
        self._take_mark(")")

    def _check_sense(self, step: _Token, read: Parsed) -> None:
        if read.as_drop and read.higher_is_better is None:
            hint = f"Write {read.metric}.vs(…), or {read.metric}.abs."
            raise self._error(f"{read.metric} has no better direction", step.at, hint)
        if read.over == "gap" and (read.rival is not None or read.absolute):
            hint = "Write .worst_slice(…) to compare slices with a rival's."
            raise self._error("a gap stands alone: without vs, drop_vs or abs", step.at, hint)

    def _refuse_twice(self, is_there: bool, step: _Token) -> None:
        if is_there:
            raise self._error(f"{step.text} is there twice", step.at, "Keep one.")

    def _read_rival(self) -> str:
        self._take_mark("(")
        token = self._take("name", "incumbent or baseline", "")
        self._take_mark(")")
        if token.text not in tuple(Rival):
            hint = nearest(token.text, Rival)
            raise self._error(f"there is no rival {token.text!r}", token.at, hint)
        return token.text

    def _read_words(self, what: str) -> str:
        """One word, or several joined by `*`; what a name cannot hold stands in quotes."""
        words = [self._read_word(what)]
        while self._skip("*"):
            words.append(self._read_word(what))
        return "*".join(words)

    def _read_word(self, what: str) -> str:
        token = self.tokens[self.next]
        if token.kind not in ("name", "number", "quoted"):
            self._take("name", what, "Put it into quotes if it holds other characters.")
        self.next += 1
        return token.text[1:-1] if token.kind == "quoted" else token.text

    def _take(self, kind: str, what: str, hint: str) -> _Token:
        token = self.tokens[self.next]
        if token.kind != kind:
            found = repr(token.text) if token.text else "the end"
            raise self._error(f"expected {what}, found {found}", token.at, hint)
        self.next += 1
        return token

    def _skip(self, mark: str) -> bool:
        found = self.tokens[self.next].text == mark
        self.next += found
        return found

    def _take_mark(self, mark: str) -> None:
        if not self._skip(mark):
            self._take("mark of its own", repr(mark), "")

    def _error(self, what: str, at: int, hint: str) -> InvalidInput:
        message = f"Check {self.text!r}, character {at + 1}: {what}."
        pointer = f"\n    {self.text}\n    {' ' * at}^"
        return InvalidInput(message, next_step=hint + pointer, position=at)
