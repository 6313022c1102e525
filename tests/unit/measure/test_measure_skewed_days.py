"""One odd day of a month: the interval leans towards it, and not by many standard errors."""

from __future__ import annotations

import numpy as np

from seamline.measure.evaluation.jackknife import Spread
from seamline.measure.evaluation.student import t_quantile

#: A morning slice's sums of differences by day, in August: all but one within ±0.5.
DAYS = np.array([0.3, -0.1, 0.1, 0.2, -0.3, 0.4, 0.1, 0.0, 0.1, -0.1, 0.0, -0.2, -0.1, 0.1, -0.2])
ODD = 1.64


def mean_of(values: np.ndarray) -> Spread:
    """The mean of each row of blocks."""
    total, n = values.sum(-1, keepdims=True), values.shape[-1]
    return Spread(values.mean(-1), (total - values) / (n - 1), np.ones(values.shape, np.int64))


def test_an_odd_day_widens_its_side_and_not_beyond_reason() -> None:
    values = np.concatenate([DAYS, -DAYS, [ODD]])[None]
    (found,) = mean_of(values).estimates()
    error = values.std(ddof=1) / np.sqrt(values.size)
    assert found.high is not None and found.low is not None
    assert (found.value - found.low) / error < (found.high - found.value) / error < 3


def test_skewed_months_miss_on_their_long_side_less_often_than_students_t() -> None:
    months = np.random.default_rng(1).lognormal(size=(4000, 31))
    spread, truth = mean_of(months), np.exp(0.5)
    error = months.std(-1, ddof=1) / np.sqrt(31)
    plain = spread.value + t_quantile(0.025, 30) * error < truth
    found = np.array([one.high for one in spread.estimates()])
    assert (found < truth).mean() < 0.85 * plain.mean()
    assert np.quantile((found - spread.value) / error, 0.95) < 3
