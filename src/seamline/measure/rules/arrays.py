"""A rule over several columns, over NumPy arrays: three-valued as SQL and Polars have it.

A table's rows are held to the same text through Polars; that both decide alike is tested over
random rules and rows. What is said here is only what cannot go otherwise: a rule with anything
else (texts that are added, times that are subtracted) raises, and no endpoint is held to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

import numpy as np

from seamline.domain.errors import InvalidInput
from seamline.measure.rules.cells import Array, CellKind, Cells, Mask
from seamline.measure.rules.grammar import read_expression, rule_error

Given: TypeAlias = Mapping[str, Cells]
#: Within `Value`, `str` is where the functions of texts are.
Text: TypeAlias = str
_KNOWN = np.zeros(1, np.bool_)


@dataclass(frozen=True)
class ArrayRule:
    """`broken` takes its columns and how many rows they have."""

    columns: tuple[str, ...]
    _value: Value

    def broken(self, given: Given, rows: int) -> Mask:
        """Which rows break it: those where it is false."""
        with np.errstate(all="ignore"):
            held = self._value.run(given)
        return np.broadcast_to(~held.values & ~held.unknown, rows)


def compile_rule(text: str, kinds: Mapping[str, CellKind]) -> ArrayRule:
    """
    >>> rule = compile_rule("arrival >= departure", {
    ...     "arrival": CellKind.INT, "departure": CellKind.INT})
    >>> arrival = Cells(np.array([9, 7, 0]), np.array([False, False, True]))
    >>> departure = Cells(np.array([8, 8, 8]), np.zeros(3, bool))
    >>> rule.broken({"arrival": arrival, "departure": departure}, 3).tolist()
    [False, True, False]
    >>> compile_rule("name + 'x' = 'yx'", {"name": CellKind.STRING})
    Traceback (most recent call last):
    seamline.domain.errors.InvalidInput: The rule "name + 'x' = 'yx'" cannot be told of arrays: ...
    """
    make = _Make(kinds)
    try:
        value: Value = read_expression(text, kinds, make)
    except _Unknown as error:
        raise rule_error(text, f"cannot be told of arrays: {error}") from error
    if value.kind is not CellKind.BOOL:
        raise rule_error(text, f"gives {value.kind}, not true or false")
    return ArrayRule(tuple(make.named), value)


class _Unknown(InvalidInput):
    """An operation that is not known here for these kinds of values."""


class Value:
    """What the grammar makes of a part of a rule: computed once its columns are given."""

    def __init__(self, kind: CellKind, run: Callable[[Given], Cells]) -> None:
        self.kind, self.run = kind, run

    @property
    def str(self) -> _Texts:
        return _Texts(self)

    @property
    def dt(self) -> _Times:
        return _Times(self)

    def made(self, kind: CellKind, change: Callable[[Array], Any]) -> Value:
        """Of the values alone: what is unknown stays so."""

        def run(given: Given) -> Cells:
            cells = self.run(given)
            return Cells(change(cells.values), cells.unknown)

        return Value(kind, run)

    def abs(self) -> Value:
        return self._number("abs").made(self.kind, np.abs)

    def cast(self, kind: CellKind) -> Value:
        """Only of what is of that kind: here whole numbers always have 64 bits."""
        return self._being(self.kind is kind, f"cast to {kind}")

    def round(self) -> Value:
        return self._number("round").made(self.kind, np.round)

    def is_null(self) -> Value:
        return Value(CellKind.BOOL, lambda given: Cells(self.run(given).unknown, _KNOWN))

    def is_not_null(self) -> Value:
        return ~self.is_null()

    def is_in(self, values: Sequence[object]) -> Value:
        kinds = {_kind_of(one) for one in values}
        if not all(kind is self.kind or (kind.is_number and self.kind.is_number) for kind in kinds):
            raise _Unknown(f"{self.kind} in a list of {' and '.join(sorted(kinds))}")
        if self.kind is CellKind.STRING:
            texts = frozenset(values)
            return self.made(CellKind.BOOL, lambda found: _each(texts.__contains__, found))
        allowed: Array = np.array(list(values))
        return self.made(CellKind.BOOL, lambda found: np.isin(found, allowed))

    def __neg__(self) -> Value:
        return self._number("-").made(self.kind, np.negative)

    def __invert__(self) -> Value:
        return self._flag("not").made(CellKind.BOOL, np.logical_not)

    def __and__(self, other: Value) -> Value:
        self._flag("and"), other._flag("and")

        def run(given: Given) -> Cells:
            one, two = self.run(given), other.run(given)
            known_false = (~one.unknown & ~one.values) | (~two.unknown & ~two.values)
            return Cells(one.values & two.values, (one.unknown | two.unknown) & ~known_false)

        return Value(CellKind.BOOL, run)

    def __or__(self, other: Value) -> Value:
        return ~(~self & ~other)

    def __eq__(self, other: Value) -> Value:  # type: ignore[override]
        return self._compared(other, "=")

    def __ne__(self, other: Value) -> Value:  # type: ignore[override]
        return ~self._compared(other, "=")

    def __lt__(self, other: Value) -> Value:
        return self._compared(other, "<")

    def __le__(self, other: Value) -> Value:
        return ~other._compared(self, "<")

    def __gt__(self, other: Value) -> Value:
        return other._compared(self, "<")

    def __ge__(self, other: Value) -> Value:
        return ~self._compared(other, "<")

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Value) -> Value:
        return self._computed(other, "+", np.add)

    def __sub__(self, other: Value) -> Value:
        return self._computed(other, "-", np.subtract)

    def __mul__(self, other: Value) -> Value:
        return self._computed(other, "*", np.multiply)

    def __truediv__(self, other: Value) -> Value:
        return self._computed(other, "/", np.true_divide, CellKind.FLOAT)

    def __mod__(self, other: Value) -> Value:
        """Of whole numbers, what is divided by zero leaves nothing that is known."""
        found = self._computed(other, "%", np.mod)
        if found.kind is CellKind.FLOAT:
            return found

        def run(given: Given) -> Cells:
            cells, by = found.run(given), other.run(given)
            return Cells(cells.values, cells.unknown | (by.values == 0))

        return Value(found.kind, run)

    def with_other(
        self, other: Value, kind: CellKind, both: Callable[[Array, Array], Array]
    ) -> Value:
        """Known where both are."""

        def run(given: Given) -> Cells:
            one, two = self.run(given), other.run(given)
            return Cells(both(one.values, two.values), one.unknown | two.unknown)

        return Value(kind, run)

    def _computed(
        self,
        other: Value,
        mark: Text,
        both: Callable[[Array, Array], Array],
        kind: CellKind = CellKind.INT,
    ) -> Value:
        self._number(mark), other._number(mark)
        is_float = CellKind.FLOAT in (self.kind, other.kind)
        return self.with_other(other, CellKind.FLOAT if is_float else kind, both)

    def _compared(self, other: Value, mark: Text) -> Value:
        is_ordered = self.kind is not CellKind.BOOL or mark == "="
        if not is_ordered or not _are_comparable(self.kind, other.kind):
            raise _Unknown(f"{self.kind} {mark} {other.kind}")
        compare = _same if mark == "=" else _less
        return self.with_other(other, CellKind.BOOL, compare)

    def _number(self, what: Text) -> Value:
        return self._being(self.kind.is_number, what)

    def _flag(self, what: Text) -> Value:
        return self._being(self.kind is CellKind.BOOL, what)

    def _being(self, is_so: bool, what: Text) -> Value:
        if not is_so:
            raise _Unknown(f"{what} of {self.kind}")
        return self


@dataclass(frozen=True)
class _Texts:
    _of: Value

    def len_chars(self) -> Value:
        return self._text().made(CellKind.INT, lambda found: _each(len, found, np.int64))

    def to_lowercase(self) -> Value:
        return self._text().made(CellKind.STRING, lambda found: _each(str.lower, found, object))

    def to_uppercase(self) -> Value:
        return self._text().made(CellKind.STRING, lambda found: _each(str.upper, found, object))

    def starts_with(self, other: Value) -> Value:
        return self._with(other, str.startswith)

    def ends_with(self, other: Value) -> Value:
        return self._with(other, str.endswith)

    def _with(self, other: Value, decide: Callable[[str, str], bool]) -> Value:
        def run(one: Array, two: Array) -> Array:
            pairs = zip(*np.broadcast_arrays(one, two), strict=True)
            return np.array([decide(text, part) for text, part in pairs], np.bool_)

        return self._text().with_other(_Texts(other)._text(), CellKind.BOOL, run)

    def _text(self) -> Value:
        if self._of.kind is not CellKind.STRING:
            raise _Unknown(f"a text's function of {self._of.kind}")
        return self._of


@dataclass(frozen=True)
class _Times:
    _of: Value

    def year(self) -> Value:
        return self._part(lambda found: found.astype("M8[Y]").astype(np.int64) + 1970)

    def month(self) -> Value:
        return self._part(lambda found: found.astype("M8[M]").astype(np.int64) % 12 + 1)

    def day(self) -> Value:
        return self._part(lambda found: _steps(found, "M8[D]", "M8[M]") + 1)

    def hour(self) -> Value:
        if self._of.kind is not CellKind.DATETIME:
            raise _Unknown(f"the hour of {self._of.kind}")
        return self._part(lambda found: _steps(found, "M8[h]", "M8[D]"))

    def _part(self, read: Callable[[Array], Array]) -> Value:
        if not self._of.kind.is_time:
            raise _Unknown(f"a part of a date of {self._of.kind}")
        return self._of.made(CellKind.INT, read)


def _steps(times: Array, fine: str, coarse: str) -> Array:
    within: Array = times.astype(fine) - times.astype(coarse).astype(fine)
    return within.astype(np.int64)


class _Make:
    """What the grammar makes values with; `named` are the columns that it asked for."""

    Int64 = CellKind.INT

    def __init__(self, kinds: Mapping[str, CellKind]) -> None:
        self._kinds = kinds
        self.named: dict[str, None] = {}

    def col(self, name: str) -> Value:
        self.named[name] = None
        return Value(self._kinds[name], lambda given: given[name])

    def lit(self, value: int | float | str | bool | date) -> Value:
        kind = _kind_of(value)
        dtype = {CellKind.STRING: "O", CellKind.DATE: "M8[D]"}.get(kind)
        if isinstance(value, int) and value >= 2**63:
            raise _Unknown("a number of more than 63 bits")
        cells = Cells(np.array([value], dtype), _KNOWN)
        return Value(kind, lambda given: cells)

    def coalesce(self, one: Value, two: Value) -> Value:
        def run(given: Given) -> Cells:
            x, y = one.run(given), two.run(given)
            return Cells(np.where(x.unknown, y.values, x.values), x.unknown & y.unknown)

        return Value(_common(one, two), run)

    def min_horizontal(self, one: Value, two: Value) -> Value:
        return self._chosen(one, two, lambda x, y: _less(x, y) | _same(x, y))

    def max_horizontal(self, one: Value, two: Value) -> Value:
        return self._chosen(one, two, lambda x, y: _less(y, x) | _same(x, y))

    def _chosen(self, one: Value, two: Value, is_first: Callable[[Array, Array], Array]) -> Value:
        """Of two where both are known, else of the one that is."""

        def run(given: Given) -> Cells:
            x, y = one.run(given), two.run(given)
            first = y.unknown | (~x.unknown & is_first(x.values, y.values))
            return Cells(np.where(first, x.values, y.values), x.unknown & y.unknown)

        return Value(_common(one, two), run)


def _common(one: Value, two: Value) -> CellKind:
    if one.kind.is_number and two.kind.is_number:
        return CellKind.FLOAT if CellKind.FLOAT in (one.kind, two.kind) else CellKind.INT
    if one.kind is not two.kind or one.kind is CellKind.BOOL:
        raise _Unknown(f"one of {one.kind} and {two.kind}")
    return one.kind


def _kind_of(value: object) -> CellKind:
    if isinstance(value, bool):
        return CellKind.BOOL
    kinds = {int: CellKind.INT, float: CellKind.FLOAT, date: CellKind.DATE}
    return kinds.get(type(value), CellKind.STRING)


def _are_comparable(one: CellKind, two: CellKind) -> bool:
    return one is two or (one.is_number and two.is_number) or (one.is_time and two.is_time)


def _each(change: Callable[[Any], Any], texts: Array, dtype: Any = np.bool_) -> Array:
    found = np.empty(len(texts), dtype)
    found[:] = [change(text) for text in texts]
    return found


def _same(one: Array, two: Array) -> Array:
    found: Array = one == two
    if one.dtype.kind == two.dtype.kind == "f":
        found = found | (np.isnan(one) & np.isnan(two))
    return found


def _less(one: Array, two: Array) -> Array:
    """What is no number (0 / 0) is the largest of all, as in Polars."""
    found: Array = one < two
    if two.dtype.kind == "f":
        is_none = np.isnan(one) if one.dtype.kind == "f" else np.zeros(1, np.bool_)
        found = found | (np.isnan(two) & ~is_none)
    return found
