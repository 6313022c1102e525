"""Count the numbers of a column: cells, exact moments and sketches, for one or many partitions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from seamline.measure.basis import ColumnBasis, Kind
from seamline.measure.exact import Counts, Floats, exact_moments, exact_moments_of_parts
from seamline.measure.sketches import (
    Sketch,
    find_firsts,
    name_numbers,
    sketch_number_parts,
    sketch_numbers,
)

#: From so many rows in a partition on each one is worth the calls that it costs.
MANY_ROWS = 8192


def count_numbers(values: Floats, bounds: Counts, basis: ColumnBasis) -> list[dict[str, Any]]:
    """What a ColumnProfile says of the numbers of each partition, values[bounds[i]:bounds[i + 1]];
    NaN is none. `n_read` is how many there are."""
    edges = np.array(basis.edges)
    if len(values) >= MANY_ROWS * (len(bounds) - 1):
        parts = pairwise(bounds.tolist())
        return [_count_one(values[start:end], edges, basis) for start, end in parts]
    return _count_many(values.astype(np.float64), bounds, edges, basis)


def _count_one(values: Floats, edges: Floats, basis: ColumnBasis) -> dict[str, Any]:
    ordered = np.sort(values).astype(np.float64, copy=False)
    ordered = ordered[: int(ordered.searchsorted(np.nan))]
    start, end = int(ordered.searchsorted(-np.inf, "right")), int(ordered.searchsorted(np.inf))
    finite = ordered[start:end]
    cuts = [0, *ordered.searchsorted(edges).tolist(), len(ordered)]
    distinct, weights = _weigh(finite)
    total, squares = exact_moments(distinct, basis.centre, weights)
    return {
        "n_read": len(ordered),
        "counts": tuple(after - before for before, after in pairwise(cuts)),
        "low": float(finite[0]) + 0.0 if len(finite) else None,
        "high": float(finite[-1]) + 0.0 if len(finite) else None,
        "n_finite": len(finite),
        "centre": basis.centre,
        "total": total,
        "squares": squares,
        "others": _name_outside(finite, edges, basis),
        "numbers": sketch_numbers(distinct),
    }


def _weigh(ordered: Floats) -> tuple[Floats, Counts | None]:
    """The different values and how often each occurs, where that is much shorter."""
    changes = ordered[1:] != ordered[:-1]
    if np.count_nonzero(changes) >= len(ordered) // 4:
        return ordered, None
    starts = np.flatnonzero(np.append(True, changes))
    return ordered[starts], np.diff(np.append(starts, len(ordered)))


def _name_outside(finite: Floats, edges: Floats, basis: ColumnBasis) -> Sketch | None:
    """The sorted values below the first edge, and from the last one on."""
    if basis.kind is not Kind.NUMERIC:
        return None
    if not len(edges):
        return name_numbers(finite)
    start, end = finite.searchsorted(edges[[0, -1]]).tolist()
    if start == 0 and end == len(finite):
        return Sketch()
    return name_numbers(np.append(finite[:start], finite[end:]))


@dataclass(frozen=True)
class _Parts:
    """Values without NaN, those of each partition sorted and in one piece: from bounds[i] to
    bounds[i + 1]. `weights`: how often each occurs, where equal ones are taken together."""

    values: Floats
    bounds: Counts
    weights: Counts | None = None

    @property
    def rows(self) -> Counts:
        """How many values there are in each."""
        upto = self.bounds
        if self.weights is not None:
            upto = np.append(0, np.cumsum(self.weights))[upto]
        return np.diff(upto)

    def of(self, part: int) -> Floats:
        """Those of one partition, each as often as it occurs."""
        own = slice(self.bounds[part], self.bounds[part + 1])
        values = self.values[own]
        return values if self.weights is None else np.repeat(values, self.weights[own])

    def ends(self) -> list[tuple[float | None, float | None]]:
        """The least and the most of each."""
        padded = np.append(self.values, np.nan) + 0.0
        lows, highs = padded[self.bounds[:-1]].tolist(), padded[self.bounds[1:] - 1].tolist()
        held = (np.diff(self.bounds) > 0).tolist()
        pairs = zip(lows, highs, held, strict=True)
        return [(low, high) if any_held else (None, None) for low, high, any_held in pairs]

    @property
    def codes(self) -> Counts:
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))

    def where(self, mask: npt.NDArray[np.bool_]) -> _Parts:
        if mask.all():
            return self
        bounds = np.append(0, np.cumsum(mask))[self.bounds]
        weights = None if self.weights is None else self.weights[mask]
        return _Parts(self.values[mask], bounds, weights)

    def weighed(self) -> _Parts:
        """Equal values taken together, where that leaves far fewer."""
        starts = np.flatnonzero(find_firsts(self.values, self.bounds))
        if 4 * len(starts) > 3 * len(self.values):
            return self
        bounds = starts.searchsorted(self.bounds)
        weights = np.diff(np.append(starts, len(self.values)))
        return _Parts(self.values[starts], bounds, weights)


def _count_many(
    values: Floats, bounds: Counts, edges: Floats, basis: ColumnBasis
) -> list[dict[str, Any]]:
    """As `_count_one` for each; `values` are used up."""
    for start, end in pairwise(bounds.tolist()):
        values[start:end].sort()
    parts = _Parts(values, bounds).weighed()
    read = parts.where(~np.isnan(parts.values))
    finite = read.where(np.isfinite(read.values))
    width, n = basis.n_cells, len(bounds) - 1
    cells = read.codes * width + edges.searchsorted(read.values, "right")
    table = np.bincount(cells, read.weights, n * width).astype(np.int64).reshape(n, width)
    moments = exact_moments_of_parts(finite.values, finite.bounds, basis.centre, finite.weights)
    sketches = sketch_number_parts(finite.values, finite.bounds)
    rows, n_finite, ends = read.rows.tolist(), finite.rows.tolist(), finite.ends()
    found = []
    for i, counts in enumerate(table.tolist()):
        outside = not len(edges) or counts[0] > 0 or counts[-1] > 0
        own = _name_outside(finite.of(i), edges, basis) if outside else _NOTHING[basis.kind]
        facts = {
            "n_read": rows[i],
            "counts": tuple(counts),
            "low": ends[i][0],
            "high": ends[i][1],
            "n_finite": n_finite[i],
            "centre": basis.centre,
            "total": moments[i][0],
            "squares": moments[i][1],
            "others": own,
            "numbers": sketches[i],
        }
        found.append(facts)
    return found


#: What lies outside where nothing does; of times nobody asks.
_NOTHING: dict[Kind, Sketch | None] = {Kind.NUMERIC: Sketch(), Kind.TIME: None}
