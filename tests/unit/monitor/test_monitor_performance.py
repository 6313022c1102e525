"""Performance of a window: coverage, metrics, checks; failed, errored and undecided apart."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.measure.evaluation.vocabulary import Task
from seamline.monitor.measurement import Measurement, MeasurementKind
from seamline.monitor.performance import PerformanceSpec, measure_performance

SPEC = PerformanceSpec(
    Task.BINARY, "score", "late", checks=("auc >= 0.6", "auc >= 0.95"), slices=("carrier",)
)


def by_subject(found: list[Measurement]) -> dict[str, Measurement]:
    return {one.subject: one for one in found}


def test_metrics_carry_intervals_and_checks_their_verdicts(december: pl.DataFrame) -> None:
    found = by_subject(measure_performance(december, SPEC))
    auc = found["auc"]
    assert auc.kind is MeasurementKind.PERFORMANCE
    assert auc.low < auc.value < auc.high
    assert auc.sentence.endswith("(6,200 rows, 31 days)")
    assert set(auc.detail["slices"]["carrier"]) == {"UA", "DL"}
    assert found["auc >= 0.6"].verdict is Verdict.PASS
    assert found["auc >= 0.95"].verdict is Verdict.FAIL
    assert found["auc >= 0.95"].check == "auc >= 0.95"


def test_rows_without_truth_are_counted_and_left_out(december: pl.DataFrame) -> None:
    late = pl.when(pl.int_range(pl.len()) % 4 > 0).then("late").alias("late")
    score = pl.when(pl.int_range(pl.len()) == 1).then(None).otherwise("score").alias("score")
    found = by_subject(measure_performance(december.with_columns(late, score), SPEC))
    assert found["truth"].value == pytest.approx(0.75)
    assert "4,650 of 6,200 predictions (75.0 %); 1 of them" in found["truth"].sentence
    assert found["auc"].n_rows == 4649


def test_before_any_truth_has_come_nothing_is_decided(december: pl.DataFrame) -> None:
    unknown = december.with_columns(late=pl.lit(None, pl.Boolean))
    found = measure_performance(unknown, SPEC)
    assert [one.verdict for one in found] == [Verdict.INCONCLUSIVE] * 3
    assert "no row of 6,200 has both" in found[1].sentence
    assert measure_performance(unknown.clear(), SPEC)[0].value == 0.0


def test_fewer_than_ten_days_are_inconclusive(december: pl.DataFrame) -> None:
    found = by_subject(measure_performance(december.head(1800), SPEC))
    assert found["auc >= 0.95"].verdict is Verdict.INCONCLUSIVE
    assert "9 days: no interval, 10 are needed" in found["auc"].sentence


def test_scores_that_are_no_probabilities_are_an_error_not_a_failure(
    december: pl.DataFrame,
) -> None:
    found = measure_performance(december.with_columns(pl.col("score") * 100), SPEC)
    assert [one.verdict for one in found] == [Verdict.PASS, Verdict.ERROR, Verdict.ERROR]
    assert "probabilities lie in 0..1" in found[1].sentence


def test_regression_with_a_baseline(december: pl.DataFrame) -> None:
    frame = december.with_columns(predicted=pl.col("minutes") + 2, usual=pl.lit(150.0))
    spec = PerformanceSpec(
        Task.REGRESSION, "predicted", "minutes", ("mae.vs(baseline) <= -5", "bias.abs <= 1")
    )
    found = by_subject(measure_performance(frame, replace(spec, baseline="usual")))
    assert found["mae"].value == pytest.approx(2.0)
    assert found["mae.vs(baseline) <= -5"].verdict is Verdict.PASS
    assert found["bias.abs <= 1"].verdict is Verdict.FAIL
    without = by_subject(measure_performance(frame, spec))
    assert without["mae.vs(baseline) <= -5"].verdict is Verdict.ERROR


def test_an_unknown_column_names_the_nearest(december: pl.DataFrame) -> None:
    with pytest.raises(InvalidInput, match="Did you mean score"):
        measure_performance(december, replace(SPEC, prediction="scores"))
