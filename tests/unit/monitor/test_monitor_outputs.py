"""Outputs: a collapse is found with its first day; ordinary windows are quiet."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.monitor.days import find_run
from seamline.monitor.outputs import OutputDay, OutputSpec, measure_outputs, profile_outputs

SPEC = OutputSpec("score", 0.4, "late")


@pytest.fixture
def usual(training: pl.DataFrame) -> dict[str, OutputDay]:
    return profile_outputs(training, SPEC)


def change(frame: pl.DataFrame, day: int, to: pl.Expr) -> pl.DataFrame:
    since = pl.col("ds") >= date(2013, 12, day)
    return frame.with_columns(score=pl.when(since).then(to).otherwise("score"))


def test_an_ordinary_window_passes(december: pl.DataFrame, usual: dict[str, OutputDay]) -> None:
    found = measure_outputs(december, usual, SPEC)
    assert (found.verdict, found.first_day) == (Verdict.PASS, None)
    assert "over 60 days)" in found.sentence and "of 6,200 rows predicted late" in found.sentence


@pytest.mark.parametrize("day", [1, 17, 29])
def test_a_collapse_is_found_with_its_first_day(
    december: pl.DataFrame, usual: dict[str, OutputDay], day: int
) -> None:
    found = measure_outputs(change(december, day, pl.col("score") / 20), usual, SPEC)
    assert (found.verdict, found.first_day) == (Verdict.FAIL, f"2013-12-{day:02d}")
    assert found.sentence.startswith(f"score: collapsed from 2013-12-{day:02d} on: mean 0.01")
    assert f" 0 of {200 * (32 - day):,} rows predicted late (was " in found.sentence
    assert found.check == "output(score)"


def test_one_value_for_all_rows(december: pl.DataFrame, usual: dict[str, OutputDay]) -> None:
    found = measure_outputs(change(december, 20, pl.lit(0.3)), usual, SPEC)
    assert found.sentence.startswith("score: collapsed to one value from 2013-12-20 on: mean 0.3 ")


def test_higher_predictions_without_a_threshold(training: pl.DataFrame) -> None:
    spec = OutputSpec("minutes")
    served = training.with_columns(pl.col("minutes") * 1.6)
    found = measure_outputs(served, profile_outputs(training, spec), spec)
    assert found.verdict is Verdict.FAIL
    assert found.sentence.startswith("minutes: higher from 2013-06-01 on: mean 24")


def test_two_odd_days_pass_but_a_day_of_its_own_has_to_be_extreme(
    december: pl.DataFrame, usual: dict[str, OutputDay]
) -> None:
    odd = change(december, 30, pl.col("score") * 0.7)
    assert measure_outputs(odd, usual, SPEC).verdict is Verdict.PASS
    day = december.filter(pl.col("ds") == date(2013, 12, 31))
    assert measure_outputs(day, usual, SPEC).verdict is Verdict.PASS
    found = measure_outputs(change(day, 1, pl.col("score") / 20), usual, SPEC)
    assert found.verdict is Verdict.FAIL


def test_too_little_to_compare_is_inconclusive(
    december: pl.DataFrame, usual: dict[str, OutputDay]
) -> None:
    few = dict(list(usual.items())[:9])
    assert measure_outputs(december, few, SPEC).verdict is Verdict.INCONCLUSIVE
    empty = december.with_columns(score=pl.lit(None, pl.Float64))
    found = measure_outputs(empty, usual, SPEC)
    assert found.verdict is Verdict.INCONCLUSIVE and "no predictions" in found.sentence
    with pytest.raises(InvalidInput, match="Did you mean score"):
        measure_outputs(december.rename({"score": "scores"}), usual, OutputSpec("score"))


def test_days_survive_json(usual: dict[str, OutputDay]) -> None:
    assert {day: OutputDay.from_json(one.to_json()) for day, one in usual.items()} == usual


def test_the_last_run_is_taken_when_it_is_long_enough() -> None:
    days = [*"TTTTTF", *"FTTT"]
    judged = [(str(i), mark == "T") for i, mark in enumerate(days)]
    run = find_run(judged)
    assert run is not None and (run.first, run.last, run.is_open) == ("7", "9", True)
    shorter = find_run(judged[:9])
    assert shorter is not None and (shorter.first, shorter.last, shorter.is_open) == (
        "0",
        "4",
        False,
    )
