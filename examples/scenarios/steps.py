"""The steps of one scenario: the flights of one carrier on one route, and their air time."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

POLARS = ["polars==2.1.0"]
LEARNING = [*POLARS, "scikit-learn==1.9.1", "skops==0.16.0"]


@dsl.component(base_image="python:3.11", packages_to_install=POLARS)
def prepare(
    flights: Input[Dataset],
    origin: str,
    carrier: str,
    dest: str,
    since: str,
    until: str,
    history: Output[Dataset],
) -> NamedTuple("Prepared", [("rows", int)]):
    """The scenario's flights: one small file that the next steps read, and how many they are.

    `flights` is a dataset version (a folder by day), or the one file that `split` made of it.
    Cancelled and diverted flights count as rows, but have no air time to learn from.
    """
    from datetime import date
    from math import tau
    from pathlib import Path

    import polars as pl

    if Path(flights.path).is_dir():
        table = pl.scan_parquet(f"{flights.path}/**/*.parquet", hive_schema={"ds": pl.Date})
    else:
        table = pl.scan_parquet(flights.path)  # sorted: most of it is not even read
    rows = table.filter(
        pl.col("origin") == origin, pl.col("carrier") == carrier, pl.col("dest") == dest
    )
    if since:
        rows = rows.filter(pl.col("ds") >= date.fromisoformat(since))
    if until:
        rows = rows.filter(pl.col("ds") < date.fromisoformat(until))
    found = rows.select("ds", "hour", "air_time").collect()
    day = pl.col("ds").dt.ordinal_day() * (tau / 365.25)
    found.filter(pl.col("air_time").is_not_null()).sort("ds", "hour", "air_time").select(
        "ds",
        # The jet stream goes by the season, the detours go by the hour.
        pl.col("hour").cast(pl.Float64),
        day.sin().alias("season_sin"),
        day.cos().alias("season_cos"),
        pl.col("air_time").cast(pl.Float64),
    ).write_parquet(history.path)
    history.metadata["scenario"] = f"{origin}-{carrier}-{dest}"
    return (found.height,)


@dsl.component(base_image="python:3.11", packages_to_install=LEARNING)
def train(history: Input[Dataset], fail: str, model: Output[Model]):
    """Fit minutes in the air on the first four fifths of the flights."""
    import polars as pl
    import skops.io
    from sklearn.linear_model import Ridge

    scenario = history.metadata["scenario"]
    if scenario == fail:
        raise RuntimeError(f"{scenario} was asked to fail")
    rows = pl.read_parquet(history.path)
    if rows.height < 10:
        raise ValueError(f"{scenario}: {rows.height} flown flights are too few to learn from")
    known = rows.head(rows.height * 4 // 5)
    inputs = known.select("hour", "season_sin", "season_cos").to_numpy()
    estimator = Ridge(alpha=1.0).fit(inputs, known["air_time"].to_numpy())
    skops.io.dump(estimator, model.path)
    model.metadata.update(
        {"format": "skops", "task": "regression", "scenario": scenario, "train_rows": known.height}
    )


@dsl.component(base_image="python:3.11", packages_to_install=LEARNING)
def evaluate(history: Input[Dataset], model: Input[Model], scores: Output[Metrics]):
    """Error in minutes on the last fifth, beside that of the mean of what was learnt from."""
    import polars as pl
    import skops.io

    rows = pl.read_parquet(history.path)
    known, held_out = rows.head(rows.height * 4 // 5), rows.slice(rows.height * 4 // 5)
    estimator = skops.io.load(model.path)
    inputs = held_out.select("hour", "season_sin", "season_cos").to_numpy()
    truth = held_out["air_time"].to_numpy()
    scores.log_metric("rows", held_out.height)
    scores.log_metric("mae", round(float(abs(estimator.predict(inputs) - truth).mean()), 3))
    scores.log_metric("baseline_mae", round(float(abs(known["air_time"].mean() - truth).mean()), 3))


@dsl.component(base_image="python:3.11")
def register(
    model: Input[Model],
    scores: Input[Metrics],
    registered: Output[Model],
    card: Output[Metrics],
):
    """Hand on the very bytes that were judged, with what is known of them."""
    import shutil

    shutil.copyfile(model.path, registered.path)
    measured = {name: scores.metadata[name] for name in ("rows", "mae", "baseline_mae")}
    registered.metadata.update({**model.metadata, "metrics": measured})
    registered.metadata["name"] = f"air-time-{model.metadata['scenario']}".lower()
    for name, value in measured.items():
        card.log_metric(name, value)
    card.log_metric("gain", round(measured["baseline_mae"] - measured["mae"], 3))
