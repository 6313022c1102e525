"""Scorecards: slices, rivals, cells, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score, mean_absolute_error, roc_auc_score

from seamline.domain.errors import InvalidInput, NotFound
from seamline.measure.evaluation.evaluate import evaluate_binary, evaluate_regression
from seamline.measure.evaluation.metrics.bins import auc_of_counts
from seamline.measure.evaluation.score import Settings
from seamline.measure.evaluation.scorecard import Scorecard

N = 12_000


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    hour = rng.integers(5, 23, N)
    day = rng.integers(1, 32, N)
    chance = 1 / (1 + np.exp(-((hour - 14) / 4 + rng.normal(0, 0.4, 32)[day])))
    return pl.DataFrame(
        {
            "day": [f"2013-07-{d:02d}" for d in day],
            "hour": hour,
            "late": (rng.uniform(size=N) < chance).astype(int),
            "score": np.clip(chance + rng.normal(0, 0.05, N), 0, 1),
            "old": np.clip(chance + rng.normal(0, 0.3, N), 0, 1),
            "carrier": np.where(rng.uniform(size=N) < 0.005, "rare", "UA"),
        }
    )


@pytest.fixture(scope="module")
def card(flights: pl.DataFrame) -> Scorecard:
    return evaluate_binary(
        flights["late"],
        flights["score"],
        flights["day"],
        {"hour": flights["hour"], "carrier": flights["carrier"]},
        incumbent_scores=flights["old"],
        baseline=float(flights["late"].mean()),
        cell_slices=["hour"],
    )


def test_overall_and_slices_agree_with_brute_force(card: Scorecard, flights: pl.DataFrame) -> None:
    auc = roc_auc_score(flights["late"], flights["score"])
    assert card.overall["auc"].value == pytest.approx(auc, abs=card.auc_error)
    assert card.auc_error < 0.003
    assert card.overall["auc"].low < auc < card.overall["auc"].high
    assert (card.n_rows, card.n_blocks) == (N, 31)
    assert (card.first_block, card.last_block) == ("2013-07-01", "2013-07-31")
    assert set(card.slices["hour"]) == {str(hour) for hour in range(5, 23)}
    for hour in (6, 12, 20):
        part = flights.filter(pl.col("hour") == hour)
        found = card.slices["hour"][str(hour)]
        assert found["auc"].n_rows == part.height
        assert found["f1"].value == pytest.approx(f1_score(part["late"], part["score"] >= 0.5))
        assert found["auc"].value == pytest.approx(
            roc_auc_score(part["late"], part["score"]), abs=0.01
        )


def test_small_slices_have_values_without_intervals(card: Scorecard) -> None:
    rare = card.slices["carrier"]["rare"]["accuracy"]
    assert rare.n_rows < 200 and rare.value is not None and not rare.is_conclusive
    assert card.slices["carrier"]["UA"]["accuracy"].is_conclusive


def test_rivals_are_compared_on_the_same_days(card: Scorecard, flights: pl.DataFrame) -> None:
    gap = card.differences["incumbent"]["auc"]
    old = roc_auc_score(flights["late"], flights["old"])
    assert gap.value == pytest.approx(card.overall["auc"].value - old, abs=0.003)
    assert 0 < gap.low < gap.high
    assert gap.high - gap.low < card.overall["auc"].high - card.overall["auc"].low
    assert card.rivals["baseline"]["auc"].value == 0.5
    assert card.differences["baseline"]["brier"].high < 0


def test_the_same_scores_as_the_incumbent_differ_by_exactly_zero(flights: pl.DataFrame) -> None:
    late, score = flights["late"], flights["score"]
    same = evaluate_binary(late, score, flights["day"], incumbent_scores=score)
    assert {(e.low, e.value, e.high) for e in same.differences["incumbent"].values()} == {(0, 0, 0)}


def test_cells_hold_every_row_once_per_slice_column(card: Scorecard, flights: pl.DataFrame) -> None:
    cells = card.cells
    sums = cells.group_by("slice", "contender").agg(pl.col("rows").sum()).rows()
    contenders = ("baseline", "candidate", "incumbent")
    assert sorted(sums) == [(slice, who, N) for slice in ("", "hour") for who in contenders]
    hour = cells.filter(slice="hour", value="12", contender="candidate").group_by(
        "label", "score_bin"
    )
    bins = card.bins["candidate"]
    counts = np.zeros((2, bins.n_bins))
    for label, score_bin, rows in hour.agg(pl.col("rows").sum()).iter_rows():
        counts[label, score_bin] = rows
    assert auc_of_counts(counts[0], counts[1]) == card.slices["hour"]["12"]["auc"].value
    late = flights.filter(late=1, day="2013-07-09").height
    assert (
        cells.filter(slice="", contender="incumbent", block="2013-07-09", label=1)["rows"].sum()
        == late
    )


def test_bins_of_an_earlier_scorecard_are_kept(card: Scorecard, flights: pl.DataFrame) -> None:
    part = flights.head(3000)
    window = evaluate_binary(part["late"], part["score"], part["day"], bins=card.bins["candidate"])
    assert window.bins["candidate"] == card.bins["candidate"]
    assert window.overall["auc"].value == pytest.approx(
        roc_auc_score(part["late"], part["score"]), abs=window.auc_error
    )


def test_scorecards_survive_json_without_a_nan(card: Scorecard, flights: pl.DataFrame) -> None:
    one_class = evaluate_binary(np.zeros(400), np.full(400, 0.2), np.repeat(np.arange(20), 20))
    assert one_class.overall["auc"].value is None
    truth = flights["hour"].cast(pl.Float64)
    regression = evaluate_regression(truth, truth + 1, flights["day"], baseline=0.0)
    for each in (card, one_class, regression):
        text = json.dumps(each.to_json(), allow_nan=False)
        assert Scorecard.from_json(json.loads(text)) == each


def test_regression_is_measured_per_slice_and_against_rivals(flights: pl.DataFrame) -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(0, 10, N)
    ours, old = truth + rng.normal(0, 2, N), truth + rng.normal(1, 4, N)
    card = evaluate_regression(
        truth, ours, flights["day"], {"hour": flights["hour"]}, incumbent=old, baseline=0.0
    )
    assert card.overall["mae"].value == pytest.approx(mean_absolute_error(truth, ours))
    assert card.differences["incumbent"]["mae"].high < 0
    assert card.differences["incumbent"]["bias"].value == pytest.approx(-1, abs=0.15)
    at_12 = (flights["hour"] == 12).to_numpy()
    assert card.slices["hour"]["12"]["rmse"].value == pytest.approx(
        ((ours - truth)[at_12] ** 2).mean() ** 0.5
    )


def test_what_cannot_be_measured_is_refused() -> None:
    days = np.repeat(np.arange(10), 2)
    labels, scores = np.tile([0, 1], 10), np.full(20, 0.5)
    with pytest.raises(InvalidInput, match="0 or 1"):
        evaluate_binary(labels + 1, scores, days)
    with pytest.raises(InvalidInput, match="candidate scores reach from 50 to 50"):
        evaluate_binary(labels, scores * 100, days)
    with pytest.raises(InvalidInput, match="20 of 20 candidate scores are missing"):
        evaluate_binary(labels, scores * np.nan, days)
    with pytest.raises(InvalidInput, match="Slice hour has 3 values for 20 rows"):
        evaluate_binary(labels, scores, days, {"hour": [1, 2, 3]})
    with pytest.raises(
        InvalidInput, match=r"incumbent scores: an array of shape \(3,\) for 20 rows"
    ):
        evaluate_binary(labels, scores, days, incumbent_scores=[0, 1, 1])
    with pytest.raises(NotFound, match="slice column 'huor'"):
        evaluate_binary(labels, scores, days, {"hour": days}, cell_slices=["huor"])
    with pytest.raises(InvalidInput, match="shape"):
        evaluate_regression([], [], [])


def test_settings_reach_the_intervals(flights: pl.DataFrame) -> None:
    late, score, day = flights["late"], flights["score"], flights["day"]
    wide = evaluate_binary(late, score, day, settings=Settings(confidence=0.99, seed=3))
    slim = evaluate_binary(late, score, day, settings=Settings(confidence=0.8, seed=3))
    assert wide.overall["auc"].low < slim.overall["auc"].low
    assert wide.overall["auc"].confidence == 0.99
