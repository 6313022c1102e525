"""Contracts: what the columns of a dataset must be, inferred from a frame and then edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import polars as pl
import rfc8785

from seamline.domain.digests import Digest, digest_of
from seamline.domain.errors import InvalidInput
from seamline.measure.casting import DType, cast_series, null_missing

#: Strings that count as missing unless a contract says otherwise.
NULL_VALUES = ("", "NA", "NaN")


class ViolationKind(StrEnum):
    MISSING_COLUMN = "missing_column"
    UNEXPECTED_COLUMN = "unexpected_column"
    MISTYPED = "mistyped"
    NULLS = "nulls"
    OUT_OF_RANGE = "out_of_range"
    NOT_ALLOWED = "not_allowed"


@dataclass(frozen=True)
class Column:
    """`low` and `high` bound int and float columns, both included; `values` closes the set."""

    name: str
    dtype: DType
    nullable: bool = True
    required: bool = True
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the defaults is written, so that a person can read it."""
        data: dict[str, Any] = {"name": self.name, "dtype": str(self.dtype)}
        data |= {"nullable": self.nullable, "required": self.required}
        data |= {} if self.low is None else {"low": self.low}
        data |= {} if self.high is None else {"high": self.high}
        return data if self.values is None else data | {"values": list(self.values)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Column:
        fields = dict(data)
        try:
            fields["dtype"] = DType(data["dtype"])
            if data.get("values") is not None:
                fields["values"] = tuple(data["values"])
            return cls(**fields)
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidInput(
                f"{fields!r} is not a contract column: {error}.",
                next_step=f"Give name and dtype, one of {', '.join(DType)}.",
            ) from error


@dataclass(frozen=True)
class Contract:
    columns: tuple[Column, ...]
    null_values: tuple[str, ...] = NULL_VALUES

    @cached_property
    def digest(self) -> Digest:
        return digest_of(rfc8785.dumps(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        columns = [column.to_json() for column in self.columns]
        return {"columns": columns, "null_values": list(self.null_values)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        columns = tuple(Column.from_json(column) for column in data["columns"])
        return cls(columns, tuple(data.get("null_values", NULL_VALUES)))


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

    @property
    def share(self) -> float:
        return self.count / self.rows if self.rows else 0.0

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
            return f"{self.column}: the column is not in the contract."
        what = {
            ViolationKind.MISTYPED: f"are not {self.expected}",
            ViolationKind.NULLS: "are missing; the contract allows none",
            ViolationKind.OUT_OF_RANGE: f"are out of range ({self.expected})",
            ViolationKind.NOT_ALLOWED: f"are not among {self.expected}",
        }[self.kind]
        text = f"{self.column}: {self.count:,} of {self.rows:,} values {what}"
        if self.examples:
            text += f", e.g. {', '.join(repr(example) for example in self.examples)}"
        if self.first_bad_day is not None:
            text += f"; first bad day {self.first_bad_day}"
        return f"{text}."

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": str(self.kind),
            "column": self.column,
            "expected": self.expected,
            "count": self.count,
            "rows": self.rows,
            "examples": list(self.examples),
            "first_bad_day": self.first_bad_day,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Violation:
        kind, examples = ViolationKind(data["kind"]), tuple(data["examples"])
        return cls(**{**data, "kind": kind, "examples": examples})


def infer_contract(
    frame: pl.DataFrame, null_values: tuple[str, ...] = NULL_VALUES, *, parse: bool = True
) -> Contract:
    """The narrowest contract that the frame keeps; ranges and closed sets are for people to add.

    With `parse`, string columns (a frame read from CSV) become the first dtype that every value
    reads as; digits with leading zeros (zip codes) stay strings.

    >>> frame = pl.DataFrame({"day": ["2013-07-09"], "distance": ["12.5"], "zip": ["01234"]})
    >>> [(column.name, str(column.dtype)) for column in infer_contract(frame).columns]
    [('day', 'date'), ('distance', 'float'), ('zip', 'string')]
    """
    columns = []
    for series in frame:
        values = null_missing(series, null_values)
        dtype = _infer_dtype(values, parse=parse)
        columns.append(Column(series.name, dtype, nullable=values.null_count() > 0))
    return Contract(tuple(columns), null_values)


def _infer_dtype(series: pl.Series, *, parse: bool) -> DType:
    kind = series.dtype
    if kind == pl.Boolean:
        return DType.BOOL
    if kind.is_integer():
        return DType.INT
    if kind.is_numeric():
        return DType.FLOAT
    if kind in (pl.Date, pl.Datetime):
        return DType.DATE if kind == pl.Date else DType.DATETIME
    present = series.drop_nulls()
    if not parse or kind != pl.String or not len(present):
        return DType.STRING
    if bool(present.str.contains(r"^[+-]?0\d").any()):
        return DType.STRING
    for dtype in (DType.INT, DType.FLOAT, DType.BOOL, DType.DATE, DType.DATETIME):
        if cast_series(present, dtype).null_count() == 0:
            return dtype
    return DType.STRING


def check_frame(
    frame: pl.DataFrame, contract: Contract, *, day: pl.Series | None = None
) -> tuple[list[Violation], pl.DataFrame | None]:
    """Every way in which a frame breaks its contract; the typed frame if there is none.

    The frame may be all strings (read from CSV) or typed. `day` labels each row; violations name
    the least label among their rows. The typed frame holds the contract's columns, in its order.

    >>> contract = Contract((Column("distance", DType.FLOAT),))
    >>> bad, typed = check_frame(pl.DataFrame({"distance": ["1.5", "n/a"]}), contract)
    >>> print(bad[0].sentence(), typed)
    distance: 1 of 2 values are not float, e.g. 'n/a'. None
    """
    if day is not None and len(day) != frame.height:
        raise InvalidInput(
            f"{len(day)} day labels do not fit {frame.height} rows.",
            next_step="Give one label per row.",
        )
    found: list[Violation] = []
    typed: list[pl.Series] = []
    for column in contract.columns:
        if column.name not in frame.columns:
            if column.required:
                found.append(_whole_column(ViolationKind.MISSING_COLUMN, column.name, column.dtype))
            continue
        raw = null_missing(frame[column.name], contract.null_values)
        values = cast_series(raw, column.dtype)
        found += _check_values(column, raw, values, day)
        typed.append(values)
    known = {column.name for column in contract.columns}
    found += [
        _whole_column(ViolationKind.UNEXPECTED_COLUMN, name, "")
        for name in frame.columns
        if name not in known
    ]
    return found, None if found else pl.DataFrame(typed)


def _whole_column(kind: ViolationKind, name: str, expected: str) -> Violation:
    return Violation(kind, name, str(expected), 0, 0)


def _check_values(
    column: Column, raw: pl.Series, values: pl.Series, day: pl.Series | None
) -> list[Violation]:
    rules: list[tuple[ViolationKind, str, pl.Series]] = []
    mistyped = values.is_null() & raw.is_not_null()
    rules.append((ViolationKind.MISTYPED, str(column.dtype), mistyped))
    if not column.nullable:
        rules.append((ViolationKind.NULLS, "no missing values", raw.is_null()))
    bounded = column.low is not None or column.high is not None
    if bounded and column.dtype in (DType.INT, DType.FLOAT):
        low = column.low if column.low is not None else float("-inf")
        high = column.high if column.high is not None else float("inf")
        outside = (values < low) | (values > high)
        rules.append((ViolationKind.OUT_OF_RANGE, _range_text(column), outside.fill_null(False)))
    if column.values is not None:
        allowed = ", ".join(repr(value) for value in column.values[:8])
        more = ", …" if len(column.values) > 8 else ""
        odd = ~values.cast(pl.String).is_in(list(column.values)).fill_null(True)
        rules.append((ViolationKind.NOT_ALLOWED, allowed + more, odd))
    return [
        _describe(kind, column.name, expected, raw, broken, day)
        for kind, expected, broken in rules
        if broken.any()
    ]


def _range_text(column: Column) -> str:
    """
    >>> _range_text(Column("hour", DType.INT, low=0, high=23))
    'at least 0, at most 23'
    """
    low = [f"at least {column.low:g}"] if column.low is not None else []
    high = [f"at most {column.high:g}"] if column.high is not None else []
    return ", ".join(low + high)


def _describe(
    kind: ViolationKind,
    name: str,
    expected: str,
    raw: pl.Series,
    broken: pl.Series,
    day: pl.Series | None,
) -> Violation:
    examples = raw.filter(broken).drop_nulls().unique(maintain_order=True).head(3)
    first = day.filter(broken).drop_nulls().cast(pl.String).min() if day is not None else None
    return Violation(
        kind,
        name,
        expected,
        count=int(broken.sum()),
        rows=len(raw),
        examples=tuple(str(example) for example in examples.to_list()),
        first_bad_day=None if first is None else str(first),
    )
