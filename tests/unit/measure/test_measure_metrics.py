"""Metrics against scikit-learn, cells against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model
from sklearn import metrics as oracle

from seamline.domain.errors import InvalidInput
from seamline.measure.evaluation.metrics.arrays import check_finite
from seamline.measure.evaluation.metrics.binary import measure_binary
from seamline.measure.evaluation.metrics.bins import (
    ScoreBins,
    auc_error,
    auc_of_counts,
    make_score_bins,
)
from seamline.measure.evaluation.metrics.regression import measure_regression
from seamline.measure.evaluation.vocabulary import Task, metrics_of

labelled = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1), st.integers(1, 5)), min_size=2, max_size=80
).filter(lambda rows: len({label for label, _, _ in rows}) == 2)


@settings(max_examples=100, deadline=None)
@given(labelled, st.floats(0.05, 0.95))
def test_binary_metrics_agree_with_scikit_learn(rows, threshold) -> None:
    labels, scores, times = (np.array(column, float) for column in zip(*rows, strict=True))
    labels, scores = (np.repeat(one, times.astype(int)) for one in (labels, scores))
    decided = scores >= threshold
    found = measure_binary(labels, scores, threshold)
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    expected = {
        "auc": oracle.roc_auc_score(labels, scores),
        "average_precision": oracle.average_precision_score(labels, scores),
        "f1": oracle.f1_score(labels, decided, zero_division=0),
        "precision": oracle.precision_score(labels, decided, zero_division=np.nan),
        "recall": oracle.recall_score(labels, decided),
        "specificity": oracle.recall_score(labels, decided, pos_label=0),
        "accuracy": oracle.accuracy_score(labels, decided),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, decided),
        "mcc": np.nan if len(set(decided)) < 2 else oracle.matthews_corrcoef(labels, decided),
        "brier": oracle.brier_score_loss(labels, scores),
        "log_loss": oracle.log_loss(labels, clipped),
        "base_rate": labels.mean(),
        "positive_rate": decided.mean(),
        "calibration_bias": (scores - labels).mean(),
    }
    for name, value in expected.items():
        if np.isnan(value):
            assert found[name] is None
        else:
            assert found[name] == pytest.approx(value, abs=1e-9), name


def test_calibration_is_a_regression_on_the_score_and_an_error_of_tenths() -> None:
    rng = np.random.default_rng(9)
    scores = rng.uniform(size=4000)
    labels = (rng.uniform(size=4000) < 0.2 + 0.5 * scores).astype(float)
    found = measure_binary(labels, scores)
    slope = linear_model.LinearRegression().fit(scores[:, None], labels).coef_[0]
    assert found["calibration_slope"] == pytest.approx(slope)
    tenths = np.argsort(np.argsort(scores)) * 10 // 4000
    apart = [abs(labels[tenths == i].mean() - scores[tenths == i].mean()) for i in range(10)]
    assert found["ece"] == pytest.approx(np.mean(apart), abs=1e-3)
    assert measure_binary(labels, np.full(4000, 0.3))["calibration_slope"] is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=2, max_size=60))
def test_regression_metrics_agree_with_scikit_learn(rows) -> None:
    truth, predictions = (np.array(column, float).round(3) for column in zip(*rows, strict=True))
    found = measure_regression(truth, predictions)
    expected = {
        "mae": oracle.mean_absolute_error(truth, predictions),
        "rmse": oracle.root_mean_squared_error(truth, predictions),
        "bias": (predictions - truth).mean(),
    }
    if np.ptp(truth) > 1e-3 * np.abs(truth).max():
        expected["r2"] = oracle.r2_score(truth, predictions)
    if truth.any():
        expected["wape"] = np.abs(predictions - truth).sum() / np.abs(truth).sum()
        some = truth != 0
        expected["mape"] = oracle.mean_absolute_percentage_error(truth[some], predictions[some])
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name


def test_quantiles_of_the_error_are_within_their_bin() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=20_000)
    off = rng.exponential(size=20_000)
    found = measure_regression(truth, truth + off)
    assert found["median_error"] == pytest.approx(np.median(off), rel=0.01)
    assert found["p90_error"] == pytest.approx(np.quantile(off, 0.9), rel=0.01)
    still = measure_regression(np.ones(5), np.ones(5))
    assert still["median_error"] == pytest.approx(0, abs=1e-300)


@pytest.mark.parametrize("power", [1, 8])
def test_the_binned_auc_keeps_its_stated_error(power: int) -> None:
    """Also for scores that crowd near zero, as those of rare events do."""
    rng = np.random.default_rng(power)
    scores = rng.uniform(size=20_000) ** power
    labels = rng.uniform(size=20_000) < scores
    bins = make_score_bins(scores)
    assert not bins.is_exact and bins.n_bins <= 204
    counts = np.bincount(bins.find(scores) + bins.n_bins * labels, minlength=2 * bins.n_bins)
    negatives, positives = counts[: bins.n_bins].astype(float), counts[bins.n_bins :].astype(float)
    off = abs(auc_of_counts(negatives, positives) - oracle.roc_auc_score(labels, scores))
    assert off <= auc_error(negatives, positives) < 0.003
    assert off < 2e-4


def test_few_distinct_scores_are_not_binned_at_all() -> None:
    rng = np.random.default_rng(4)
    scores = rng.integers(0, 100, 5000) / 100
    labels = rng.uniform(size=5000) < scores
    bins = make_score_bins(scores)
    assert bins.is_exact
    counts = np.bincount(bins.find(scores) + bins.n_bins * labels, minlength=2 * bins.n_bins)
    auc = auc_of_counts(counts[: bins.n_bins].astype(float), counts[bins.n_bins :].astype(float))
    assert auc == pytest.approx(oracle.roc_auc_score(labels, scores), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=400), st.floats(0, 1))
def test_decisions_are_exact_for_any_threshold(scores, threshold) -> None:
    values = np.array(scores)
    bins = make_score_bins(values, threshold, bins=20)
    decided = bins.find(values) >= bins.first_positive
    assert (decided == (values >= threshold)).all()
    assert ScoreBins.from_json(bins.to_json()) == bins


def test_undefined_metrics_are_none_and_every_metric_has_a_direction() -> None:
    found = measure_binary(np.zeros(3), np.array([0.1, 0.2, 0.3]))
    assert found["auc"] is None and found["precision"] is None and found["recall"] is None
    assert set(found) == set(metrics_of(Task.BINARY))
    numbers = measure_regression(np.zeros(1), np.zeros(1))
    assert set(numbers) == set(metrics_of(Task.REGRESSION))
    assert numbers["r2"] is None and numbers["mape"] is None


def test_missing_predictions_are_refused_with_their_number() -> None:
    with pytest.raises(InvalidInput, match="2 of 3 scores are missing"):
        check_finite("scores", np.array([np.nan, 1.0, np.inf]))
