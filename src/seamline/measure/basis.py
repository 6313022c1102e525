"""A basis: the bin edges and kept values that profiles count on. Profiles of one basis add."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import rfc8785

from seamline.domain.digests import Digest, digest_of
from seamline.measure.casting import DType, cast_series
from seamline.measure.exact import Floats

MAX_BINS = 64
MAX_VALUES = 200
#: Longer texts (in bytes) are no categories: a basis is kept for ever.
LONG_VALUE = 256


class Kind(StrEnum):
    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    #: Mostly unique strings: counted, never compared value by value.
    TEXT = "text"
    BOOLEAN = "boolean"
    #: Microseconds since 1970 (dates: midnight UTC).
    TIME = "time"


@dataclass(frozen=True)
class ColumnBasis:
    """`edges` (numeric, time): bin i holds edges[i] <= x < edges[i + 1]; below is under, at or
    above the last edge is over. `values` (categorical, boolean): most frequent first."""

    kind: Kind
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def centre(self) -> float:
        """What moments are taken around, so that large offsets (years, epochs) cost no digits."""
        return self.edges[len(self.edges) // 2] if self.edges else 0.0

    @property
    def is_binned(self) -> bool:
        return self.kind in (Kind.NUMERIC, Kind.TIME)

    @property
    def n_cells(self) -> int:
        """Length of a profile's counts: under, bins, over; or kept values, other."""
        return len(self.edges) + 1 if self.is_binned else len(self.values) + 1

    def to_json(self) -> dict[str, Any]:
        return {"kind": str(self.kind), "edges": list(self.edges), "values": list(self.values)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnBasis:
        edges = tuple(float(edge) for edge in data["edges"])
        return cls(Kind(data["kind"]), edges, tuple(data["values"]))


@dataclass(frozen=True)
class Basis:
    columns: Mapping[str, ColumnBasis]

    @cached_property
    def canonical(self) -> bytes:
        """Its canonical JSON (RFC 8785): column order does not matter."""
        return rfc8785.dumps(self.to_json())

    @cached_property
    def digest(self) -> Digest:
        """The sha256 of its canonical JSON."""
        return digest_of(self.canonical)

    def to_json(self) -> dict[str, Any]:
        return {"columns": {name: column.to_json() for name, column in self.columns.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Basis:
        columns = data["columns"]
        return cls({name: ColumnBasis.from_json(columns[name]) for name in columns})

    @classmethod
    def from_canonical(cls, data: bytes) -> Basis:
        """From its canonical JSON, which is not made anew to know its digest: for a thousand edges
        that takes as long as comparing two profiles.

        >>> basis = make_basis(pl.DataFrame({"hour": [5, 6], "carrier": ["UA", "DL"]}))
        >>> again = Basis.from_canonical(basis.canonical)
        >>> again == basis, again.digest == basis.digest
        (True, True)
        """
        basis = cls.from_json(json.loads(data))
        vars(basis)["canonical"] = data  # where the cached property looks first
        return basis


def kind_of(dtype: pl.DataType) -> Kind:
    """The kind that a dtype alone tells (strings may turn out to be text).

    >>> kind_of(pl.Int16()), kind_of(pl.Date()), kind_of(pl.String())
    (<Kind.NUMERIC: 'numeric'>, <Kind.TIME: 'time'>, <Kind.CATEGORICAL: 'categorical'>)
    """
    if dtype == pl.Boolean:
        return Kind.BOOLEAN
    if dtype.is_numeric():
        return Kind.NUMERIC
    if dtype in (pl.Date, pl.Datetime):
        return Kind.TIME
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return Kind.CATEGORICAL
    return Kind.TEXT


def as_numbers(series: pl.Series) -> pl.Series:
    """Float64 with nulls for what is missing or does not read as a number; times in microseconds.

    >>> as_numbers(pl.Series(["1.5", "n/a", None])).to_list()
    [1.5, None, None]
    """
    if series.dtype in (pl.Date, pl.Datetime):
        series = series.cast(pl.Datetime("us")).to_physical()
    return series.cast(pl.Float64, strict=False).fill_nan(None)


def read_numbers(series: pl.Series, kind: Kind) -> pl.Series:
    """What a column of any type reads as on a basis of this kind, a numeric one or one of times.

    >>> read_numbers(pl.Series(["1970-01-02", "2"]), Kind.TIME).to_list()
    [86400000000.0, None]
    """
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if kind is Kind.TIME and series.dtype == pl.String:
        series = cast_series(series, DType.DATETIME)
    return as_numbers(series)


def make_basis(frame: pl.DataFrame) -> Basis:
    """The basis of a dataset, from its first frame.

    >>> basis = make_basis(pl.DataFrame({"hour": [5, 6, 6], "carrier": ["UA", "UA", "DL"]}))
    >>> basis.columns["carrier"].values
    ('UA', 'DL')
    >>> basis.columns["hour"].edges[:2]
    (5.0, 6.0)
    """
    return Basis({series.name: _column_basis(series) for series in frame})


def _column_basis(series: pl.Series) -> ColumnBasis:
    kind = kind_of(series.dtype)
    if kind is Kind.BOOLEAN:
        return ColumnBasis(kind, values=("false", "true"))
    if kind is Kind.CATEGORICAL:
        return _string_basis(series.cast(pl.String).drop_nulls())
    if kind is Kind.TEXT:
        return ColumnBasis(kind)
    numbers = as_numbers(series).drop_nulls().to_numpy()
    return ColumnBasis(kind, edges=quantile_edges(np.sort(numbers[np.isfinite(numbers)])))


def _string_basis(strings: pl.Series) -> ColumnBasis:
    counted = strings.alias("value").value_counts(name="n")
    if counted.height > MAX_VALUES and counted.height > len(strings) / 2:
        return ColumnBasis(Kind.TEXT)
    short = counted.filter(pl.col("value").str.len_bytes() <= LONG_VALUE)
    if counted.height and not short.height:
        return ColumnBasis(Kind.TEXT)
    kept = short.sort("n", "value", descending=[True, False]).head(MAX_VALUES)
    return ColumnBasis(Kind.CATEGORICAL, values=tuple(kept["value"].to_list()))


def quantile_edges(ordered: Floats, bins: int = MAX_BINS) -> tuple[float, ...]:
    """Strictly increasing edges of up to `bins` equally filled bins over sorted finite values.

    A value that fills a whole bin gets a bin of its own; with no more distinct values than bins
    every value does. The last edge lies just above the largest value.

    >>> len(quantile_edges(np.arange(10_000.0)))
    65
    >>> quantile_edges(np.full(100, 7.0)) == (7.0, float(np.nextafter(7.0, np.inf)))
    True
    >>> quantile_edges(np.array([]))
    ()
    """
    if not len(ordered):
        return ()
    distinct = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    if len(distinct) > bins:
        at = np.linspace(0, len(ordered) - 1, bins + 1).round().astype(np.int64)
        picked, times = np.unique(ordered[at], return_counts=True)
        atoms = picked[times > 1]
        picked = picked if times[-1] > 1 else picked[:-1]
        distinct = np.concatenate([picked, _just_above(atoms)])
    end = _just_above(ordered[-1:])[0]
    edges = np.unique(np.concatenate([distinct, [end]]) + 0.0)
    return tuple(float(edge) for edge in edges[edges <= end] if np.isfinite(edge))


def _just_above(values: Floats) -> Floats:
    """The next doubles; infinity above the largest one, which is no reason for a warning."""
    with np.errstate(over="ignore"):
        return np.nextafter(values, np.inf)
