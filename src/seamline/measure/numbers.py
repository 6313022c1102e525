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
    """Values without NaN, those of each partition sorted and in one piece."""

    values: Floats
    rows: Counts

    @property
    def codes(self) -> Counts:
        return np.repeat(np.arange(len(self.rows)), self.rows)

    @property
    def bounds(self) -> Counts:
        return np.append(0, np.cumsum(self.rows))

    def where(self, mask: npt.NDArray[np.bool_]) -> _Parts:
        if mask.all():
            return self
        kept = np.append(0, np.cumsum(mask))[self.bounds]
        return _Parts(self.values[mask], np.diff(kept))


def _count_many(
    values: Floats, bounds: Counts, edges: Floats, basis: ColumnBasis
) -> list[dict[str, Any]]:
    """As `_count_one` for each; `values` are used up."""
    for start, end in pairwise(bounds.tolist()):
        values[start:end].sort()
    read = _Parts(values, np.diff(bounds)).where(~np.isnan(values))
    finite = read.where(np.isfinite(read.values))
    width, n = basis.n_cells, len(bounds) - 1
    cells = read.codes * width + edges.searchsorted(read.values, "right")
    table = np.bincount(cells, minlength=n * width).reshape(n, width).tolist()
    moments = exact_moments_of_parts(finite.values, finite.bounds, basis.centre)
    sketches = sketch_number_parts(finite.values, finite.bounds)
    ends = finite.bounds.tolist()
    found = []
    for i, (n_read, counts) in enumerate(zip(read.rows.tolist(), table, strict=True)):
        own = finite.values[ends[i] : ends[i + 1]]
        outside = not len(edges) or counts[0] > 0 or counts[-1] > 0
        others = _name_outside(own, edges, basis) if outside else _NOTHING[basis.kind]
        facts = {
            "n_read": n_read,
            "counts": tuple(counts),
            "low": float(own[0]) + 0.0 if len(own) else None,
            "high": float(own[-1]) + 0.0 if len(own) else None,
            "n_finite": len(own),
            "centre": basis.centre,
            "total": moments[i][0],
            "squares": moments[i][1],
            "others": others,
            "numbers": sketches[i],
        }
        found.append(facts)
    return found


#: What lies outside where nothing does; of times nobody asks.
_NOTHING: dict[Kind, Sketch | None] = {Kind.NUMERIC: Sketch(), Kind.TIME: None}
