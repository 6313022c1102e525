"""Step 5: the numbers of an evaluation are those that anybody computes from the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn

KEYS = ("year", "month", "day", "carrier", "flight", "origin")


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("prove")


@pytest.fixture(scope="module")
def evaluations(world):
    found = {}
    for fact in world.facts("evaluation.recorded"):
        found.setdefault(fact["body"]["model"], fact["body"]["evaluation_id"])
    return {
        model: world.get(f"/api/v1/evaluations/{evaluation}") for model, evaluation in found.items()
    }


@pytest.fixture(scope="module")
def joined(world):
    """(flight of the CSV, predicted row) of August."""
    truth = {tuple(str(row[key]) for key in KEYS): row for row in world.csv(8)}
    rows = world.rows("predictions@1").iter_rows(named=True)
    return [(truth[tuple(str(row[key]) for key in KEYS)], row) for row in rows]


def metric(evaluation, name):
    return next(one for one in evaluation["metrics"] if one["metric"] == name)


def values(evaluation):
    return {one["metric"]: one["estimate"]["value"] for one in evaluation["metrics"]}


def test_classification_agrees_with_scikit_learn(world, evaluations, joined):
    known = [(flight, row) for flight, row in joined if flight["arr_delay"] not in ("", "NA")]
    late = np.array([float(flight["arr_delay"]) > 15 for flight, _ in known])
    score = np.array([row["score"] for _, row in known])
    said = np.array([row["label"] for _, row in known])
    found = values(evaluations["late-arrival"])
    assert found["auc"] == pytest.approx(sklearn.roc_auc_score(late, score), abs=2e-3)
    assert found["f1"] == pytest.approx(sklearn.f1_score(late, said), abs=2e-3)
    assert found["precision"] == pytest.approx(sklearn.precision_score(late, said), abs=2e-3)
    assert found["recall"] == pytest.approx(sklearn.recall_score(late, said), abs=2e-3)
    assert metric(evaluations["late-arrival"], "auc")["estimate"]["n_rows"] == len(known)


def test_regression_agrees_with_scikit_learn(evaluations, joined):
    known = [(flight, row) for flight, row in joined if flight["air_time"] not in ("", "NA")]
    minutes = np.array([float(flight["air_time"]) for flight, _ in known])
    predicted = np.array([row["prediction"] for _, row in known])
    found = values(evaluations["air-time"])
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(minutes, predicted), rel=1e-6)
    assert found["bias"] == pytest.approx((predicted - minutes).mean(), rel=1e-6)
    assert metric(evaluations["air-time"], "mae")["estimate"]["n_rows"] == len(known)


@pytest.mark.parametrize("model", ["late-arrival", "air-time"])
def test_each_number_carries_its_n_and_an_interval_over_days(evaluations, model):
    for one in evaluations[model]["metrics"]:
        estimate = one["estimate"]
        assert (estimate["n_blocks"], estimate["confidence"]) == (31, 0.95)
        assert estimate["n_rows"] > 28_000
        assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_the_interval_is_that_of_days_and_not_of_rows(evaluations, joined):
    """A bootstrap of our own over days agrees; one over rows would be three times too narrow."""
    errors: dict[str, list[float]] = {}
    for flight, row in joined:
        if flight["air_time"] not in ("", "NA"):
            error = abs(row["prediction"] - float(flight["air_time"]))
            errors.setdefault(flight["day"], []).append(error)
    sums = np.array([[sum(day), len(day)] for day in errors.values()])
    drawn = np.random.default_rng(7).integers(0, len(sums), (4000, len(sums)))
    means = sums[drawn].sum(axis=1)
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
    estimate = metric(evaluations["air-time"], "mae")["estimate"]
    width = high - low
    assert estimate["low"] == pytest.approx(low, abs=width / 4)
    assert estimate["high"] == pytest.approx(high, abs=width / 4)
    every = np.concatenate(list(errors.values()))
    of_rows = 2 * 1.96 * every.std() / len(every) ** 0.5
    assert estimate["high"] - estimate["low"] > 3 * of_rows


def test_per_hour_and_per_carrier(world, evaluations, joined):
    for model, name in (("late-arrival", "auc"), ("air-time", "mae")):
        slices = {
            one["column"]: one for one in evaluations[model]["slices"] if one["metric"] == name
        }
        assert set(slices) == {"hour", "carrier"}
        carriers = {bar["name"] for bar in slices["carrier"]["bars"]}
        assert {"UA", "B6", "DL", "EV", "AA"} <= carriers
    bars = {bar["name"]: bar["estimate"] for bar in slices["carrier"]["bars"]}
    delta = [
        abs(row["prediction"] - float(flight["air_time"]))
        for flight, row in joined
        if flight["carrier"] == "DL" and flight["air_time"] not in ("", "NA")
    ]
    assert bars["DL"]["n_rows"] == len(delta)
    assert bars["DL"]["value"] == pytest.approx(np.mean(delta), rel=1e-6)


def test_the_baselines_are_the_base_rate_and_the_routes_mean(world, evaluations, joined):
    """Learned on what the model was trained on, January to June."""
    routes: dict[tuple[str, str], list[float]] = {}
    for row in world.csv(*range(1, 7)):
        if row["air_time"] not in ("", "NA"):
            routes.setdefault((row["origin"], row["dest"]), []).append(float(row["air_time"]))
    every = np.mean([minutes for route in routes.values() for minutes in route])
    means = {route: np.mean(minutes) for route, minutes in routes.items()}
    errors = [
        abs(means.get((flight["origin"], flight["dest"]), every) - float(flight["air_time"]))
        for flight, _ in joined
        if flight["air_time"] not in ("", "NA")
    ]
    rival = metric(evaluations["air-time"], "mae")["rivals"]["baseline"]
    assert rival["estimate"]["value"] == pytest.approx(np.mean(errors), rel=1e-6)
    assert rival["difference"]["high"] < 0
    prior = metric(evaluations["late-arrival"], "auc")["rivals"]["baseline"]
    assert prior["estimate"]["value"] == pytest.approx(0.5)
    assert prior["difference"]["low"] > 0.1


def test_a_version_is_judged_only_by_a_run_that_used_it(world):
    said = world.refusal("evaluate", "air-time", "--run", world.demo.run_ids["air-time"])
    assert "air-time" in said
