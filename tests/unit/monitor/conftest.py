"""Synthetic days of served flights, and the reference that their model was trained on."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_partitions, sum_profiles
from seamline.monitor.drift import DriftReference

PER_DAY = 200


def make_days(first: date, days: int, seed: int) -> pl.DataFrame:
    """Rows of a day move together: each day has its own share of UA and its own rush hour."""
    rng = np.random.default_rng(seed)
    n = days * PER_DAY
    day = np.arange(n) // PER_DAY
    rush, united = rng.normal(14, 0.4, days)[day], rng.normal(0.3, 0.03, days)[day]
    hour = np.clip(rng.normal(rush, 4), 5, 23).astype(int)
    late = rng.uniform(size=n) < np.clip((hour - 5) / 30, 0.05, 0.6)
    score = np.clip((hour - 5) / 30 + rng.normal(0, 0.03, n), 0.01, 0.99)
    ds = [first + timedelta(days=int(d)) for d in day]
    return pl.DataFrame(
        {
            "ds": ds,
            "month": [d.month for d in ds],
            "hour": hour,
            "distance": rng.gamma(4, 250, n).round(),
            "carrier": np.where(rng.uniform(size=n) < united, "UA", "DL"),
            "score": score,
            "late": late,
            "minutes": rng.normal(150, 40, n),
        }
    )


FEATURES = ("month", "hour", "distance", "carrier")


@pytest.fixture(scope="session")
def training() -> pl.DataFrame:
    return make_days(date(2013, 6, 1), 60, seed=1)


@pytest.fixture(scope="session")
def december() -> pl.DataFrame:
    return make_days(date(2013, 12, 1), 31, seed=2)


@pytest.fixture(scope="session")
def reference(training: pl.DataFrame) -> DriftReference:
    frame = training.select(FEATURES)
    days = profile_partitions(frame, make_basis(frame), training["ds"])
    return DriftReference(sum_profiles(days.values()), days)
