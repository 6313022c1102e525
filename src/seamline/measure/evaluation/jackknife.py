"""Intervals by leaving out one block at a time.

The spread of a metric over "all days but one" gives its standard error and its skewness (Efron
and Tibshirani 1993, chapter 11). The interval is Student's t, widened on the side where Hall's
cubic transformation (1992, "On the removal of skewness by transformation") or the jackknife's
estimate of bias asks for more; never narrowed, since skewness told from a month of days is too
uncertain for that. docs/explanation/statistics.md holds the measured false alarms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seamline.measure.evaluation.estimates import CONFIDENCE, MIN_BLOCKS, Estimate
from seamline.measure.evaluation.metrics.arrays import divide, number_or_none
from seamline.measure.evaluation.student import t_quantile
from seamline.measure.exact import Floats

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
#: Fewer equal blocks than these, as uneven ones count, tell no spread.
MIN_EFFECTIVE = 5
#: Share of the skewness at which Hall's cubic, at this tail, turns over.
MOST_SKEW = 0.5
#: Sums of the same numbers in another order differ by less than this share.
ROUNDING = 1e-12
#: Statistics (..., m) to metrics by name, each of shape (...).
Measure = Callable[[Floats], Mapping[str, Floats]]


@dataclass(frozen=True)
class Spread:
    """A metric of each slice, `value` (slices), and of each without one block: `left_out` (slices x
    blocks). `rows` (slices x blocks) counts the rows of each."""

    value: Floats
    left_out: Floats
    rows: Ints

    @property
    def held(self) -> Flags:
        return self.rows > 0

    @property
    def n_rows(self) -> Ints:
        return np.asarray(self.rows.sum(-1))

    @property
    def n_blocks(self) -> Ints:
        """Blocks that hold rows."""
        return np.asarray(self.held.sum(-1))

    @property
    def has_blocks(self) -> Flags:
        """At least 10, and rows spread over them as evenly as over 5 equal ones: of a slice that
        nearly lies in one day, the other days tell nothing."""
        squares = (self.rows.astype(np.float64) ** 2).sum(-1)
        is_even = self.n_rows.astype(np.float64) ** 2 >= MIN_EFFECTIVE * squares
        return np.asarray((self.n_blocks >= MIN_BLOCKS) & is_even)

    def __sub__(self, other: Spread) -> Spread:
        """The paired difference: what a hard day does to both cancels."""
        value, left_out = _apart(self.value, other.value), _apart(self.left_out, other.left_out)
        return Spread(value, left_out, self.rows)

    def times(self, factor: float) -> Spread:
        return Spread(factor * self.value, factor * self.left_out, self.rows)

    def influence(self) -> Floats:
        """(slices x blocks) how far each block moves the metric, in sizes whose mean square over
        `n_blocks - 1` is the variance of the value; zero for blocks without rows. NaN where the
        metric is not defined without some block."""
        n = np.maximum(self.held.sum(-1, keepdims=True), 1)
        with np.errstate(invalid="ignore"):
            mean = (self.left_out * self.held).sum(-1, keepdims=True) / n
            return np.asarray((n - 1) * (mean - self.left_out) * self.held)

    def errors(self) -> Floats:
        """(slices x blocks), scaled so that sums of squares are variances and sums of products of
        two slices their covariances."""
        n = np.maximum(self.held.sum(-1, keepdims=True), 2)
        return np.asarray(self.influence() / np.sqrt(n * (n - 1)))

    def estimates(self, confidence: float = CONFIDENCE, min_rows: int = 0) -> list[Estimate]:
        """One for each slice. Too few blocks, fewer rows than `min_rows`, or not defined
        when some one block is left out: the value alone.

        >>> days = np.arange(12.0)
        >>> one = Spread(np.array([5.5]), (66 - days)[None] / 11, np.ones((1, 12), int))
        >>> print(one.estimates()[0])
        5.5 [3.209, 7.791] (n 12 in 12 blocks)
        """
        n_blocks, n_rows, has_blocks = self.n_blocks, self.n_rows, self.has_blocks
        low, high = self.bounds((1 - confidence) / 2)
        found = []
        for i, n in enumerate(n_blocks):
            value = number_or_none(self.value[i])
            is_bounded = value is not None and has_blocks[i] and n_rows[i] >= min_rows
            ends = (number_or_none(low[i]), number_or_none(high[i])) if is_bounded else (None, None)
            found.append(Estimate(value, *ends, int(n_rows[i]), int(n), confidence))
        return found

    def bounds(self, tail: float) -> tuple[Floats, Floats]:
        """Of each slice, with `tail` at either end; also of those with too few rows or blocks."""
        n_blocks = self.n_blocks
        levels = {n: t_quantile(tail, n - 1) for n in np.unique(n_blocks).tolist() if n > 1}
        t = np.asarray([levels.get(n, np.nan) for n in n_blocks.tolist()])
        n = np.maximum(n_blocks, 2)
        influence = self.influence()
        with np.errstate(invalid="ignore", over="ignore"):
            variance = np.einsum("...i,...i->...", influence, influence) / n
            # What only rounding tells apart is the same.
            is_still = variance <= (ROUNDING * np.maximum(np.abs(self.value), 1e-3)) ** 2 * n
            skew = divide(
                (influence * influence * influence).sum(-1) / n,
                np.where(is_still, 0.0, variance) ** 1.5,
            )
            # Within where Hall's cubic can be inverted: beyond, one odd day of a month counts
            # many standard errors, and misses as often as with this.
            most = MOST_SKEW * np.sqrt(n) / t
            skew = np.clip(skew, -most, most)
            error = np.sqrt(np.where(is_still, 0.0, variance) / (n - 1))
            mean = (self.left_out * self.held).sum(-1) / n
            centre = np.where(is_still, self.value, n * self.value - (n - 1) * mean)
            low = np.fmin(self.value - t * error, centre - _unskew(t, skew, n) * error)
            high = np.fmax(self.value + t * error, centre - _unskew(-t, skew, n) * error)
        # Of values whose squares no float holds, nobody knows the spread.
        is_known = np.isfinite(variance)
        return np.where(is_known, low, np.nan), np.where(is_known, high, np.nan)


def _apart(ours: Floats, theirs: Floats) -> Floats:
    """What only rounding tells apart is equal: a limit of zero is kept by it."""
    with np.errstate(invalid="ignore"):
        gap = ours - theirs
        noise = ROUNDING * np.maximum(np.abs(ours), np.abs(theirs))
        return np.where(np.abs(gap) <= noise, 0.0 * gap, gap)


def _unskew(t: Floats, skew: Floats, n: Ints) -> Floats:
    """The inverse of Hall's cubic: where t lies for a mean of n values of this skewness."""
    safe = np.where(np.abs(skew) < 1e-6, 1e-6, skew)
    root = np.cbrt(1 + safe * (t / np.sqrt(n) - safe / (6 * n)))
    return np.asarray(np.sqrt(n) * 3 / safe * (root - 1))


def spread_metrics(tables: Floats, rows: Ints, measure: Measure) -> dict[str, Spread]:
    """`tables`: (slices x blocks x m). Each metric of the sums over blocks, and without each."""
    total = tables.sum(-2)
    values, left_out = measure(total), measure(total[:, None, :] - tables)
    return {name: Spread(values[name], left_out[name], rows) for name in values}
