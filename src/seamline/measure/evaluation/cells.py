"""Evaluation cells: a sparse table of counts; windows, slices and intervals are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from seamline.domain.errors import InvalidInput

Ints = npt.NDArray[np.int64]
#: Anything that one label per row can come as.
Labels = pl.Series | npt.ArrayLike

#: The slice of rows whose value of a slice column is missing.
MISSING_SLICE = "(missing)"


@dataclass(frozen=True)
class Coded:
    """One label per row, as sorted distinct names and a number for each row."""

    names: tuple[str, ...]
    codes: Ints

    def rows_by_name(self) -> dict[str, Ints]:
        """
        >>> encode(["b", "a", "b"], "block").rows_by_name()["b"].tolist()
        [0, 2]
        """
        order = np.argsort(self.codes, kind="stable")
        ends = np.cumsum(np.bincount(self.codes, minlength=len(self.names)))[:-1]
        return dict(zip(self.names, np.split(order, ends), strict=True))


def encode(labels: Labels, what: str, n_rows: int | None = None) -> Coded:
    """
    >>> encode([7, None, 7], "hour").names
    ('(missing)', '7')
    """
    series = labels if isinstance(labels, pl.Series) else _as_series(labels)
    if n_rows is not None and len(series) != n_rows:
        raise InvalidInput(
            f"{what} has {len(series):,} values for {n_rows:,} rows.",
            next_step="Give one value per row.",
        )
    series = series.fill_nan(None) if series.dtype.is_float() else series
    if series.dtype.is_integer() and series.dtype != pl.Int128 and not series.null_count():
        return _encode_whole(series.to_numpy())
    if series.dtype.is_temporal() or series.dtype.is_float():
        return _encode_distinct(series)
    texts = series.cast(pl.String).fill_null(MISSING_SLICE)
    names = texts.unique().sort()
    return Coded(tuple(names.to_list()), texts.rank("dense").to_numpy().astype(np.int64) - 1)


def _as_series(labels: npt.ArrayLike) -> pl.Series:
    array = np.asarray(labels)
    return pl.Series(array) if array.dtype.kind in "biu" else pl.Series(array.tolist())


def _encode_whole(values: npt.NDArray[np.integer[Any]]) -> Coded:
    """Whole numbers near one another are counted; no text is made of each row."""
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * len(values) + 1000:
        found, codes = np.unique(values, return_inverse=True)
        return _by_name([str(one) for one in found.tolist()], codes)
    # Beyond 63 bits the difference alone fits; of narrow numbers it does not fit their own width.
    is_wide = values.dtype == np.uint64
    offset = (values - values.min()).astype(np.int64) if is_wide else values.astype(np.int64) - low
    is_there = np.bincount(offset, minlength=high - low + 1) > 0
    names = [str(one + low) for one in np.flatnonzero(is_there).tolist()]
    return _by_name(names, (np.cumsum(is_there) - 1)[offset])


def _encode_distinct(series: pl.Series) -> Coded:
    """Each distinct value is written as text once."""
    dense = series.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    distinct = series.unique().sort(nulls_last=False)
    names = distinct.cast(pl.String).fill_null(MISSING_SLICE).to_list()
    return _by_name(names, dense if series.null_count() else dense - 1)


def _by_name(names: list[str], codes: Ints) -> Coded:
    order = np.argsort(np.asarray(names), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Coded(tuple(names[i] for i in order.tolist()), place[codes])


def count_cells(
    blocks: Coded,
    slices: Mapping[str, Coded],
    labels: Ints,
    score_bins: Mapping[str, Ints],
) -> pl.DataFrame:
    """Rows per slice column, slice value, block, contender, label and that contender's score bin.

    For each contender all rows stand once under the slice "" (overall) and once under each slice
    column, so tables of different windows add by grouping. Metrics and their paired differences
    need each contender's own counts per block, never the joint ones: those would be near the rows.

    >>> blocks = encode(["d1", "d1", "d2"], "block")
    >>> bins = {"candidate": np.array([3, 3, 0])}
    >>> count_cells(blocks, {}, np.array([1, 1, 0]), bins).rows()
    [('', '', 'd1', 'candidate', 1, 3, 2), ('', '', 'd2', 'candidate', 0, 0, 1)]
    """
    whole = Coded(("",), np.zeros(len(blocks.codes), np.int64))
    parts = []
    for column, coded in {"": whole, **slices}.items():
        for contender, bins in score_bins.items():
            counted = _count_keys(coded, blocks, labels, bins)
            names = (_name("value", coded), _name("block", blocks))
            about = (pl.lit(column).alias("slice"), pl.lit(contender).alias("contender"))
            parts.append(counted.select(about[0], *names, about[1], "label", "score_bin", "rows"))
    return pl.concat(parts)


def _count_keys(coded: Coded, blocks: Coded, labels: Ints, bins: Ints) -> pl.DataFrame:
    """One integer key per row, so that sorting it counts all cells."""
    n_bins = int(bins.max(initial=0)) + 1
    key = ((coded.codes * len(blocks.names) + blocks.codes) * 2 + labels) * n_bins + bins
    n_cells = len(coded.names) * len(blocks.names) * 2 * n_bins
    if n_cells <= 16 * len(key) + 1_000_000:
        counts = np.bincount(key, minlength=n_cells)
        found = np.flatnonzero(counts)
        rows = counts[found]
    else:
        found, rows = np.unique(key, return_counts=True)
    rest, score_bin = np.divmod(found, n_bins)
    rest, label = np.divmod(rest, 2)
    value, block = np.divmod(rest, len(blocks.names))
    columns = {"value": value, "block": block, "label": label, "score_bin": score_bin}
    return pl.DataFrame({**columns, "rows": rows})


def _name(column: str, coded: Coded) -> pl.Expr:
    names = pl.Series(list(coded.names), dtype=pl.String)
    return pl.lit(names).gather(pl.col(column)).alias(column)
