"""Each task from predictions and truth to checks: classes, forecasts, rankings, own metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.evaluate.baselines import Rule, make_baseline
from seamline.evaluate.business import BusinessMetric
from seamline.evaluate.derive import By, Derived
from seamline.evaluate.evaluate import evaluate_predictions
from seamline.evaluate.spec import ROWS, EvaluationSpec
from seamline.measure.evaluation.vocabulary import Task

Scores = Callable[..., pl.DataFrame]
KEYS = ("ds", "flight")
LATE = "arr_delay > 15"


def test_one_of_several_classes(truth: pl.DataFrame) -> None:
    label = "CASE WHEN air_time > 200 THEN 'long' WHEN air_time > 80 THEN 'middle' ELSE 'short' END"
    said = pl.when(pl.col("dest") == "LAX").then(pl.lit("long")).otherwise(pl.lit("middle"))
    spec = EvaluationSpec(
        KEYS,
        label,
        "said",
        Task.MULTICLASS,
        slices=("dest",),
        checks=("accuracy >= 0.5", "recall[short] <= 0.1", "accuracy.vs(baseline) > 0.1"),
    )
    predictions = truth.select("ds", "flight", said.alias("said"))
    baseline = make_baseline(truth, label, task=Task.MULTICLASS)
    found = evaluate_predictions(predictions, truth, spec, baseline=baseline)
    assert [one.verdict for one in found.checks] == [Verdict.PASS] * 3, found.sentences
    assert any("the shares of 3 classes" in one for one in found.sentences)


def test_forecasts_are_measured_by_the_change_of_their_series(truth: pl.DataFrame) -> None:
    days = [date(2013, 7, 1) + timedelta(days=n) for n in range(60)]
    rows = pl.DataFrame(
        {
            "ds": [day for day in days for _ in range(20)],
            "store": list(range(20)) * 60,
            "sold": [float((n % 7) * 10 + store) for n in range(60) for store in range(20)],
        }
    )
    history, later = rows.filter(pl.col("ds") < days[30]), rows.filter(pl.col("ds") >= days[30])
    spec = EvaluationSpec(
        ("ds", "store"),
        "sold",
        "forecast",
        Task.FORECASTING,
        series=("store",),
        quantiles={"0.9": "q90"},
        checks=("mase <= 0.5", "bias.abs <= 2", "pinball[0.9] <= 2"),
    )
    made = later.select("ds", "store", forecast=pl.col("sold") + 1, q90=pl.col("sold") + 5.0)
    baseline = make_baseline(history, "sold", task=Task.FORECASTING, series=("store",))
    found = evaluate_predictions(made, later, spec, baseline=baseline)
    change = np.abs(np.diff([(n % 7) * 10 for n in range(30)])).mean()
    assert found.scorecard.overall["mase"].value == pytest.approx(1 / change)
    assert found.verdict is Verdict.PASS, found.sentences
    strange = later.with_columns(pl.col("store") + 100)
    with pytest.raises(InvalidInput, match="600 of 600 rows are of a series that has no whole"):
        evaluate_predictions(
            made.with_columns(pl.col("store") + 100), strange, spec, baseline=baseline
        )


def test_rankings_are_judged_per_query() -> None:
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "ds": [date(2013, 7, 1)] * 3_000,
            "id": range(3_000),
            "session": [n // 10 for n in range(3_000)],
            "clicked": [int(n % 10 == 0) for n in range(3_000)],
        }
    )
    score = rows["clicked"].to_numpy() + rng.normal(0, 0.5, 3_000)
    spec = EvaluationSpec(
        ("id",),
        "clicked",
        "score",
        Task.RANKING,
        block=ROWS,
        query="session",
        checks=("ndcg@3 >= 0.5", "mrr >= 0.5"),
    )
    made = rows.select("id").with_columns(pl.Series("score", score))
    found = evaluate_predictions(made, rows, spec)
    assert found.verdict is Verdict.PASS, found.sentences
    assert found.scorecard.overall["ndcg@3"].n_rows == 300


def test_what_a_row_costs_is_a_metric_like_any_other(truth: pl.DataFrame, scores: Scores) -> None:
    cost = "CASE WHEN decision = 1 AND label = 0 THEN 5 WHEN decision = 0 AND label = 1 THEN 20 \
ELSE 0 END"
    spec = EvaluationSpec(
        KEYS,
        LATE,
        "score",
        threshold=0.4,
        slices=("dest",),
        business={"cost": BusinessMetric(cost, higher_is_better=False)},
        checks=("cost <= 10", "cost.vs(baseline) < 0", "cost.worst_slice(dest) <= 12"),
        against=("cost.drop_vs(incumbent) <= 0",),
    )
    ours, theirs = scores(truth), scores(truth, noise=3.0)
    found = evaluate_predictions(
        ours,
        truth,
        spec,
        incumbent_predictions=theirs,
        baseline=make_baseline(truth, LATE),
    )
    assert [one.verdict for one in (*found.checks, *found.against)] == [Verdict.PASS] * 4
    used = truth.join(ours, on=KEYS).drop_nulls("arr_delay")
    called, late = used["score"] >= 0.4, used["arr_delay"] > 15
    by_hand = (5 * (called & ~late).sum() + 20 * (~called & late).sum()) / used.height
    assert found.scorecard.overall["cost"].value == pytest.approx(by_hand)


def test_a_cost_that_a_row_lacks_is_told(truth: pl.DataFrame, scores: Scores) -> None:
    spec = EvaluationSpec(
        KEYS, LATE, "score", business={"cost": BusinessMetric("label / (hour - 10)")}
    )
    with pytest.raises(InvalidInput, match=r"Business metric cost .* no finite value in \d+ of"):
        evaluate_predictions(scores(truth), truth, spec)
    with pytest.raises(InvalidInput, match="cannot be called 'auc'"):
        EvaluationSpec(KEYS, LATE, "score", business={"auc": BusinessMetric("label")})


def test_the_rule_that_was_there_before(truth: pl.DataFrame, scores: Scores) -> None:
    spec = EvaluationSpec(KEYS, LATE, "score", checks=("auc.vs(baseline) > 0",))
    found = evaluate_predictions(scores(truth), truth, spec, baseline=Rule("hour >= 17"))
    assert found.verdict is Verdict.PASS
    assert "baseline: the rule hour >= 17" in found.sentences
    constant = evaluate_predictions(scores(truth), truth, spec, baseline=Rule("0.3"))
    assert constant.scorecard.rivals["baseline"]["auc"].value == pytest.approx(0.5)
    with pytest.raises(InvalidInput, match="Did you mean hour"):
        evaluate_predictions(scores(truth), truth, spec, baseline=Rule("houre >= 17"))


def test_a_search_finds_the_hour_that_is_broken(truth: pl.DataFrame, scores: Scores) -> None:
    noon = pl.col("hour") == 12
    ours = scores(truth).join(truth.select(*KEYS, "hour", "dest"), on=KEYS)
    broken = ours.with_columns(score=pl.when(noon).then(0.95).otherwise("score")).drop("hour")
    spec = EvaluationSpec(KEYS, LATE, "score", slices=("hour",), min_rows=50, search=True)
    card = evaluate_predictions(broken, truth, spec, incumbent_predictions=scores(truth)).scorecard
    found = {(one.slice, one.value, one.metric, str(one.against)) for one in card.worst}
    assert ("hour", "12", "brier", "incumbent") in found
    assert ("hour", "12", "calibration_bias", "overall") in found
    assert not [one for one in card.worst if "arr_delay" in one.slice]
    assert card.n_searched > 19 + 3
    with pytest.raises(InvalidInput, match="not searched for in a ranking"):
        EvaluationSpec(KEYS, LATE, "score", Task.RANKING, query="dest", search=True)


def test_independent_rows_have_narrower_intervals(truth: pl.DataFrame, scores: Scores) -> None:
    rng = np.random.default_rng(5)
    mood = rng.normal(0, 15, 31)[(truth["ds"] - truth["ds"].min()).dt.total_days().to_numpy()]
    moody = truth.with_columns(pl.col("arr_delay") + pl.Series(mood))
    widths = []
    for block in ("ds", ROWS):
        spec = EvaluationSpec(KEYS, LATE, "score", block=block)
        brier = evaluate_predictions(scores(moody), moody, spec).scorecard.overall["brier"]
        widths.append((brier.high or 0.0) - (brier.low or 0.0))
    assert widths[0] > 1.5 * widths[1]


def test_specs_with_everything_survive_json() -> None:
    spec = EvaluationSpec(
        KEYS,
        LATE,
        "score",
        slices=("weekday", "hour*dest"),
        min_rows=50,
        derived={"weekday": Derived("ds", By.WEEKDAY)},
        search=True,
        business={"cost": BusinessMetric("label", False)},
        rule="0.2",
        checks=("cost.worst_slice(weekday) <= 1", "recall@0.35 >= 0.2"),
    )
    assert EvaluationSpec.from_json(spec.to_json()) == spec
    plain = EvaluationSpec(KEYS, LATE, "score").to_json()
    assert not {"derived", "search", "business", "rule", "min_rows"} & plain.keys()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"slices": ("a*a",)}, "no pair of two"),
        ({"slices": ("a*b*c",)}, "no pair of two"),
        ({"scores": {"a": "p_a"}}, "scores belongs to a multiclass task"),
        ({"kind": Task.RANKING}, "judged per query, and none is named"),
        ({"kind": Task.FORECASTING, "quantiles": {"90": "q"}}, "'90' is no quantile"),
        ({"min_rows": 0}, "has to be 1 or more"),
        ({"derived": {"a b": Derived("x", By.BINS)}}, "cannot be called 'a b'"),
        ({"checks": ("ndcg@5 >= 0.1", "mae <= 1")}, "No task has both ndcg@5 and mae"),
        ({"threshold": 7.0}, "between 0 and 1, not at 7"),
        ({"kind": Task.FORECASTING, "season": 0}, "A season has 1 row or more, not 0"),
        ({"keys": ("ds", "ds")}, "A key stands twice among ds, ds"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    truth: pl.DataFrame, scores: Scores, more: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        evaluate_predictions(
            scores(truth),
            truth,
            EvaluationSpec(**{"keys": KEYS, "label": LATE, "prediction": "score"} | more),  # type: ignore[arg-type]
        )
