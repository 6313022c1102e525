"""Evaluating: baselines, an incumbent, checks and the verdict."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.evaluate.baselines import make_baseline
from seamline.evaluate.evaluate import decide_verdict, evaluate_predictions
from seamline.evaluate.spec import EvaluationSpec
from seamline.measure.evaluation.vocabulary import Task

Scores = Callable[..., pl.DataFrame]
LATE = "arr_delay > 15"
KEYS = ("ds", "flight")


def test_a_good_model_passes_and_says_its_numbers(truth: pl.DataFrame, scores: Scores) -> None:
    spec = EvaluationSpec(
        KEYS, LATE, "score", slices=("hour", "dest"), checks=("auc >= 0.7", "brier <= 0.2")
    )
    result = evaluate_predictions(
        scores(truth), truth, spec, baseline=make_baseline(truth, LATE, ("prior",))
    )
    assert result.verdict is Verdict.PASS
    assert result.scorecard.task is Task.BINARY
    first = result.sentences[0]
    assert first.startswith("auc 0.") and first.endswith("(3,645 rows, 31 days)")
    assert any("against the baseline" in line for line in result.sentences)
    assert any("the mean label of 3,645 training rows" in line for line in result.sentences)
    assert any("75 rows have no label" in line for line in result.sentences)
    assert set(result.scorecard.slices["dest"]) == {"LAX", "BOS", "ORD"}


def test_a_bad_model_fails(truth: pl.DataFrame, scores: Scores) -> None:
    spec = EvaluationSpec(KEYS, LATE, "score", checks=("auc >= 0.7", "auc <= 1"))
    noisy = scores(truth).with_columns(score=1 - pl.col("score"))
    result = evaluate_predictions(noisy, truth, spec)
    assert [check.verdict for check in result.checks] == [Verdict.FAIL, Verdict.PASS]
    assert result.verdict is Verdict.FAIL


def test_fewer_than_ten_days_are_inconclusive(truth: pl.DataFrame, scores: Scores) -> None:
    week = truth.head(7 * 120)
    spec = EvaluationSpec(KEYS, LATE, "score", checks=("auc >= 0.5",))
    result = evaluate_predictions(scores(week), week, spec)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "no interval (823 rows, 7 days (10 are needed))" in result.sentences[0]


def test_against_the_incumbent_on_the_same_rows(truth: pl.DataFrame, scores: Scores) -> None:
    spec = EvaluationSpec(KEYS, LATE, "score", against=("auc.drop_vs(incumbent) <= 0",))
    better, worse = scores(truth), scores(truth, noise=2.0)
    alone = evaluate_predictions(better, truth, spec)
    assert alone.against == () and alone.verdict is Verdict.PASS
    assert any("not compared with an incumbent" in line for line in alone.sentences)
    won = evaluate_predictions(better, truth, spec, incumbent_predictions=worse.reverse())
    assert [check.verdict for check in won.against] == [Verdict.PASS]
    lost = evaluate_predictions(worse, truth, spec, incumbent_predictions=better)
    assert lost.verdict is Verdict.FAIL
    assert lost.against[0].value == pytest.approx(won.against[0].value * -1)
    # An incumbent that predicts the very same is no better and no worse.
    same = evaluate_predictions(better, truth, spec, incumbent_predictions=better)
    assert same.scorecard.differences["incumbent"]["auc"].value == 0.0


def test_other_rows_than_the_incumbent_are_refused(truth: pl.DataFrame, scores: Scores) -> None:
    spec = EvaluationSpec(KEYS, LATE, "score")
    ours, theirs = scores(truth).slice(5), scores(truth).head(-2)
    with pytest.raises(InvalidInput, match="2 only by the candidate, 5 only by the incumbent"):
        evaluate_predictions(ours, truth, spec, incumbent_predictions=theirs)


def test_regression_against_the_mean_by_destination(truth: pl.DataFrame) -> None:
    spec = EvaluationSpec(
        KEYS,
        "air_time",
        "air_time",
        baseline=("dest",),
        checks=("mae.vs(baseline) <= -1", "bias.abs <= 5"),
    )
    predictions = truth.select("ds", "flight", pl.col("air_time") + 3)
    training = truth.filter(pl.col("dest") != "ORD")
    baseline = make_baseline(training, "air_time", spec.baseline)
    result = evaluate_predictions(predictions, truth, spec, baseline=baseline)
    assert result.scorecard.task is Task.REGRESSION
    assert result.scorecard.overall["mae"].value == pytest.approx(3.0)
    assert result.verdict is Verdict.PASS
    n_unseen = (truth["dest"] == "ORD").sum()
    assert any(f"{n_unseen:,} of 3,720 rows get the overall" in s for s in result.sentences)
    by_hand = (
        truth.join(
            training.group_by("dest").agg(pl.col("air_time").mean().alias("m")), "dest", "left"
        )
        .with_columns(pl.col("m").fill_null(training["air_time"].mean()))
        .select((pl.col("air_time") - pl.col("m")).abs().mean())
        .item()
    )
    assert result.scorecard.rivals["baseline"]["mae"].value == pytest.approx(by_hand)


def test_a_baseline_column_that_the_rows_lack_is_named(truth: pl.DataFrame) -> None:
    baseline = make_baseline(truth, "air_time", ["dest"])
    with pytest.raises(InvalidInput, match="no column 'dest'"):
        baseline.predict(truth.drop("dest"))
    with pytest.raises(InvalidInput, match="Did you mean dest"):
        make_baseline(truth, "air_time", ["dst"])
    with pytest.raises(InvalidInput, match="None of 75 training rows"):
        make_baseline(truth.filter(pl.col("arr_delay").is_null()), LATE)


def test_settings_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no keys"):
        EvaluationSpec((), LATE, "score")
    with pytest.raises(InvalidInput, match=r"'hours' is not one of the slices\. Did you mean hour"):
        EvaluationSpec(KEYS, LATE, "s", slices=("hour",), checks=("auc.worst_slice(hours) > 0",))
    with pytest.raises(InvalidInput, match="does not compare with the incumbent"):
        EvaluationSpec(KEYS, LATE, "score", against=("auc >= 0.7",))
    with pytest.raises(InvalidInput, match="Did you mean auc"):
        EvaluationSpec(KEYS, LATE, "score", checks=("auk >= 0.7",))
    with pytest.raises(InvalidInput, match="no threshold"):
        EvaluationSpec(KEYS, LATE, "score", kind=Task.REGRESSION, threshold=0.2)
    with pytest.raises(InvalidInput, match=r"no setting 'slcies'\. Did you mean slices"):
        EvaluationSpec.from_json({"slcies": []})


def test_spec_survives_json() -> None:
    spec = EvaluationSpec(KEYS, LATE, "score", Task.BINARY, 0.3, ("hour",), checks=("auc > 0.5",))
    assert EvaluationSpec.from_json(spec.to_json()) == spec


def test_the_worst_check_is_the_verdict() -> None:
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.ERROR]
    for n, worst in enumerate(order):
        assert decide_verdict(order[: n + 1]) is worst
