"""Count a column on its basis, once for all partitions of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from seamline.measure.basis import ColumnBasis, Kind, kind_of, read_numbers
from seamline.measure.columns import ColumnProfile
from seamline.measure.exact import Counts, Floats
from seamline.measure.numbers import count_numbers
from seamline.measure.sketches import Sketch, sketch_text_parts, sketch_texts
from seamline.measure.texts import (
    LENGTH_EDGES,
    SHAPE_NAMES,
    count_lengths,
    find_lengths,
    find_places,
    find_shapes,
)

_NUMPY_TYPES = frozenset(
    {
        *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
        *(pl.Float32, pl.Float64),
    }
)


@dataclass(frozen=True)
class Segments:
    """How a frame's rows fall into partitions.

    `bounds`: where each begins, and the end, once rows stand in `order` (None: they do so
    already). `codes`: each row's partition (None: there is but one).
    """

    bounds: Counts
    order: Counts | None = None
    codes: Counts | None = None

    @property
    def n(self) -> int:
        return len(self.bounds) - 1

    @property
    def rows(self) -> Counts:
        return np.diff(self.bounds)

    def nulls(self, series: pl.Series) -> Counts:
        """How many there are in each."""
        if self.codes is None or not series.null_count():
            return np.array([series.null_count()] + [0] * (self.n - 1), np.int64)[: self.n]
        return np.bincount(self.codes[series.is_null().to_numpy()], minlength=self.n)


def one_segment(rows: int) -> Segments:
    return Segments(np.array([0, rows], np.int64))


def segments_of_runs(rows: Sequence[int]) -> Segments:
    """From how many rows each partition has, where they follow one another.

    >>> segments_of_runs([1, 0, 2]).codes.tolist()
    [0, 2, 2]
    """
    return Segments(np.append(0, np.cumsum(rows)), None, np.repeat(np.arange(len(rows)), rows))


def make_segments(codes: Counts, n: int) -> Segments:
    """From each row's partition, 0 <= code < n.

    >>> make_segments(np.array([1, 0, 1]), 2).bounds.tolist()
    [0, 1, 3]
    """
    bounds = np.append(0, np.cumsum(np.bincount(codes, minlength=n)))
    if bool((codes[1:] >= codes[:-1]).all()):
        return Segments(bounds, None, codes)
    small = codes.astype(np.uint16) if n <= 1 << 16 else codes  # sorts by radix
    return Segments(bounds, np.argsort(small, kind="stable"), codes)


def count_column(series: pl.Series, basis: ColumnBasis, segments: Segments) -> list[ColumnProfile]:
    """One profile for each partition."""
    if kind_of(series.dtype) is Kind.TEXT:
        return _count_opaque(series, basis, segments)
    if basis.is_binned:
        return _count_numbers(series, basis, segments)
    if basis.kind is Kind.BOOLEAN and series.dtype == pl.Boolean:
        return _count_booleans(series, segments)
    values = _one_zero(series.fill_nan(None)) if series.dtype.is_float() else series
    return _count_texts(values, basis, segments)


def _one_zero(floats: pl.Series) -> pl.Series:
    return floats.set((floats == 0.0).fill_null(False), 0.0)


def _count_opaque(series: pl.Series, basis: ColumnBasis, segments: Segments) -> list[ColumnProfile]:
    """Lists, structs, bytes: only their presence is counted; where something else is expected
    they are mistyped, under the name of their type."""
    name = pl.Series([f"({series.dtype})"])
    zeros = (0,) * (basis.n_cells - 1)
    found = []
    for rows, missing in zip(segments.rows.tolist(), segments.nulls(series).tolist(), strict=True):
        present = rows - missing
        if basis.kind is Kind.TEXT:
            found.append(ColumnProfile(rows, missing, 0, (*zeros, present), unread=Sketch()))
            continue
        column = ColumnProfile(
            *(rows, missing, present, (*zeros, 0)),
            centre=basis.centre,
            others=None if basis.kind is Kind.TIME else Sketch(),
            unread=sketch_texts(name[: min(present, 1)], np.array([present])),
            numbers=Sketch() if basis.is_binned else None,
            lengths=(),
        )
        found.append(column)
    return found


def _count_booleans(series: pl.Series, segments: Segments) -> list[ColumnProfile]:
    if segments.codes is None:
        trues = [int(series.sum())]
    else:
        is_true = series.fill_null(False).to_numpy()
        trues = np.bincount(segments.codes[is_true], minlength=segments.n).tolist()
    nulls = segments.nulls(series).tolist()
    known: dict[str, Any] = {"others": Sketch(), "unread": Sketch(), "lengths": ()}
    return [
        ColumnProfile(rows, missing, 0, (rows - missing - n_true, n_true, 0), **known)
        for rows, missing, n_true in zip(segments.rows.tolist(), nulls, trues, strict=True)
    ]


def _count_numbers(
    series: pl.Series, basis: ColumnBasis, segments: Segments
) -> list[ColumnProfile]:
    native = series.dtype.is_integer() or series.dtype.is_float()
    values = _to_numpy(series, basis, native)
    if segments.order is not None:
        values = values[segments.order]
    nulls, found = segments.nulls(series).tolist(), []
    counted = count_numbers(values, segments.bounds, basis)
    told = _describe_unread(series, basis, segments)
    for i, (rows, numbers) in enumerate(zip(segments.rows.tolist(), counted, strict=True)):
        n_read = numbers.pop("n_read")
        missing = rows - n_read if native else nulls[i]
        mistyped = rows - missing - n_read
        found.append(ColumnProfile(rows, missing, mistyped, **numbers, **told[i]))
    return found


def _to_numpy(series: pl.Series, basis: ColumnBasis, native: bool) -> Floats:
    """NaN for what is missing or does not read; whole numbers stay such while they may, because
    they sort faster."""
    if series.dtype in _NUMPY_TYPES and not series.null_count():
        return series.to_numpy()
    numbers = series.cast(pl.Float64) if native else read_numbers(series, basis.kind)
    return numbers.fill_null(np.nan).to_numpy()


@dataclass(frozen=True)
class _Tally:
    """The different texts, and how often (`n`) which of them occurs in which partition (`codes`,
    ascending)."""

    texts: pl.Series
    which: Counts
    codes: Counts
    n: Counts

    def where(self, kept: npt.NDArray[np.bool_]) -> _Tally:
        """Only these of the texts."""
        if not kept.any():
            return _Tally(self.texts[:0], self.which[:0], self.codes[:0], self.n[:0])
        place, chosen = np.cumsum(kept) - 1, kept[self.which]
        which = place[self.which[chosen]]
        texts = self.texts.filter(pl.Series(kept))
        return _Tally(texts, which, self.codes[chosen], self.n[chosen])

    def table(self, cells: Counts, width: int, segments: int) -> Counts:
        """The counts of each partition's cells, a row for each; `cells` has each text's."""
        at = self.codes * width + cells[self.which]
        flat = np.bincount(at, self.n, segments * width)
        return flat.astype(np.int64).reshape(segments, width)

    def parts(self, segments: int) -> list[slice]:
        bounds = np.searchsorted(self.codes, np.arange(segments + 1)).tolist()
        return [slice(start, end) for start, end in pairwise(bounds)]

    def sketches(self, segments: int) -> list[Sketch]:
        if not len(self.n):
            return [Sketch()] * segments
        bounds = np.searchsorted(self.codes, np.arange(segments + 1))
        return sketch_text_parts(self.texts, self.which, self.n, bounds)


def _tally(series: pl.Series, segments: Segments) -> _Tally:
    if segments.codes is None:
        counted = series.alias("text").drop_nulls().value_counts(name="n")
        which = np.arange(counted.height)
        n = counted["n"].to_numpy().astype(np.int64)
        return _Tally(_as_strings(counted["text"]), which, np.zeros_like(which), n)
    if _says_one_thing(series):
        n = np.bincount(segments.codes, minlength=segments.n)
        codes = np.flatnonzero(n)
        return _Tally(series.head(1), np.zeros_like(codes), codes, n[codes])
    known = series.is_not_null()
    texts = _as_strings(series.filter(known)).to_arrow().dictionary_encode()
    width = len(texts.dictionary)
    keys = segments.codes[known.to_numpy()] * width + pl.Series(texts.indices).to_numpy()
    if segments.n * width <= 4 * len(keys):
        counts = np.bincount(keys)
        keys = np.flatnonzero(counts)
        n = counts[keys]
    else:
        keys, n = np.unique(keys, return_counts=True)
    codes, which = np.divmod(keys, max(width, 1))
    return _Tally(pl.Series(texts.dictionary, dtype=pl.String), which, codes, n)


def _says_one_thing(series: pl.Series) -> bool:
    """To find that out takes a twentieth of what sorting it into its values does."""
    if series.dtype != pl.String or not len(series) or series.null_count():
        return False
    return bool((series == series[0]).all())


def _as_strings(series: pl.Series) -> pl.Series:
    return series if series.dtype == pl.String else series.cast(pl.String)


def _describe_unread(
    series: pl.Series, basis: ColumnBasis, segments: Segments
) -> list[dict[str, Any]]:
    """What is told of a binned column's texts, and which of them do not read."""
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return [{"unread": Sketch(), "lengths": ()}] * segments.n
    tally = _tally(series, segments)
    is_unread = read_numbers(tally.texts, basis.kind).is_null().to_numpy()
    unread = tally.where(is_unread).sketches(segments.n)
    told = _describe(tally, segments.n)
    return [{**facts, "unread": one} for facts, one in zip(told, unread, strict=True)]


def _count_texts(series: pl.Series, basis: ColumnBasis, segments: Segments) -> list[ColumnProfile]:
    tally = _tally(series, segments)
    n_kept = len(basis.values)
    found = find_places(tally.texts, basis.values)
    table = tally.table(found, n_kept + 1, segments.n)
    others = tally.where(found == n_kept).sketches(segments.n)
    told = _describe(tally, segments.n)
    nulls = segments.nulls(series).tolist()
    columns = []
    for i, rows in enumerate(segments.rows.tolist()):
        counts = table[i].tolist()
        mistyped, other = (counts[-1], 0) if basis.kind is Kind.BOOLEAN else (0, counts[-1])
        sketches = (Sketch(), others[i]) if basis.kind is Kind.BOOLEAN else (others[i], Sketch())
        column = ColumnProfile(
            *(rows, nulls[i], mistyped, (*counts[:-1], other)),
            others=sketches[0],
            unread=sketches[1],
            **told[i],
        )
        columns.append(column)
    return columns


def _describe(tally: _Tally, segments: int) -> list[dict[str, Any]]:
    """Shapes and lengths, from the different values only."""
    lengths = find_lengths(tally.texts)
    cells = tally.table(count_lengths(lengths), len(LENGTH_EDGES), segments).tolist()
    shapes = tally.table(find_shapes(tally.texts), len(SHAPE_NAMES), segments).tolist()
    told: list[dict[str, Any]] = []
    for i, part in enumerate(tally.parts(segments)):
        held = lengths[tally.which[part]]
        if not len(held):
            told.append({"lengths": ()})
            continue
        named = zip(SHAPE_NAMES, shapes[i], strict=True)
        facts = {"shapes": tuple((name, n) for name, n in named if n), "lengths": tuple(cells[i])}
        told.append({**facts, "shortest": int(held.min()), "longest": int(held.max())})
    return told
