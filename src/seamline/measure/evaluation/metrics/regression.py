"""Metrics of predicted numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seamline.measure.basis import quantile_edges
from seamline.measure.evaluation.blocks import Part, RowStatistics
from seamline.measure.evaluation.metrics.arrays import divide, plain, square
from seamline.measure.exact import Floats

#: Bins of the absolute error, equally filled, that its quantiles are interpolated in.
ERROR_BINS = 100
#: Columns of sums before the counts per error bin.
_SUMS = 9


@dataclass(frozen=True)
class RegressionMeasure:
    """Statistics (..., m) to metrics: the sums of `regression_rows`, then counts per error bin
    between `edges`."""

    edges: tuple[float, ...]

    def __call__(self, stats: Floats) -> dict[str, Floats]:
        n, absolute, squared, plain_error, truth, truth_squared, size, relative, n_relative = (
            stats[..., i] for i in range(_SUMS)
        )
        counts, edges = stats[..., _SUMS:], np.asarray(self.edges)
        around = truth_squared - divide(truth**2, n)
        # A truth that never changes has no variance; what rounding leaves of it is none.
        around = np.where(around <= 1e-12 * truth_squared, 0.0, around)
        return {
            "mae": divide(absolute, n),
            "rmse": np.sqrt(divide(squared, n)),
            "bias": divide(plain_error, n),
            "r2": 1 - divide(squared, around),
            "wape": divide(absolute, size),
            "mape": divide(relative, n_relative),
            "median_error": quantile_of_counts(counts, edges, 0.5),
            "p90_error": quantile_of_counts(counts, edges, 0.9),
        }


def quantile_of_counts(counts: Floats, edges: Floats, share: float) -> Floats:
    """The value that `share` of the rows stay under, interpolated in its bin; bin i lies from
    edges[i] to edges[i + 1].

    >>> quantile_of_counts(np.array([1.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0, 4.0]), 0.5)
    np.float64(2.0)
    """
    ends = np.cumsum(counts, -1)
    wanted = share * ends[..., -1:]
    at = np.minimum((ends < wanted).sum(-1, keepdims=True), counts.shape[-1] - 1)
    inside = np.take_along_axis(counts, at, -1)
    before = np.take_along_axis(ends, at, -1) - inside
    part = divide(wanted - before, inside)
    return np.asarray(edges[at] + part * (edges[at + 1] - edges[at]))[..., 0][()]


def make_error_edges(errors: Floats, bins: int = ERROR_BINS) -> tuple[float, ...]:
    """From zero to the largest, equally filled.

    >>> make_error_edges(np.array([-1.0, 2.0]), bins=2)
    (0.0, 1.0, 2.0, 2.0000000000000004)
    """
    edges = quantile_edges(np.sort(np.abs(errors)), bins)
    return (0.0, *(edge for edge in edges if edge > 0))


def regression_rows(truth: Floats, predictions: Floats, edges: tuple[float, ...]) -> RowStatistics:
    errors, size = predictions - truth, np.abs(truth)
    relative = np.divide(np.abs(errors), size, out=np.zeros_like(size), where=size > 0)
    bins = np.searchsorted(np.asarray(edges[1:-1]), np.abs(errors), "right").astype(np.int64)
    sums: list[npt.NDArray[np.float64] | None] = [
        None,
        np.abs(errors),
        square(errors),
        errors,
        truth,
        square(truth),
        size,
        relative,
        (size > 0).astype(np.float64),
    ]
    return RowStatistics((*(Part(weights=one) for one in sums), Part(len(edges) - 1, bins)))


def measure_regression(truth: Floats, predictions: Floats) -> dict[str, float | None]:
    """
    >>> measure_regression(np.array([1.0, 2.0]), np.array([2.0, 2.0]))["mae"]
    0.5
    """
    edges = make_error_edges(predictions - truth)
    rows = regression_rows(truth, predictions, edges)
    table = rows.tabulate(np.zeros(len(truth), np.int64), 1)
    return plain(RegressionMeasure(edges)(table[0]))
