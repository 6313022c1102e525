"""Block bootstrap: it covers what it says, and pairs cancel what they share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seamline.measure.blocks import (
    BlockTable,
    Estimate,
    RowStatistics,
    block_bootstrap,
    block_bootstrap_difference,
    point_estimates,
    resample_weights,
    tail_share,
)
from seamline.measure.metrics import regression_metrics


def _table(errors: np.ndarray, days: np.ndarray, n_days: int) -> BlockTable:
    sums = (np.abs(errors), errors**2, errors)
    return RowStatistics(np.zeros(len(errors), np.int64), 1, sums).tabulate(days, n_days)


def _coverage(n_days: int, rows: int, trials: int, seed: int) -> tuple[float, float]:
    """Share of intervals of the bias that hold the truth (0), by days and by rows."""
    rng = np.random.default_rng(seed)
    days = np.repeat(np.arange(n_days), rows)
    by_day = by_row = 0
    for trial in range(trials):
        levels = rng.normal(0, 1, n_days)
        errors = levels[days] + rng.normal(0, 1, len(days))
        table = _table(errors, days, n_days)
        weights = resample_weights(n_days, replicates=400, seed=trial)
        bias = block_bootstrap(table, regression_metrics, weights)["bias"]
        by_day += bias.low <= 0 <= bias.high
        naive = 1.96 * errors.std() / len(errors) ** 0.5
        by_row += abs(errors.mean()) <= naive
    return by_day / trials, by_row / trials


@pytest.mark.parametrize("n_days", [10, 30])
def test_intervals_cover_the_truth_where_rows_of_a_day_move_together(n_days: int) -> None:
    by_day, by_row = _coverage(n_days, rows=30, trials=400, seed=n_days)
    assert 0.925 <= by_day <= 0.975
    assert by_row < 0.5, "intervals that take rows for independent would be far too narrow"


def test_the_interval_of_independent_blocks_is_the_analytic_one() -> None:
    rng = np.random.default_rng(5)
    errors = rng.normal(2, 1, 200)
    weights = resample_weights(200, replicates=4000, seed=1)
    table = _table(errors, np.arange(200), 200)
    bias = block_bootstrap(table, regression_metrics, weights)["bias"]
    half = stats.t.ppf(0.975, 199) * errors.std(ddof=1) / 200**0.5
    assert bias.value == pytest.approx(errors.mean())
    assert bias.low == pytest.approx(errors.mean() - half, abs=0.01)
    assert bias.high == pytest.approx(errors.mean() + half, abs=0.01)


@pytest.mark.parametrize("n_blocks", [10, 15, 31, 365])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_tails_follow_students_t(n_blocks: int, confidence: float) -> None:
    t = stats.t.ppf(0.5 + confidence / 2, n_blocks - 1)
    expected = stats.norm.cdf(-t * (n_blocks / (n_blocks - 1)) ** 0.5)
    assert tail_share(n_blocks, confidence) == pytest.approx(expected, rel=0.02)


def test_paired_differences_cancel_hard_days() -> None:
    rng = np.random.default_rng(6)
    days = np.repeat(np.arange(20), 50)
    hard = rng.exponential(20, 20)[days]
    ours, theirs = hard + 1.0, hard + 1.5
    weights = resample_weights(20, seed=3)
    tables = _table(ours, days, 20), _table(theirs, days, 20)
    own = block_bootstrap(tables[0], regression_metrics, weights)["mae"]
    measures = (regression_metrics, regression_metrics)
    gap = block_bootstrap_difference(*tables, measures, weights)["mae"]
    assert own.high - own.low > 5
    assert (gap.low, gap.high) == (pytest.approx(-0.5), pytest.approx(-0.5))


def test_nine_blocks_have_no_interval() -> None:
    days = np.repeat(np.arange(9), 100)
    table = _table(np.ones(900), days, 31)
    found = block_bootstrap(table, regression_metrics, resample_weights(31))["mae"]
    assert found == Estimate(1.0, None, None, 900, 9)
    assert not found.is_conclusive and str(found) == "1 (n 900 in 9 blocks)"
    assert point_estimates(table, regression_metrics)["mae"] == found
    measures = (regression_metrics, regression_metrics)
    gap = block_bootstrap_difference(table, table, measures, resample_weights(31))["mae"]
    assert gap == Estimate(0.0, None, None, 900, 9)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert (resample_weights(30, seed=4) == resample_weights(30, seed=4)).all()
    assert (resample_weights(30, seed=4) != resample_weights(30, seed=5)).any()
