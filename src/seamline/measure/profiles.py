"""Profiles: additive counts of a frame on a basis; the whole is exactly the sum of its parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.measure.basis import Basis, ColumnBasis, Kind, as_numbers, kind_of
from seamline.measure.exact import (
    MOMENT_LIMIT,
    Floats,
    exact_sum,
    fraction_from_text,
    fraction_to_text,
)

#: The label of the partition whose key is missing.
MISSING_PARTITION = "(missing)"

#: What a string reads as: the first pattern that fits; the rest is text.
SHAPES: Mapping[str, str] = {
    "integer": r"^[+-]?\d+$",
    "float": r"^[+-]?(\d+\.\d*|\.\d+|\d+(\.\d*)?[eE][+-]?\d+)$",
    "decimal_comma": r"^[+-]?\d+,\d+$",
    "boolean": r"^(?i:true|false|yes|no)$",
    "date": r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$",
}


@dataclass(frozen=True)
class ColumnProfile:
    """Counts of one column. `mistyped` values are present but do not read as the basis' kind.

    `counts`: under, bins, over; or one per kept value, then other. `total` and `squares` are the
    exact sums of the finite values' distances from the basis' centre, and of their squares
    (distances are clipped at 1e140). `shapes` counts what strings read as.
    """

    rows: int
    missing: int
    mistyped: int
    counts: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    n_finite: int = 0
    centre: float = 0.0
    total: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)
    shapes: tuple[tuple[str, int], ...] = ()
    shortest: int | None = None
    longest: int | None = None

    @property
    def present(self) -> int:
        """Values that are neither missing nor mistyped."""
        return self.rows - self.missing - self.mistyped

    @property
    def mean(self) -> float | None:
        if not self.n_finite:
            return None
        return float(Fraction(self.centre) + self.total / self.n_finite)

    @property
    def std(self) -> float | None:
        """The standard deviation of the values as a population."""
        if not self.n_finite:
            return None
        mean = self.total / self.n_finite
        return math.sqrt(max(self.squares / self.n_finite - mean * mean, Fraction(0)))

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "missing": self.missing,
            "mistyped": self.mistyped,
            "counts": list(self.counts),
            "low": self.low,
            "high": self.high,
            "n_finite": self.n_finite,
            "centre": self.centre,
            "total": fraction_to_text(self.total),
            "squares": fraction_to_text(self.squares),
            "shapes": dict(self.shapes),
            "shortest": self.shortest,
            "longest": self.longest,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnProfile:
        fields = dict(data)
        fields["counts"] = tuple(data["counts"])
        fields["total"] = fraction_from_text(data["total"])
        fields["squares"] = fraction_from_text(data["squares"])
        fields["shapes"] = tuple((name, data["shapes"][name]) for name in _shape_names(data))
        return cls(**fields)


def _shape_names(data: Mapping[str, Any]) -> list[str]:
    return [name for name in (*SHAPES, "text") if name in data["shapes"]]


@dataclass(frozen=True)
class Profile:
    """The columns that the frame and the basis share (a served frame has no label column)."""

    basis: Basis
    rows: int
    columns: Mapping[str, ColumnProfile]

    def to_json(self) -> dict[str, Any]:
        """Without the basis itself: it is stored once per dataset, here is its digest."""
        columns = {name: column.to_json() for name, column in self.columns.items()}
        return {"basis": self.basis.digest, "rows": self.rows, "columns": columns}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], basis: Basis) -> Profile:
        """Raises InvalidInput when the profile was counted on another basis."""
        if data["basis"] != basis.digest:
            raise InvalidInput(
                f"The profile was counted on basis {data['basis']}, not on {basis.digest}.",
                next_step="Profile the rows again on this basis.",
            )
        columns = data["columns"]
        read = {name: ColumnProfile.from_json(columns[name]) for name in columns}
        return cls(basis, data["rows"], read)


def profile_frame(frame: pl.DataFrame, basis: Basis) -> Profile:
    """
    >>> from seamline.measure.basis import make_basis
    >>> frame = pl.DataFrame({"hour": [5, 6, 6, None], "carrier": ["UA", "UA", "DL", "B6"]})
    >>> profile = profile_frame(frame, make_basis(frame.head(3)))
    >>> profile.columns["hour"].counts, profile.columns["hour"].missing
    ((0, 1, 2, 0), 1)
    >>> profile.columns["carrier"].counts
    (2, 1, 1)
    """
    shared = [name for name in basis.columns if name in frame.columns]
    columns = {name: _profile_column(frame[name], basis.columns[name]) for name in shared}
    return Profile(basis, frame.height, columns)


def profile_partitions(
    frame: pl.DataFrame, basis: Basis, by: str | pl.Series
) -> dict[str, Profile]:
    """One profile per value of a column (or of a series of labels), keyed and ordered by it."""
    labels = (frame[by] if isinstance(by, str) else by).cast(pl.String)
    keyed = frame.with_columns(labels.fill_null(MISSING_PARTITION).alias("\0partition"))
    parts = keyed.partition_by("\0partition", as_dict=True, include_key=False)
    return {str(key[0]): profile_frame(parts[key], basis) for key in sorted(parts, key=str)}


def add_profiles(a: Profile, b: Profile) -> Profile:
    """The profile of both frames' rows, exactly. Refuses profiles of different bases or columns."""
    if a.basis.digest != b.basis.digest:
        raise InvalidInput(
            f"Profiles on different bases do not add: {a.basis.digest} and {b.basis.digest}.",
            next_step="Profile both on one basis.",
        )
    if set(a.columns) != set(b.columns):
        odd = ", ".join(sorted(set(a.columns) ^ set(b.columns)))
        raise InvalidInput(
            f"Profiles of different columns do not add; only one has {odd}.",
            next_step="Profile frames with the same columns.",
        )
    columns = {name: _add_columns(a.columns[name], b.columns[name]) for name in a.columns}
    return Profile(a.basis, a.rows + b.rows, columns)


def sum_profiles(profiles: Iterable[Profile]) -> Profile:
    """Raises InvalidInput when there is none to add."""
    parts = list(profiles)
    if not parts:
        raise InvalidInput("There is no profile to add.", next_step="Profile a frame first.")
    return reduce(add_profiles, parts)


def _profile_column(series: pl.Series, basis: ColumnBasis) -> ColumnProfile:
    if basis.is_binned:
        return _profile_numbers(series, basis)
    if kind_of(series.dtype) is Kind.TEXT:
        return _profile_opaque(series, basis)
    return _profile_strings(series, basis)


def _profile_numbers(series: pl.Series, basis: ColumnBasis) -> ColumnProfile:
    values = _to_floats(series)
    native = series.dtype.is_integer() or series.dtype.is_float()
    ordered = np.sort(values)[: len(values) - int(np.isnan(values).sum())]
    missing = len(series) - len(ordered) if native else series.null_count()
    cuts = np.searchsorted(ordered, (-np.inf, *basis.edges, np.inf))
    counts = cuts[1:] - cuts[:-1]
    counts[0] += cuts[0]
    counts[-1] += len(ordered) - cuts[-1]
    finite = ordered[np.searchsorted(ordered, -np.inf, "right") : cuts[-1]]
    with np.errstate(over="ignore"):
        distances = np.clip(finite - basis.centre, -MOMENT_LIMIT, MOMENT_LIMIT)
    facts = _string_facts(_count_values(series)) if series.dtype == pl.String else {}
    return ColumnProfile(
        rows=len(series),
        missing=missing,
        mistyped=len(series) - missing - len(ordered),
        counts=tuple(counts.tolist()),
        low=float(finite[0]) + 0.0 if len(finite) else None,
        high=float(finite[-1]) + 0.0 if len(finite) else None,
        n_finite=len(finite),
        centre=basis.centre,
        total=exact_sum(distances),
        squares=exact_sum(distances * distances),
        **facts,
    )


def _to_floats(series: pl.Series) -> Floats:
    """NaN for what is missing or does not read as a number; the short way where there is one."""
    if series.dtype.is_integer() or series.dtype.is_float():
        return series.to_numpy().astype(np.float64, copy=False)
    return as_numbers(series).to_numpy()


def _profile_strings(series: pl.Series, basis: ColumnBasis) -> ColumnProfile:
    missing = series.null_count()
    present = len(series) - missing
    counted = _count_values(series.cast(pl.String))
    found = dict(counted.iter_rows()) if basis.values else {}
    counts = [found.get(value, 0) for value in basis.values]
    other = present - sum(counts)
    mistyped = other if basis.kind is Kind.BOOLEAN else 0
    return ColumnProfile(
        rows=len(series),
        missing=missing,
        mistyped=mistyped,
        counts=(*counts, other - mistyped),
        **_string_facts(counted),
    )


def _profile_opaque(series: pl.Series, basis: ColumnBasis) -> ColumnProfile:
    """Lists, structs, bytes: only their presence is counted."""
    missing = series.null_count()
    counts = (*(0 for _ in basis.values), len(series) - missing)
    return ColumnProfile(len(series), missing, 0, counts)


def _count_values(strings: pl.Series) -> pl.DataFrame:
    return strings.drop_nulls().alias("value").value_counts(name="n")


def _string_facts(counted: pl.DataFrame) -> dict[str, Any]:
    """Shapes and lengths, from the distinct values only."""
    value, shape = pl.col("value"), pl.lit("text")
    for name, pattern in reversed(tuple(SHAPES.items())):
        shape = pl.when(value.str.contains(pattern)).then(pl.lit(name)).otherwise(shape)
    length = value.str.len_chars()
    facts = (pl.col("n").sum(), length.min().alias("least"), length.max().alias("most"))
    found = counted.group_by(shape.alias("shape")).agg(*facts).rows_by_key("shape", unique=True)
    return {
        "shapes": tuple((name, found[name][0]) for name in (*SHAPES, "text") if name in found),
        "shortest": min((least for _, least, _ in found.values()), default=None),
        "longest": max((most for _, _, most in found.values()), default=None),
    }


def _add_columns(a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    shapes = dict(a.shapes)
    for name, n in b.shapes:
        shapes[name] = shapes.get(name, 0) + n
    return ColumnProfile(
        rows=a.rows + b.rows,
        missing=a.missing + b.missing,
        mistyped=a.mistyped + b.mistyped,
        counts=tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)),
        low=min((x for x in (a.low, b.low) if x is not None), default=None),
        high=max((x for x in (a.high, b.high) if x is not None), default=None),
        n_finite=a.n_finite + b.n_finite,
        centre=a.centre,
        total=a.total + b.total,
        squares=a.squares + b.squares,
        shapes=tuple((name, shapes[name]) for name in (*SHAPES, "text") if name in shapes),
        shortest=min((x for x in (a.shortest, b.shortest) if x is not None), default=None),
        longest=max((x for x in (a.longest, b.longest) if x is not None), default=None),
    )
