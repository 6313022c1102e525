"""Intervals by leaving out blocks: they cover what they say, and pairs cancel what they share."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from seamline.measure.evaluation.blocks import Part, RowStatistics, independent_rows, join_blocks
from seamline.measure.evaluation.estimates import Estimate
from seamline.measure.evaluation.evaluate import evaluate_regression
from seamline.measure.evaluation.jackknife import Spread, spread_metrics
from seamline.measure.evaluation.metrics.arrays import divide


def _mean(stats_: np.ndarray) -> dict[str, np.ndarray]:
    return {"mean": divide(stats_[..., 1], stats_[..., 0])}


def _spread(values: np.ndarray, days: np.ndarray, n_days: int) -> Spread:
    rows = RowStatistics((Part(), Part(weights=values)))
    table = rows.tabulate(days, n_days)[None]
    return spread_metrics(table, table[..., 0].astype(int), _mean)["mean"]


def _estimate(values: np.ndarray, days: np.ndarray, n_days: int) -> Estimate:
    return _spread(values, days, n_days).estimates()[0]


def _coverage(n_days: int, rows: int, trials: int, seed: int) -> tuple[float, float]:
    """Share of intervals of the mean that hold the truth (0), by days and by rows."""
    rng = np.random.default_rng(seed)
    days = np.repeat(np.arange(n_days), rows)
    by_day = by_row = 0
    for _ in range(trials):
        errors = rng.normal(0, 1, n_days)[days] + rng.normal(0, 1, len(days))
        found = _estimate(errors, days, n_days)
        by_day += found.low <= 0 <= found.high
        naive = 1.96 * errors.std() / len(errors) ** 0.5
        by_row += abs(errors.mean()) <= naive
    return by_day / trials, by_row / trials


@pytest.mark.parametrize("n_days", [10, 30])
def test_intervals_cover_the_truth_where_rows_of_a_day_move_together(n_days: int) -> None:
    by_day, by_row = _coverage(n_days, rows=30, trials=600, seed=n_days)
    assert 0.93 <= by_day <= 0.98
    assert by_row < 0.5, "intervals that take rows for independent would be far too narrow"


def test_the_interval_of_even_blocks_is_students_and_never_narrower() -> None:
    rng = np.random.default_rng(5)
    errors = rng.normal(2, 1, 200)
    found = _estimate(errors, np.arange(200), 200)
    half = stats.t.ppf(0.975, 199) * errors.std(ddof=1) / 200**0.5
    assert found.value == pytest.approx(errors.mean())
    assert found.low == pytest.approx(errors.mean() - half, abs=0.01)
    assert found.high == pytest.approx(errors.mean() + half, abs=0.01)
    assert found.low <= errors.mean() - half + 1e-9 and found.high >= errors.mean() + half - 1e-9


def test_the_standard_error_and_a_skewed_interval_are_scipys() -> None:
    """Where SciPy has it: a mean of skewed blocks, by the bias-corrected accelerated bootstrap."""
    rng = np.random.default_rng(8)
    values = rng.exponential(1, 400)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = stats.bootstrap((values,), np.mean, n_resamples=20_000, random_state=1)
    spread = _spread(values, np.arange(400), 400)
    found = spread.estimates()[0]
    assert (spread.errors() ** 2).sum() ** 0.5 == pytest.approx(stats.sem(values))
    assert found.high == pytest.approx(peer.confidence_interval.high, abs=0.01)
    assert found.low <= peer.confidence_interval.low


def test_paired_differences_cancel_hard_days() -> None:
    rng = np.random.default_rng(6)
    days = np.repeat(np.arange(20), 50)
    hard = rng.exponential(20, 20)[days]
    ours, theirs = _spread(hard + 1.0, days, 20), _spread(hard + 1.5, days, 20)
    own, gap = ours.estimates()[0], (ours - theirs).estimates()[0]
    assert own.high - own.low > 5
    assert (gap.low, gap.high) == (pytest.approx(-0.5), pytest.approx(-0.5))


def test_nine_blocks_have_no_interval() -> None:
    days = np.repeat(np.arange(9), 100)
    found = _estimate(np.ones(900), days, 31)
    assert found == Estimate(1.0, None, None, 900, 9)
    assert not found.is_conclusive and str(found) == "1 (n 900 in 9 blocks)"


def test_what_stands_on_a_single_block_has_no_interval() -> None:
    """Left out, nothing remains to divide by: one storm day holds all that were late."""
    table = np.ones((1, 12, 2))
    table[0, 1:, 0] = 0.0
    found = spread_metrics(table, np.ones((1, 12), int), _mean)["mean"]
    assert found.value[0] == 12 and not found.estimates()[0].is_conclusive


def test_one_block_that_holds_nearly_everything_leaves_no_interval() -> None:
    rng = np.random.default_rng(2)
    days = np.concatenate([np.zeros(9000, int), np.repeat(np.arange(1, 12), 30)])
    values = rng.normal(0, 1, 12)[days] + rng.normal(size=len(days))
    found = _estimate(values, days, 12)
    assert found.n_blocks == 12 and not found.is_conclusive
    uneven = np.repeat(np.arange(12), np.arange(20, 140, 10))
    assert _estimate(rng.normal(size=len(uneven)), uneven, 12).is_conclusive


def test_very_many_blocks_are_joined_and_nothing_is_lost() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=50_000)
    card = evaluate_regression(np.zeros(50_000), values, None)
    bias = card.overall["bias"]
    assert card.n_blocks == 50_000 and bias.n_blocks == 1000
    half = 1.96 * values.std() / 50_000**0.5
    assert (bias.high - bias.low) / 2 == pytest.approx(half, rel=0.15)
    customers = join_blocks(np.repeat(np.arange(3000), 2), tuple(map(str, range(3000))))
    assert (customers.codes[::2] == customers.codes[1::2]).all(), "a block stays whole"
    assert np.bincount(independent_rows(5000).codes).tolist() == [5] * 1000
