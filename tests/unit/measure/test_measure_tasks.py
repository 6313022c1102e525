"""Several classes, rankings, forecasts: every metric against an oracle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from seamline.domain.errors import InvalidInput
from seamline.measure.evaluation.evaluate import evaluate_binary
from seamline.measure.evaluation.evaluate_forecasting import Forecast, evaluate_forecasting
from seamline.measure.evaluation.evaluate_multiclass import Classified, evaluate_multiclass
from seamline.measure.evaluation.evaluate_ranking import evaluate_ranking
from seamline.measure.evaluation.metrics.ranking import measure_queries
from seamline.measure.evaluation.own import OwnMetric
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.vocabulary import Task, base_of, metrics_of

N = 1200
DAYS = np.repeat(np.arange(20), N // 20)


def _classes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    chance = rng.dirichlet([1.0, 2.0, 0.5], N)
    truth = (rng.uniform(size=(N, 1)) > chance.cumsum(1)).sum(1)
    return np.asarray(["a", "b", "c"])[truth], chance


def test_metrics_of_several_classes_are_scikit_learns() -> None:
    truth, chance = _classes(1)
    scores = dict(zip("abc", chance.T, strict=True))
    card = evaluate_multiclass(truth, Classified(scores=scores), DAYS)
    decided = np.asarray(["a", "b", "c"])[chance.argmax(1)]
    expected = {
        "accuracy": oracle.accuracy_score(truth, decided),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, decided),
        "mcc": oracle.matthews_corrcoef(truth, decided),
        "macro_f1": oracle.f1_score(truth, decided, average="macro"),
        "weighted_f1": oracle.f1_score(truth, decided, average="weighted"),
        "log_loss": oracle.log_loss(truth, chance, labels=["a", "b", "c"]),
        "brier": ((chance - (truth[:, None] == np.asarray(["a", "b", "c"]))) ** 2).sum(1).mean(),
        "recall[b]": oracle.recall_score(truth, decided, labels=["b"], average=None)[0],
        "precision[c]": oracle.precision_score(truth, decided, labels=["c"], average=None)[0],
        "f1[a]": oracle.f1_score(truth, decided, labels=["a"], average=None)[0],
    }
    for name, value in expected.items():
        assert card.overall[name].value == pytest.approx(value, abs=1e-9), name
        assert card.overall[name].low < value < card.overall[name].high
    area = oracle.roc_auc_score(truth, chance, multi_class="ovr", labels=["a", "b", "c"])
    assert card.overall["auc"].value == pytest.approx(area, abs=2e-3)
    known = set(metrics_of(Task.MULTICLASS))
    assert {base_of(name) for name in card.overall} == known
    assert Scorecard.from_json(json.loads(json.dumps(card.to_json(), allow_nan=False))) == card


def test_classes_alone_are_measured_and_rivals_on_what_both_have() -> None:
    truth, chance = _classes(2)
    guess = np.where(np.random.default_rng(0).uniform(size=N) < 0.7, truth, "b")
    shares = {"a": 0.2, "b": 0.6, "c": 0.2}
    card = evaluate_multiclass(
        truth,
        Classified(guess),
        DAYS,
        {"half": DAYS % 2},
        baseline=shares,
        incumbent=Classified(scores=dict(zip("abc", chance.T, strict=True))),
    )
    assert "log_loss" not in card.overall and "log_loss" not in card.differences["incumbent"]
    own, rival = card.overall["macro_f1"].value, card.rivals["incumbent"]["macro_f1"].value
    assert card.differences["incumbent"]["macro_f1"].value == pytest.approx(own - rival)
    assert card.differences["baseline"]["accuracy"].low > 0
    half = card.slice_differences["incumbent"]["half"]["1"]["accuracy"]
    odd = DAYS % 2 == 1
    decided = np.asarray(["a", "b", "c"])[chance.argmax(1)]
    apart = (guess == truth)[odd].mean() - (decided == truth)[odd].mean()
    assert half.value == pytest.approx(apart)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), min_size=2, max_size=12),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 8),
)
def test_each_query_is_measured_as_scikit_learn_does(queries, depth) -> None:
    rng = np.random.default_rng(0)
    query = np.repeat(np.arange(len(queries)), [len(one) for one in queries])
    gain = np.array([float(g) for one in queries for g, _ in one])
    score = np.array([float(s) for one in queries for _, s in one]) + rng.uniform(0, 0.5, len(gain))
    mixed = rng.permutation(len(gain))
    found = measure_queries(query[mixed], gain[mixed], score[mixed], [depth])
    for i in range(len(queries)):
        ours = query == i
        relevant = gain[ours] > 0
        order = np.argsort(-score[ours])
        assert found[f"precision@{depth}"][i] == pytest.approx(
            relevant[order][:depth].sum() / depth
        )
        if not relevant.any():
            assert all(np.isnan(found[name][i]) for name in ("map", "mrr", f"ndcg@{depth}"))
            continue
        ndcg = oracle.ndcg_score([gain[ours]], [score[ours]], k=depth)
        assert found[f"ndcg@{depth}"][i] == pytest.approx(ndcg)
        average = oracle.average_precision_score(relevant, score[ours])
        assert found["map"][i] == pytest.approx(average)
        assert found["mrr"][i] == pytest.approx(1 / (np.flatnonzero(relevant[order])[0] + 1))
        recall = relevant[order][:depth].sum() / relevant.sum()
        assert found[f"recall@{depth}"][i] == pytest.approx(recall)


def test_rankings_resample_queries_and_slice_whole_ones() -> None:
    rng = np.random.default_rng(4)
    queries = np.repeat(np.arange(600), 8)
    gain = (rng.uniform(size=4800) < 0.3).astype(float)
    good, bad = gain + rng.normal(0, 0.7, 4800), rng.normal(size=4800)
    country = np.where(queries % 2, "se", "no")
    card = evaluate_ranking(
        gain, good, queries, None, {"country": country}, incumbent_scores=bad, depths=(3,)
    )
    assert (card.n_rows, card.n_blocks) == (600, 600)
    assert card.differences["incumbent"]["ndcg@3"].low > 0
    assert card.slices["country"]["se"]["map"].n_rows == 300
    assert {base_of(name) for name in card.overall} == set(metrics_of(Task.RANKING))
    constant = evaluate_ranking(gain, np.ones(4800), queries, depths=(3,))
    assert constant.overall["map"].value < card.rivals["incumbent"]["map"].value
    with pytest.raises(InvalidInput, match="country: query '0' holds both 'no' and 'se'"):
        evaluate_ranking(gain, good, queries, None, {"country": np.tile(["no", "se"], 2400)})


def test_metrics_of_forecasts_are_scikit_learns_and_the_textbooks() -> None:
    rng = np.random.default_rng(5)
    truth = rng.gamma(2, 10, N)
    point, low, high = truth + rng.normal(0, 4, N), truth * 0.5 - 3, truth * 1.2
    scale = np.full(N, 5.0)
    card = evaluate_forecasting(
        truth, Forecast(point, {0.9: high, 0.1: low}), DAYS, {"horizon": DAYS % 3}, scale=scale
    )
    error = np.abs(point - truth)
    expected = {
        "mae": oracle.mean_absolute_error(truth, point),
        "rmse": oracle.root_mean_squared_error(truth, point),
        "mape": oracle.mean_absolute_percentage_error(truth, point),
        "wape": error.sum() / truth.sum(),
        "smape": (2 * error / (truth + np.abs(point))).mean(),
        "mase": error.mean() / 5,
        "bias": (point - truth).mean(),
        "pinball[0.9]": oracle.mean_pinball_loss(truth, high, alpha=0.9),
        "pinball[0.1]": oracle.mean_pinball_loss(truth, low, alpha=0.1),
        "coverage[0.9]": (truth <= high).mean(),
        "coverage": ((low <= truth) & (truth <= high)).mean(),
    }
    for name, value in expected.items():
        assert card.overall[name].value == pytest.approx(value), name
    mean = (card.overall["pinball[0.9]"].value + card.overall["pinball[0.1]"].value) / 2
    assert card.overall["pinball"].value == pytest.approx(mean)
    assert {base_of(name) for name in card.overall} == set(metrics_of(Task.FORECASTING))
    part = DAYS % 3 == 2
    assert card.slices["horizon"]["2"]["mase"].value == pytest.approx(error[part].mean() / 5)


def test_the_teams_own_metrics_are_metrics_like_any_other() -> None:
    rng = np.random.default_rng(6)
    labels, scores = rng.integers(0, 2, N), rng.uniform(size=N)
    cost, old = rng.exponential(3, N), rng.exponential(4, N)
    own = {"cost": OwnMetric({"candidate": cost, "incumbent": old}, higher_is_better=False)}
    card = evaluate_binary(
        labels, scores, DAYS, {"half": DAYS % 2}, incumbent_scores=scores, baseline=0.5, own=own
    )
    assert card.overall["cost"].value == pytest.approx(cost.mean())
    assert card.differences["incumbent"]["cost"].value == pytest.approx(cost.mean() - old.mean())
    assert "cost" not in card.rivals["baseline"]
    assert card.slices["half"]["0"]["cost"].value == pytest.approx(cost[DAYS % 2 == 0].mean())
    assert card.own_metrics == {"cost": False}
    with pytest.raises(InvalidInput, match="'auc' is a metric already"):
        evaluate_binary(labels, scores, DAYS, own={"auc": own["cost"]})


def test_what_is_no_prediction_of_classes_or_quantiles_is_refused() -> None:
    truth, chance = _classes(3)
    scores = dict(zip("abc", chance.T, strict=True))
    with pytest.raises(InvalidInput, match="1,121 rows do not add up to 1"):
        evaluate_multiclass(truth, Classified(scores={**scores, "c": chance[:, 2] * 0}), DAYS)
    with pytest.raises(InvalidInput, match="class 'c', which has no scores"):
        pair = {"a": chance[:, 0], "b": 1 - chance[:, 0]}
        evaluate_multiclass(truth, Classified(scores=pair), DAYS)
    with pytest.raises(InvalidInput, match="neither classes nor scores"):
        evaluate_multiclass(truth, Classified(), DAYS)
    number = np.arange(float(N))
    with pytest.raises(InvalidInput, match=r"quantile 0.1 lies above 0.9 in 1,200 of 1,200 rows"):
        crossed = Forecast(number, {0.1: number + 1, 0.9: number})
        evaluate_forecasting(number, crossed, DAYS)
    with pytest.raises(InvalidInput, match="scale of zero"):
        evaluate_forecasting(number, Forecast(number), DAYS, scale=np.zeros(N))
