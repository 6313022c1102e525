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


def by_models(frame: pl.DataFrame, **more: object) -> list[Measurement]:
    spec = PerformanceSpec(
        Task.REGRESSION, "predicted", "minutes", ("mae <= 12", "bias.abs <= 12"), ("model",)
    )
    return measure_performance(frame, replace(spec, **more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def family(december: pl.DataFrame) -> pl.DataFrame:
    """Six models of 1,033 rows, or so; two are wrong by more than is allowed, one hardly asked."""
    number = pl.int_range(pl.len()) % 6
    model = pl.when(pl.int_range(pl.len()) < 30).then(pl.lit("rare 1")).otherwise(
        pl.format("m{} 1", number)
    )  # fmt: skip
    wrong = pl.when(number == 2).then(20.0).when(number == 4).then(30.0).otherwise(2.0)
    sign = pl.when(pl.int_range(pl.len()) // 6 % 2 == 0).then(1.0).otherwise(-1.0)
    return december.with_columns(model=model, predicted=pl.col("minutes") + wrong * sign)


def test_all_rows_count_and_the_models_that_break_a_check_are_named(family: pl.DataFrame) -> None:
    measured = by_models(family)
    found = by_subject(measured)
    assert found["mae"].n_rows == family.height
    check = found["mae <= 12"]
    assert check.verdict is Verdict.PASS, "of all rows"
    assert check.sentence.endswith(
        "Of 6 models 2 break the limit: m2 1, m4 1; 1 more has too few rows to judge."
    )
    assert check.detail["models"]["n_breaking"] == 2
    assert found["bias.abs <= 12"].sentence.endswith(
        "Of 6 models none surely breaks the limit; 1 more has too few rows to judge."
    )
    lines = [one for one in measured if one.kind is MeasurementKind.MODEL]
    assert [(one.subject, one.verdict, one.alarms) for one in lines] == [
        ("m2 1", Verdict.FAIL, False),
        ("m4 1", Verdict.FAIL, False),
    ]
    assert lines[1].sentence.startswith("mae 30.0")
    assert lines[1].sentence.endswith("31 days) breaks mae <= 12")
    assert set(found["mae"].detail["slices"]["model"]) == {*(f"m{n} 1" for n in range(6)), "rare 1"}


def test_a_check_of_the_worst_model_is_the_teams_own(family: pl.DataFrame) -> None:
    text = "mae.worst_slice(model) <= 12"
    found = by_subject(by_models(family, checks=(text,)))
    assert found[text].verdict is Verdict.FAIL
    assert found[text].alarms
    alone = by_subject(by_models(family.with_columns(model=pl.lit("m 1")), checks=(text,)))
    assert alone[text].verdict is Verdict.PASS
    assert "models" not in alone[text].detail


def test_of_hundreds_of_models_the_worst_are_kept(family: pl.DataFrame) -> None:
    many = family.with_columns(model=pl.format("m{} 1", pl.int_range(pl.len()) % 600))
    found = by_subject(by_models(many))
    assert len(found["mae"].detail["slices"]["model"]) <= 20
    assert "None of 600 models has enough rows" in found["mae <= 12"].sentence


def test_models_that_decide_at_different_thresholds(december: pl.DataFrame) -> None:
    checks = ("auc >= 0.6", "recall >= 0.1", "recall@0.35 >= 0.1")
    spec = replace(SPEC, checks=checks, no_threshold="they decide at 0.35 and 0.5")
    found = by_subject(measure_performance(december, spec))
    assert found["auc >= 0.6"].verdict is Verdict.PASS
    assert found["recall >= 0.1"].verdict is Verdict.INCONCLUSIVE
    assert found["recall >= 0.1"].sentence == (
        "recall >= 0.1: inconclusive; they decide at 0.35 and 0.5"
    )
    assert "recall" not in found
    assert "auc" in found
    assert "recall" in by_subject(measure_performance(december, replace(SPEC, checks=checks)))
