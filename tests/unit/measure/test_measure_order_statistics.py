"""The interval for a median: SciPy's binomial is the oracle, and counting how often it misses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seamline.measure.order_statistics import median_interval


@pytest.mark.parametrize("n", [6, 9, 12, 24, 36])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3, 0.2])
def test_its_ends_are_those_that_the_binomial_says(n: int, alpha: float) -> None:
    values = list(range(1, n + 1))
    places = [k for k in range(1, n // 2 + 1) if 2 * stats.binom.cdf(k - 1, n, 0.5) <= alpha]
    found = median_interval(values[::-1], alpha)
    if not places:
        assert found is None
        return
    assert found is not None
    assert (found.low, found.high) == (places[-1], n + 1 - places[-1])
    assert found.alpha == pytest.approx(2 * stats.binom.cdf(places[-1] - 1, n, 0.5))
    assert found.median == np.median(values)


def test_it_misses_as_seldom_as_it_says(soak: bool) -> None:
    """Whatever the distribution: here one with a heavy tail."""
    random = np.random.default_rng(3)
    count = 20_000 if soak else 2_000
    missed = 0
    for _ in range(count):
        found = median_interval(random.standard_cauchy(12).tolist(), 0.05)
        assert found is not None
        missed += not found.low <= 0.0 <= found.high
    assert missed / count <= 0.05
