"""Team operations' components, run on real flights: the drift that the demo tells of is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

KEYS = ["year", "month", "day", "carrier", "flight", "origin"]
INPUTS = ["carrier", "origin", "dest", "distance", "hour"]
TRUTH = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"]


@pytest.fixture(scope="module")
def train(compiled: dict[str, Path], run: Callable[..., Any], flights: Any) -> Callable[..., Any]:
    def train_between(since: str, until: str) -> Any:
        period = {"since": since, "until": until}
        return run(compiled["air_time_training"], "train", {"flights": flights}, **period)

    return train_between


@pytest.fixture(scope="module")
def predict(compiled: dict[str, Path], run: Callable[..., Any]) -> Callable[..., pl.DataFrame]:
    def predict_between(flights: Any, model: Any, since: str, until: str) -> pl.DataFrame:
        given = {"flights": flights, "model": model}
        made = run(compiled["air_time_prediction"], "predict", given, since=since, until=until)
        frame: pl.DataFrame = made["predictions"].frame()
        return frame

    return predict_between


@pytest.fixture(scope="module")
def frozen(train: Callable[..., Any]) -> Any:
    return train("", "2013-07-01")


def test_the_model_says_what_it_is(frozen: Any) -> None:
    about = frozen["model"].metadata
    assert about["format"] == "skops" and about["task"] == "regression"
    assert about["metrics"]["train_rows"] == 160678 and about["metrics"]["train_days"] == 181
    samples = pl.read_ndjson(frozen["samples"].path)
    assert samples.columns == INPUTS and samples.height == 2_000
    assert samples.null_count().sum_horizontal().item() == 0


def test_in_september_the_frozen_model_is_biased_and_a_summer_s_retraining_helps(
    year: dict[str, pl.DataFrame],
    flights: Any,
    frozen: Any,
    train: Callable[..., Any],
    predict: Callable[..., pl.DataFrame],
    wheel_of: Callable[..., Any],
) -> None:
    truth = year["flights"].select(*KEYS, "air_time").drop_nulls("air_time")

    def errors(name: str, trained: Any) -> pl.Series:
        model = wheel_of(name, trained["model"])
        predicted = predict(flights, model, "2013-09-01", "2013-10-01")
        assert predicted.height == 27574 == predicted.select(KEYS).n_unique()
        assert predicted.columns == [
            *("year", "month", "day", "flight", "ds"),
            *INPUTS,
            "prediction",
        ]
        joined = predicted.join(truth, on=KEYS, maintain_order="left")
        return joined["prediction"] - joined["air_time"]

    old = errors("frozen", frozen)
    new = errors("retrained", train("2013-06-01", "2013-09-01"))
    assert old.abs().mean() == pytest.approx(10.2, abs=0.1)
    assert old.mean() == pytest.approx(8.65, abs=0.15)
    assert (new.abs() - old.abs()).mean() == pytest.approx(-4.0, abs=0.15)


def test_no_prediction_changes_with_what_happens_after_it(
    year: dict[str, pl.DataFrame],
    dataset: Callable[..., Any],
    frozen: Any,
    predict: Callable[..., pl.DataFrame],
    wheel_of: Callable[..., Any],
) -> None:
    day = year["flights"].filter((pl.col("month") == 9) & (pl.col("day") == 12))
    model = wheel_of("hindsight", frozen["model"])
    seen = predict(dataset(day), model, "", "")
    assert seen.height == day.height
    assert seen.equals(predict(dataset(day.drop(TRUTH)), model, "", ""))


def test_the_broken_version_says_what_it_misses(
    year: dict[str, pl.DataFrame],
    compiled: dict[str, Path],
    run: Callable[..., Any],
    dataset: Callable[..., Any],
    frozen: Any,
    wheel_of: Callable[..., Any],
) -> None:
    given = {
        "flights": dataset(year["flights"].head(10)),
        "model": wheel_of("broken", frozen["model"]),
    }
    with pytest.raises(ValueError, match="flights has no column 'wind_aloft'; it has year, month"):
        run(compiled["air_time_broken"], "predict", given, since="", until="")


def test_an_empty_period_is_refused(train: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="no flight with an air time between '2014-01-01'"):
        train("2014-01-01", "")
