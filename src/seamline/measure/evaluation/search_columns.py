"""Columns for a search: few values each, so that all pairs of columns can be counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from seamline.measure.basis import quantile_edges
from seamline.measure.evaluation.cells import Coded, Labels, encode
from seamline.measure.wording import write_apart

#: A number with more distinct values is cut into tenths.
MAX_NUMBERS = 24
#: Of words with more distinct values, those that are rarest are looked at together.
MAX_WORDS = 40
BINS = 10
REST = "(rest)"


def read_columns(columns: Mapping[str, Labels], n_rows: int) -> dict[str, Coded]:
    """
    >>> found = read_columns({"x": np.arange(100.0), "c": ["a", "b"] * 50}, 100)
    >>> found["x"].names[:2], found["c"].names
    (('[0, 10)', '[10, 20)'), ('a', 'b'))
    """
    return {name: _read(name, column, n_rows) for name, column in columns.items()}


def _read(name: str, column: Labels, n_rows: int) -> Coded:
    series = column if isinstance(column, pl.Series) else pl.Series(np.asarray(column))
    if series.dtype.is_numeric() and len(series) == n_rows and _is_many(series):
        return _cut(series)
    coded = encode(series, f"Search column {name}", n_rows)
    return coded if len(coded.names) <= MAX_WORDS else _keep_frequent(coded)


def _is_many(series: pl.Series) -> bool:
    """A look at the first rows decides mostly."""
    return series.head(1000).n_unique() > MAX_NUMBERS or series.n_unique() > MAX_NUMBERS


def _cut(series: pl.Series) -> Coded:
    """Tenths, named by their edges; missing numbers are a value of their own."""
    numbers = series.cast(pl.Float64).fill_nan(None)
    known = numbers.drop_nulls().to_numpy()
    known = known[np.isfinite(known)]
    edges = np.asarray(quantile_edges(np.sort(known), BINS))
    starts = edges[:-1]
    written = write_apart(starts.tolist())
    names = [f"[{low}, {high})" for low, high in zip(written, [*written[1:], "inf"], strict=True)]
    found = np.searchsorted(starts[1:], numbers.fill_null(0.0).to_numpy(), "right")
    if numbers.null_count():
        names.append("(missing)")
        found = np.where(numbers.is_null().to_numpy(), len(names) - 1, found)
    return Coded(tuple(names), found.astype(np.int64))


def _keep_frequent(coded: Coded) -> Coded:
    counts = np.bincount(coded.codes, minlength=len(coded.names))
    kept = np.sort(np.argsort(-counts, kind="stable")[: MAX_WORDS - 1])
    place = np.full(len(counts), len(kept))
    place[kept] = np.arange(len(kept))
    return Coded((*(coded.names[i] for i in kept.tolist()), REST), place[coded.codes])
