"""An interval for a median that supposes nothing about how values are distributed.

Each independent value is below the median with probability 1/2, so how many are is binomial, and
the k-th smallest and k-th largest value hold the median between them but with the probability of
two of its tails (Conover, Practical Nonparametric Statistics, 3rd ed., 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MedianInterval:
    median: float
    low: float
    high: float
    n: int
    #: The chance that such an interval misses: at most what was asked.
    alpha: float


def median_interval(values: Sequence[float], alpha: float = 0.05) -> MedianInterval | None:
    """None where so few values tell nothing at this level (fewer than 6, at 0.05).

    >>> found = median_interval(range(1, 13), alpha=0.05)
    >>> found.median, found.low, found.high, round(found.alpha, 4)
    (6.5, 3, 10, 0.0386)
    >>> median_interval([1.0, 2.0, 3.0]) is None
    True
    """
    ordered = sorted(values)
    n = len(ordered)
    k, missed = 0, 0.0
    while k + 1 <= n - k - 1 and (tails := 2 * _at_most(k, n)) <= alpha:
        k, missed = k + 1, tails
    if k == 0:
        return None
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return MedianInterval(middle, ordered[k - 1], ordered[n - k], n, missed)


def _at_most(k: int, n: int) -> float:
    """The probability of k heads or fewer among n tosses."""
    return float(sum(math.comb(n, heads) for heads in range(k + 1)) / 2**n)
