"""What is shown of a column: a summary of its profile, as JSON."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from seamline.domain.clock import iso
from seamline.measure.basis import ColumnBasis, Kind
from seamline.measure.casting import DType
from seamline.measure.columns import ColumnProfile
from seamline.measure.quantiles import QUANTILES, quantiles
from seamline.measure.texts import LENGTH_EDGES, semantic_type

TOP_VALUES = 5


def summarise_column(
    name: str, dtype: DType, basis: ColumnBasis, profile: ColumnProfile
) -> dict[str, Any]:
    """`missing` is a share; `distinct` an estimate unless `distinct_is_exact`; `top` the most
    frequent of the values whose counts are known, `rest` how many others there are. `reads_as`
    says what most texts of a string column look like."""
    is_time = basis.kind is Kind.TIME
    top, rest = _top(basis, profile)
    named = zip(QUANTILES, quantiles(profile, basis), strict=True)
    shown = {f"p{q:.0%}".rstrip("%"): show_value(value, dtype) for q, value in named}
    return {
        "name": name,
        "dtype": str(dtype),
        "kind": str(basis.kind),
        "missing": profile.missing / profile.rows if profile.rows else 0.0,
        "mistyped": profile.mistyped,
        "unread": _named(profile.unread.top(TOP_VALUES)) if profile.unread is not None else [],
        "distinct": profile.distinct,
        "distinct_is_exact": profile.distinct_is_exact,
        "min": show_value(profile.low, dtype),
        "max": show_value(profile.high, dtype),
        "mean": None if is_time else profile.mean,
        "std": None if is_time else profile.std,
        "quantiles": shown if profile.n_finite else None,
        "top": top,
        "rest": rest,
        "reads_as": _reads_as(dtype, profile),
        "lengths": _lengths(profile),
    }


def _top(basis: ColumnBasis, profile: ColumnProfile) -> tuple[list[dict[str, Any]], int | None]:
    if basis.is_binned:
        return [], None
    counted = list(zip(basis.values, profile.counts, strict=False))
    counted += profile.others.top(TOP_VALUES) if profile.others is not None else []
    top = sorted(counted, key=lambda pair: -pair[1])[:TOP_VALUES]
    return _named(top), profile.present - sum(count for _, count in top)


def _named(pairs: list[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"value": value, "count": count} for value, count in pairs if count]


def _reads_as(dtype: DType, profile: ColumnProfile) -> dict[str, Any] | None:
    found = semantic_type(dict(profile.shapes)) if dtype is DType.STRING else None
    return None if found is None else {"type": found.name, "share": found.share}


def _lengths(profile: ColumnProfile) -> dict[str, Any] | None:
    """`counts`: pairs of a length and how many texts have it, or more but less than the next."""
    if profile.shortest is None:
        return None
    counts = [pair for pair in zip(LENGTH_EDGES, profile.lengths or (), strict=False) if pair[1]]
    return {"min": profile.shortest, "max": profile.longest, "counts": counts}


def show_value(value: float | None, dtype: DType) -> int | float | str | None:
    """A column's number as a value of its type.

    >>> show_value(1356998400000000.0, DType.DATE), show_value(3.7, DType.INT)
    ('2013-01-01', 3)
    >>> show_value(None, DType.FLOAT), show_value(float("inf"), DType.FLOAT)
    (None, None)
    """
    if value is None or not math.isfinite(value):
        return None
    if dtype in (DType.DATE, DType.DATETIME):
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
        return moment.date().isoformat() if dtype is DType.DATE else iso(moment)
    return math.floor(value) if dtype is DType.INT else value
