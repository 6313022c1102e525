"""Metrics against scikit-learn, cells against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from seamline.domain.errors import InvalidInput
from seamline.measure.metrics import (
    ScoreBins,
    auc_error,
    auc_of_counts,
    check_finite,
    make_score_bins,
    measure_binary,
    measure_regression,
)
from seamline.measure.vocabulary import HIGHER_IS_BETTER

labelled = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1), st.integers(1, 5)), min_size=2, max_size=80
).filter(lambda rows: len({label for label, _, _ in rows}) == 2)


@settings(max_examples=100, deadline=None)
@given(labelled, st.floats(0.05, 0.95))
def test_binary_metrics_agree_with_scikit_learn(rows, threshold) -> None:
    labels, scores, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    decided = scores >= threshold
    found = measure_binary(labels, scores, threshold, weights)
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    kwargs = {"sample_weight": weights}
    expected = {
        "auc": oracle.roc_auc_score(labels, scores, **kwargs),
        "f1": oracle.f1_score(labels, decided, zero_division=0, **kwargs),
        "precision": oracle.precision_score(labels, decided, zero_division=np.nan, **kwargs),
        "recall": oracle.recall_score(labels, decided, **kwargs),
        "accuracy": oracle.accuracy_score(labels, decided, **kwargs),
        "brier": oracle.brier_score_loss(labels, scores, **kwargs),
        "log_loss": oracle.log_loss(labels, clipped, **kwargs),
        "base_rate": np.average(labels, weights=weights),
    }
    for name, value in expected.items():
        if np.isnan(value):
            assert found[name] is None
        else:
            assert found[name] == pytest.approx(value, abs=1e-9), name


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2, st.integers(1, 5)), min_size=1))
def test_regression_metrics_agree_with_scikit_learn(rows) -> None:
    truth, predictions, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    found = measure_regression(truth, predictions, weights)
    kwargs = {"sample_weight": weights}
    assert found["mae"] == pytest.approx(
        oracle.mean_absolute_error(truth, predictions, **kwargs), rel=1e-9, abs=1e-9
    )
    assert found["rmse"] == pytest.approx(
        oracle.root_mean_squared_error(truth, predictions, **kwargs), rel=1e-9, abs=1e-9
    )
    assert found["bias"] == pytest.approx(
        np.average(predictions - truth, weights=weights), rel=1e-9, abs=1e-6
    )


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
    names = set(found) | set(measure_regression(np.zeros(1), np.zeros(1)))
    assert names == set(HIGHER_IS_BETTER)


def test_missing_predictions_are_refused_with_their_number() -> None:
    with pytest.raises(InvalidInput, match="2 of 3 scores are missing"):
        check_finite("scores", np.array([np.nan, 1.0, np.inf]))
