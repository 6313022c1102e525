"""Quantiles from a profile's counts: in the right bin, and between its edges by interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from seamline.measure.basis import ColumnBasis
from seamline.measure.columns import ColumnProfile

#: What is shown of a column.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def quantile(column: ColumnProfile, basis: ColumnBasis, q: float) -> float | None:
    """The smallest value that at least the share `q` of the values does not exceed, to within the
    bin that holds it; exact at 0 and 1, and where every bin holds one value (see `is_discrete`).
    None where there are no numbers.

    >>> from seamline.measure.basis import Kind
    >>> basis = ColumnBasis(Kind.NUMERIC, edges=(0.0, 10.0, 20.0))
    >>> column = ColumnProfile(4, 0, 0, (0, 2, 1, 1), low=1.0, high=90.0, n_finite=4)
    >>> [round(quantile(column, basis, q), 9) for q in (0.0, 0.5, 0.75, 1.0)]
    [1.0, 7.75, 15.0, 90.0]
    """
    if column.low is None or column.high is None or not basis.is_binned:
        return None
    if q <= 0 or q >= 1:
        return column.low if q <= 0 else column.high
    return _find_quantile(column, basis, q, is_discrete(column, basis))


def quantiles(
    column: ColumnProfile, basis: ColumnBasis, at: Sequence[float] = QUANTILES
) -> list[float | None]:
    return [quantile(column, basis, q) for q in at]


def is_discrete(column: ColumnProfile, basis: ColumnBasis) -> bool:
    """Whether every bin that holds anything holds its lower edge and nothing else: there are as
    many different values as such bins, and every one of these edges is among the values.

    >>> from seamline.measure.basis import make_basis
    >>> from seamline.measure.profiles import profile_frame
    >>> import polars as pl
    >>> frame = pl.DataFrame({"hour": [5, 6, 6, 23]})
    >>> basis = make_basis(frame)
    >>> is_discrete(profile_frame(frame, basis).columns["hour"], basis.columns["hour"])
    True
    """
    if column.numbers is None or not column.numbers.is_exact:
        return False
    held = [edge for edge, n in zip(basis.edges, column.counts[1:-1], strict=False) if n]
    n_outside = 0
    if sum(column.counts[1:-1]) < column.present:
        if column.others is None or not column.others.is_exact:
            return False
        n_outside = column.others.distinct
    if column.numbers.distinct - n_outside != len(held):
        return False
    return column.numbers.holds(np.array(held))


def _find_quantile(column: ColumnProfile, basis: ColumnBasis, q: float, exact: bool) -> float:
    rank = max(math.ceil(q * sum(column.counts)), 1)
    ends = list(accumulate(column.counts))
    cell = next(i for i, end in enumerate(ends) if end >= rank)
    start, stop = cell_range(column, basis, cell)
    if start > stop:  # only infinities lie there
        return math.inf if cell else -math.inf
    if exact and 0 < cell < len(basis.edges):
        return start
    share = (rank - ends[cell] + column.counts[cell] - 0.5) / column.counts[cell]
    # Not (stop - start), which may overflow.
    value = start * (1 - share) + stop * share
    return min(max(value, start), stop)


def cell_range(column: ColumnProfile, basis: ColumnBasis, cell: int) -> tuple[float, float]:
    """The least and the largest value that one of a binned column's counts may stand for."""
    low = -math.inf if column.low is None else column.low
    high = math.inf if column.high is None else column.high
    edges = basis.edges
    start = edges[cell - 1] if cell else low
    stop = float(np.nextafter(edges[cell], -np.inf)) if cell < len(edges) else high
    return max(start, low), min(stop, high)
