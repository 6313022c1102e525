"""A month of synthetic flights: truth, two models' predictions, training rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

PER_DAY = 120


def make_truth(days: int = 31, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = days * PER_DAY
    hour = rng.integers(5, 24, n)
    dest = rng.choice(["LAX", "BOS", "ORD"], n)
    delay = 4.0 * (hour - 14) + rng.normal(0, 20, n)
    minutes = np.select([dest == "LAX", dest == "BOS"], [330.0, 40.0], 115.0)
    return pl.DataFrame(
        {
            "ds": [date(2013, 7, 1) + timedelta(days=i // PER_DAY) for i in range(n)],
            "flight": np.arange(n) % PER_DAY,
            "hour": hour,
            "dest": dest,
            "arr_delay": np.where(np.arange(n) % 50 == 0, np.nan, delay),
            "air_time": minutes + rng.normal(0, 10, n),
        }
    ).with_columns(pl.col("arr_delay").fill_nan(None))


@pytest.fixture
def truth() -> pl.DataFrame:
    return make_truth()


@pytest.fixture
def season() -> pl.DataFrame:
    return make_truth(60)


@pytest.fixture
def scores() -> Callable[..., pl.DataFrame]:
    """Predictions of lateness: the better, the less noise."""

    def make(truth: pl.DataFrame, noise: float = 0.0, seed: int = 1) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        odds = 4.0 * (truth["hour"].to_numpy() - 14) / 12 - 1.2
        odds = odds + rng.normal(0, 1, truth.height) * noise
        score = 1 / (1 + np.exp(-odds))
        return truth.select("ds", "flight").with_columns(pl.Series("score", score))

    return make
