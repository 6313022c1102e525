"""Back-tests: who won which window, trends, errored windows, the verdict."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from seamline.domain.states import Verdict
from seamline.evaluate.backtest import Outcome, WindowRows, find_trend, judge_windows
from seamline.evaluate.spec import EvaluationSpec

Scores = Callable[..., pl.DataFrame]
SPEC = EvaluationSpec(
    ("ds", "flight"),
    "arr_delay > 15",
    "score",
    checks=("auc >= 0.7",),
    against=("auc.drop_vs(incumbent) <= 0.02",),
)
CUTS = [date(2013, 7, 1), date(2013, 7, 16), date(2013, 7, 31), date(2013, 8, 15)]


def windows(ours: pl.DataFrame, theirs: pl.DataFrame | None = None) -> list[WindowRows]:
    made = []
    for start, end in itertools.pairwise(CUTS):
        inside = (pl.col("ds") >= start) & (pl.col("ds") < end)
        rival = None if theirs is None else theirs.filter(inside)
        made.append(WindowRows(str(start), "1.0.1", ours.filter(inside), rival))
    return made


def test_a_better_model_wins_every_window(season: pl.DataFrame, scores: Scores) -> None:
    found = judge_windows(windows(scores(season), scores(season, noise=3.0)), season, SPEC)
    assert [one.outcome for one in found.windows] == [Outcome.WON] * 3
    assert found.verdict is Verdict.PASS
    assert found.sentences[0] == "3 windows by auc: 3 won"
    whole = found.whole
    assert whole is not None and whole.scorecard.n_blocks == 45


def test_a_worse_model_fails_by_the_windows_that_it_lost(
    season: pl.DataFrame, scores: Scores
) -> None:
    ours, theirs = scores(season, noise=3.0), scores(season)
    plain = EvaluationSpec(SPEC.keys, SPEC.label, SPEC.prediction, checks=("auc >= 0.5",))
    lost = judge_windows(windows(ours, theirs), season, plain)
    assert lost.count(Outcome.LOST) == 3 and lost.verdict is Verdict.FAIL
    admitted = judge_windows(windows(ours, theirs), season, plain, max_lost=3)
    assert admitted.verdict is Verdict.PASS


def test_windows_that_are_too_short_to_be_won_say_so(season: pl.DataFrame, scores: Scores) -> None:
    """A week has seven days; together they may decide."""
    ours, theirs = scores(season), scores(season, noise=3.0)
    made = []
    for week in range(3):
        start = date(2013, 7, 1) + timedelta(days=7 * week)
        inside = pl.col("ds").is_between(start, start + timedelta(days=6))
        made.append(WindowRows(str(start), "1.0.1", ours.filter(inside), theirs.filter(inside)))
    found = judge_windows(made, season, SPEC)
    assert found.count(Outcome.UNDECIDED) == 3 and found.verdict is Verdict.PASS
    assert found.sentences[:2] == (
        "3 windows by auc: 3 undecided",
        "a window takes 10 blocks to be won or lost; 3 have fewer",
    )


def test_the_same_model_is_even(season: pl.DataFrame, scores: Scores) -> None:
    found = judge_windows(windows(scores(season), scores(season)), season, SPEC)
    assert found.count(Outcome.EVEN) == 3 and found.verdict is Verdict.PASS


def test_an_errored_window_leaves_the_rest_and_proves_nothing(
    season: pl.DataFrame, scores: Scores
) -> None:
    asked = windows(scores(season))
    asked[1] = WindowRows(asked[1].label, "", error="the training run r ended as failed")
    found = judge_windows(asked, season, SPEC)
    assert [one.outcome for one in found.windows][1] is Outcome.ERRORED
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "2013-07-16 is errored: the training run r ended as failed" in found.sentences
    whole = found.whole
    assert whole is not None and whole.scorecard.n_blocks == 30


def test_nothing_to_judge_is_an_error(season: pl.DataFrame) -> None:
    found = judge_windows([WindowRows("2013-07", "", error="gone")], season, SPEC)
    assert (found.verdict, found.whole) == (Verdict.ERROR, None)


def test_a_model_that_grows_old_has_a_trend(season: pl.DataFrame, scores: Scores) -> None:
    rng = np.random.default_rng(3)
    fresh = scores(season)
    age = (season["ds"] - CUTS[0]).dt.total_days().to_numpy()
    old = np.where(rng.random(season.height) < age / 60, 0.5, fresh["score"].to_numpy())
    ageing = fresh.with_columns(score=pl.Series(old))
    found = judge_windows(windows(ageing), season, SPEC)
    trend = found.trends["auc"]
    assert trend.high is not None and trend.high < 0
    steady = judge_windows(windows(fresh), season, SPEC).trends["auc"]
    assert steady.low is not None and steady.high is not None
    assert steady.low <= 0 <= steady.high
    cards = [one.card for one in found.windows]
    points = [card.overall["auc"].value for card in cards if card is not None]
    assert trend.value == pytest.approx(np.polyfit(range(3), np.asarray(points, float), 1)[0])
    assert find_trend([cards[0], None], "auc").value is None
