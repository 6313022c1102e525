"""Predict air times: `python prediction.py OUT.yaml` compiles the pipeline."""

import sys
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output


@dsl.component(
    base_image="python:3.11",
    packages_to_install=["polars==2.1.0", "scikit-learn==1.9.1", "skops==0.16.0"],
)
def predict(
    flights: Input[Dataset],
    model: Input[Model],
    since: str,
    until: str,
    predictions: Output[Dataset],
):
    """Predict every scheduled flight since `since` (inclusive), until `until` (exclusive)."""
    import importlib
    import sys
    from datetime import date

    import polars as pl
    from threadpoolctl import threadpool_limits

    sys.path.insert(0, model.path)
    regressor = importlib.import_module(model.metadata["module"]).load()
    table = pl.scan_parquet(f"{flights.path}/**/*.parquet", hive_schema={"ds": pl.Date})
    if since:
        table = table.filter(pl.col("ds") >= date.fromisoformat(since))
    if until:
        table = table.filter(pl.col("ds") < date.fromisoformat(until))
    features = ["carrier", "origin", "dest", "distance", "hour"]
    rows = (
        table.select(
            *("year", "month", "day", "flight", "ds"),
            *features[:3],
            *(pl.col(name).cast(pl.Int64) for name in features[3:]),
        )
        .sort("ds", "carrier", "flight", "origin")
        .collect()
    )
    # Threads that share their cores with other tasks wait for each other: one is quicker.
    with threadpool_limits(1):
        outputs = regressor.outputs(rows.select(features).to_dict(as_series=False))
    rows.with_columns(pl.Series("prediction", outputs["prediction"])).write_parquet(
        predictions.path
    )
    predictions.metadata["rows"] = rows.height


class Outputs(NamedTuple):
    predictions: Dataset


@dsl.pipeline(description="The expected air time of each flight, in minutes.")
def air_time_prediction(
    flights: str = "datasets://flights",
    model: str = "models://air-time",
    since: str = "",
    until: str = "",
) -> Outputs:
    flown = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    package = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=False)
    scored = predict(flights=flown.output, model=package.output, since=since, until=until)
    return Outputs(predictions=scored.outputs["predictions"])


if __name__ == "__main__":
    compiler.Compiler().compile(air_time_prediction, sys.argv[1])
