"""Intervals by resampling blocks: rows of one day are not independent, days nearly are.

Everything is measured from per-block additive statistics, so a thousand resamples are one product
of a (replicates x blocks) matrix of draws with the (blocks x statistics) table; no row is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from seamline.measure.exact import Floats
from seamline.measure.metrics import Measure, number_or_none

Ints = npt.NDArray[np.int64]

MIN_BLOCKS = 10
REPLICATES = 1000
CONFIDENCE = 0.95
#: An interval needs this share of resamples in which the metric is defined.
MIN_DEFINED = 0.9


@dataclass(frozen=True)
class Estimate:
    """A number with its n and its interval; without an interval it decides nothing.

    `value` is None where the metric is not defined (the AUC of one class).
    """

    value: float | None
    low: float | None
    high: float | None
    n_rows: int
    n_blocks: int
    confidence: float = CONFIDENCE

    @property
    def is_conclusive(self) -> bool:
        return self.value is not None and self.low is not None and self.high is not None

    def __str__(self) -> str:
        """
        >>> print(Estimate(0.7312, 0.70, 0.76, 29425, 31))
        0.7312 [0.7, 0.76] (n 29,425 in 31 blocks)
        """
        value = "undefined" if self.value is None else f"{self.value:.4g}"
        between = f" [{self.low:.4g}, {self.high:.4g}]" if self.is_conclusive else ""
        return f"{value}{between} (n {self.n_rows:,} in {self.n_blocks} blocks)"

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        return cls(**data)


@dataclass(frozen=True)
class BlockTable:
    """`stats` (blocks x statistics), additive over blocks; `rows` (blocks) counts rows."""

    stats: Floats
    rows: Ints

    @property
    def n_rows(self) -> int:
        return int(self.rows.sum())

    @property
    def n_blocks(self) -> int:
        """Blocks that hold rows."""
        return int((self.rows > 0).sum())


@dataclass(frozen=True)
class RowStatistics:
    """What each row adds to its block: one count in cell `cells` of `n_cells`, and its `sums`."""

    cells: Ints
    n_cells: int
    sums: tuple[Floats, ...]

    def tabulate(self, blocks: Ints, n_blocks: int, rows: Ints | None = None) -> BlockTable:
        """The table of all rows or of those with the given indices; `blocks` numbers each row's.

        >>> rows = RowStatistics(np.array([0, 1, 1]), 2, (np.array([0.5, 1.0, 2.0]),))
        >>> rows.tabulate(np.array([0, 0, 1]), 2).stats.tolist()
        [[1.0, 1.0, 1.5], [0.0, 1.0, 2.0]]
        """
        pick = slice(None) if rows is None else rows
        block, cell = blocks[pick], self.cells[pick]
        flat = np.bincount(block * self.n_cells + cell, minlength=n_blocks * self.n_cells)
        counts = flat.reshape(n_blocks, self.n_cells)
        sums = [np.bincount(block, weights=s[pick], minlength=n_blocks) for s in self.sums]
        return BlockTable(np.column_stack([counts, *sums]).astype(np.float64), counts.sum(1))


def resample_weights(n_blocks: int, replicates: int = REPLICATES, seed: int = 0) -> Floats:
    """How often each block is drawn, (replicates x blocks): n_blocks draws with replacement.

    >>> resample_weights(4, replicates=2).sum(axis=1).tolist()
    [4.0, 4.0]
    """
    rng = np.random.default_rng(seed)
    even = np.full(n_blocks, 1 / max(n_blocks, 1))
    return rng.multinomial(n_blocks, even, size=replicates).astype(np.float64)


def tail_share(n_blocks: int, confidence: float = CONFIDENCE) -> float:
    """The share of resamples to cut at either end.

    Plain percentiles are too narrow for few blocks; this is the expanded percentile interval
    (Hesterberg 2015, "What teachers should know about the bootstrap"): percentiles that match
    Student's t (Cornish-Fisher, Abramowitz and Stegun 26.7.5) and the n / (n - 1) variance, for a
    mean of n blocks.

    >>> round(tail_share(10), 4), round(tail_share(10_000), 4)
    (0.0086, 0.025)
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    freedom = n_blocks - 1
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return NormalDist().cdf(-t * math.sqrt(n_blocks / freedom))


def block_bootstrap(
    table: BlockTable, measure: Measure, weights: Floats, confidence: float = CONFIDENCE
) -> dict[str, Estimate]:
    """Each metric of the table with its interval over resampled blocks.

    Fewer than 10 blocks with rows: the value alone.
    """
    points = measure(table.stats.sum(0))
    replicates = _replicate(table, measure, weights)
    return {
        name: _estimate(points[name], replicates.get(name), table, confidence) for name in points
    }


def block_bootstrap_difference(
    ours: BlockTable,
    theirs: BlockTable,
    measures: tuple[Measure, Measure],
    weights: Floats,
    confidence: float = CONFIDENCE,
) -> dict[str, Estimate]:
    """Ours minus theirs on the same rows: both are drawn with the same weights, so what a hard
    day does to both cancels."""
    mine, other = measures[0](ours.stats.sum(0)), measures[1](theirs.stats.sum(0))
    left = _replicate(ours, measures[0], weights)
    right = _replicate(theirs, measures[1], weights)
    return {
        name: _estimate(
            mine[name] - other[name],
            left[name] - right[name] if left else None,
            ours,
            confidence,
        )
        for name in mine
    }


def _replicate(table: BlockTable, measure: Measure, weights: Floats) -> Mapping[str, Floats]:
    return measure(weights @ table.stats) if table.n_blocks >= MIN_BLOCKS else {}


def point_estimates(
    table: BlockTable, measure: Measure, confidence: float = CONFIDENCE
) -> dict[str, Estimate]:
    """Values without intervals: too few rows to say more."""
    points = measure(table.stats.sum(0))
    return {name: _estimate(points[name], None, table, confidence) for name in points}


def _estimate(
    value: Floats, replicates: Floats | None, table: BlockTable, confidence: float
) -> Estimate:
    low = high = None
    point = number_or_none(value)
    if replicates is not None and point is not None:
        defined = replicates[np.isfinite(replicates)]
        if len(defined) >= MIN_DEFINED * len(replicates):
            tail = tail_share(table.n_blocks, confidence)
            low, high = (float(x) for x in np.quantile(defined, [tail, 1 - tail]))
    return Estimate(point, low, high, table.n_rows, table.n_blocks, confidence)
