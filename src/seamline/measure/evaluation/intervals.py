"""Other levels of an interval, p-values against any limit, and control over many slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seamline.measure.evaluation.checks import Compare
from seamline.measure.evaluation.estimates import Estimate
from seamline.measure.evaluation.student import t_quantile, t_tail
from seamline.measure.exact import Floats


def at_tail(estimate: Estimate, tail: float) -> Estimate:
    """The interval that leaves `tail` at either end. Each side keeps its own scale, so a skewed
    interval stays skewed.

    >>> wide = at_tail(Estimate(0.7, 0.6, 0.75, 900, 31), 0.025 / 24)
    >>> round(wide.low, 3), round(wide.high, 3), wide.confidence
    (0.535, 0.782, 0.95)
    """
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate
    own = t_quantile((1 - estimate.confidence) / 2, estimate.n_blocks - 1)
    ratio = t_quantile(tail, estimate.n_blocks - 1) / own
    middle = _middle(estimate.value, estimate.low, estimate.high)
    low = middle - ratio * (middle - estimate.low)
    return replace(estimate, low=low, high=middle + ratio * (estimate.high - middle))


def _middle(value: float, low: float, high: float) -> float:
    """The value, unless a correction for bias moved the interval off it."""
    return value if low <= value <= high else (low + high) / 2


def p_breaks(compare: Compare, limit: float, estimates: Sequence[Estimate]) -> Floats:
    """For each estimate (they need intervals) the p-value of "the limit is kept": small where
    it is surely broken. p < tail exactly where the interval with that tail breaks the limit.

    >>> p_breaks(Compare(">="), 0.7, [Estimate(0.6, 0.5, 0.7, 900, 31)]).round(3).tolist()
    [0.025]
    """
    bounds = [(e.value, e.low, e.high) for e in estimates]
    value, low, high = np.asarray(bounds, np.float64).reshape(-1, 3).T
    middle = np.where((low <= value) & (value <= high), value, (low + high) / 2)
    freedom = np.asarray([e.n_blocks - 1 for e in estimates], np.float64)
    levels = {
        (e.confidence, e.n_blocks): t_quantile((1 - e.confidence) / 2, e.n_blocks - 1)
        for e in estimates
    }
    quantiles = np.asarray([levels[e.confidence, e.n_blocks] for e in estimates])
    if compare.wants_more:
        past, side = limit - middle, high - middle
    else:
        past, side = middle - limit, middle - low
    kept_at_limit = compare in (Compare.AT_LEAST, Compare.AT_MOST)
    sure = np.where((past > 0) | ((past == 0) & (not kept_at_limit)), np.inf, -np.inf)
    t = np.divide(past * quantiles, side, out=sure, where=side > 0)
    return t_tail(t, freedom)


def benjamini_hochberg(p_values: Floats, rate: float) -> np.ndarray:
    """Which of many p-values are discoveries, with a false share of at most `rate` (Benjamini and
    Hochberg 1995); where none is true, the chance of any discovery is at most `rate`.

    It holds for independent and for positively dependent ones (Benjamini and Yekutieli 2001):
    slices of the same days rise and fall together.

    >>> benjamini_hochberg(np.array([0.001, 0.02, 0.5, 0.03]), 0.05).tolist()
    [True, True, False, True]
    """
    order = np.argsort(p_values)
    line = rate * np.arange(1, len(p_values) + 1) / len(p_values)
    under = np.flatnonzero(p_values[order] <= line)
    found = np.zeros(len(p_values), bool)
    if len(under):
        found[order[: under[-1] + 1]] = True
    return found
