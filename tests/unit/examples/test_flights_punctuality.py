"""Team punctuality's components, run on real flights."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

Frames = dict[str, pl.DataFrame]
# The clocks go forward on 10 March 2013; the weather ends on 30 December.
DAYS = ["2013-03-09", "2013-03-10", "2013-03-11", "2013-12-30", "2013-12-31"]
OBSERVED = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
KEYS = ["year", "month", "day", "carrier", "flight", "origin"]


def some_days(frames: Frames, name: str) -> pl.DataFrame:
    return frames[name].filter(pl.col("ds").cast(pl.String).is_in(DAYS))


@pytest.fixture(scope="module")
def prepare(compiled: dict[str, Path], run: Callable[..., Any]) -> Callable[..., pl.DataFrame]:
    def prepare_features(
        flights: Any, weather: Any, since: str = "", until: str = ""
    ) -> pl.DataFrame:
        made = run(
            compiled["late_arrival_prediction"],
            "prepare-features",
            {"flights": flights, "weather": weather},
            since=since,
            until=until,
        )
        frame: pl.DataFrame = made["features"].frame()
        return frame

    return prepare_features


@pytest.mark.parametrize("as_text", [True, False])
def test_the_weather_is_that_of_three_hours_before_departure(
    year: Frames, dataset: Callable[..., Any], prepare: Callable[..., pl.DataFrame], as_text: bool
) -> None:
    observed_at = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    weather = some_days(year, "weather").with_columns(
        temp=observed_at.dt.epoch("s").cast(pl.Float64)
    )
    flights = some_days(year, "flights")
    if not as_text:
        weather = weather.with_columns(time_hour=observed_at)
        flights = flights.with_columns(time_hour=observed_at)
    rows = prepare(dataset(flights), dataset(weather))
    joined = rows.filter(pl.col("temp").is_not_null())
    seen_at = pl.from_epoch(joined["temp"].cast(pl.Int64)).dt.replace_time_zone("UTC")
    assert rows.height == flights.height
    assert joined.height > 3000
    assert (joined["departs_at"] - seen_at).unique().to_list() == [timedelta(hours=3)]
    local = joined["departs_at"].dt.convert_time_zone("America/New_York")
    assert (local.dt.hour() == joined["hour"]).all()


def test_new_year_s_eve_has_flights_but_no_weather(
    flights: Any, weather: Any, prepare: Callable[..., pl.DataFrame]
) -> None:
    rows = prepare(flights, weather, since="2013-12-31")
    assert rows.height == 776
    assert all(rows[name].null_count() == 776 for name in OBSERVED)


def test_no_feature_changes_with_what_happens_after_the_prediction(
    year: Frames, dataset: Callable[..., Any], prepare: Callable[..., pl.DataFrame]
) -> None:
    flights, weather = some_days(year, "flights"), some_days(year, "weather")
    later = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"]
    hindsight = flights.with_columns(
        pl.lit(None, flights.schema[name]).alias(name) for name in later
    )
    before = prepare(dataset(flights), dataset(weather)).drop("late")
    assert before.equals(prepare(dataset(hindsight), dataset(weather)).drop("late"))
    assert before.equals(prepare(dataset(flights.drop(later)), dataset(weather)).drop("late"))
    # Weather of the last two hours before the first departures of a day: not yet observed.
    cut = prepare(dataset(flights), dataset(weather))["departs_at"].min()
    blind = weather.filter(
        pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
        <= pl.lit(cut) - timedelta(hours=3)
    )
    first = pl.col("departs_at") == cut
    assert before.filter(first).equals(
        prepare(dataset(flights), dataset(blind)).drop("late").filter(first)
    )


def test_a_period_includes_its_first_day_and_excludes_its_last(
    flights: Any, weather: Any, prepare: Callable[..., pl.DataFrame]
) -> None:
    rows = prepare(flights, weather, since="2013-03-09", until="2013-03-11")
    assert rows["ds"].cast(pl.String).unique().sort().to_list() == ["2013-03-09", "2013-03-10"]


def test_late_means_more_than_fifteen_minutes_and_a_cancelled_flight_has_no_label(
    year: Frames, flights: Any, weather: Any, prepare: Callable[..., pl.DataFrame]
) -> None:
    rows = prepare(flights, weather)
    assert rows.height == year["flights"].height == rows.select(KEYS).n_unique()
    assert rows["late"].null_count() == 9430
    assert rows["late"].sum() == year["flights"].filter(pl.col("arr_delay") > 15).height


@pytest.fixture(scope="module")
def trained(
    compiled: dict[str, Path], run: Callable[..., Any], flights: Any, weather: Any
) -> dict[str, Any]:
    training = compiled["late_arrival_training"]
    period = {"since": "2013-01-01", "until": "2013-07-01"}
    given = {"flights": flights, "weather": weather}
    features = run(training, "prepare-features", given, **period)["features"]
    made: dict[str, Any] = run(training, "train", {"features": features}, threshold=0.35)
    return made


def test_the_model_says_what_it_is_and_what_may_be_missing(trained: dict[str, Any]) -> None:
    about = trained["model"].metadata
    assert about["format"] == "skops" and about["task"] == "binary_classification"
    assert about["threshold"] == 0.35 and about["positive_label"] == 1
    assert about["metrics"]["train_rows"] == 160678 and about["metrics"]["train_days"] == 181
    assert 0.69 < about["metrics"]["train_auc"] < 0.71
    samples = pl.read_ndjson(trained["samples"].path)
    assert samples.columns == [
        "carrier",
        "origin",
        "dest",
        "weekday",
        "hour",
        "distance",
        *OBSERVED,
    ]
    assert samples.height == 500
    assert all(samples[name].null_count() > 0 for name in OBSERVED)
    assert samples.select(pl.exclude(OBSERVED)).null_count().sum_horizontal().item() == 0


def test_predictions_keep_their_features_and_collapse_when_the_hour_arrives_as_zero(
    compiled: dict[str, Path],
    run: Callable[..., Any],
    wheel_of: Callable[..., Any],
    trained: dict[str, Any],
    year: Frames,
    dataset: Callable[..., Any],
    weather: Any,
) -> None:
    prediction = compiled["late_arrival_prediction"]
    model = wheel_of("late", trained["model"])

    def predict(flights: pl.DataFrame) -> pl.DataFrame:
        given = {"flights": dataset(flights), "weather": weather}
        features = run(prediction, "prepare-features", given, since="", until="")["features"]
        made = run(prediction, "predict", {"features": features, "model": model})
        frame: pl.DataFrame = made["predictions"].frame()
        return frame

    december = year["flights"].filter((pl.col("month") == 12) & (pl.col("day") <= 7))
    right, planted = predict(december), predict(december.with_columns(hour=pl.lit(0)))
    assert right.height == december.height == right.select(KEYS).n_unique()
    inputs = pl.read_ndjson(trained["samples"].path).columns
    assert {*KEYS, "ds", *inputs, "score", "label"} <= set(right.columns)
    assert not {"late", "arr_delay", "dep_delay", "air_time"} & set(right.columns)
    assert right.select("score", "label").null_count().sum_horizontal().item() == 0
    assert right.sort("score").equals(
        right.sort("score").with_columns(label=(pl.col("score") >= 0.35).cast(pl.Int64))
    )
    assert 0.25 < right["label"].sum() / right.height < 0.35
    assert planted["label"].sum() == 0
    assert planted["score"].sum() < right["score"].sum() / 3
