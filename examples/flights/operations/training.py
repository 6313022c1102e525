"""Train the air-time regressor: `python training.py OUT.yaml` compiles the pipeline."""

import sys

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output


@dsl.component(
    base_image="python:3.11",
    packages_to_install=["polars==2.1.0", "scikit-learn==1.9.1", "skops==0.16.0"],
)
def train(
    flights: Input[Dataset],
    since: str,
    until: str,
    model: Output[Model],
    samples: Output[Dataset],
):
    """Fit gradient-boosted trees on flights since `since` (inclusive), until `until` (exclusive).

    No date is a feature: the model cannot know that the jet stream moves with the seasons.
    """
    from datetime import date

    import polars as pl
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder
    from threadpoolctl import threadpool_limits

    named, measured = ["carrier", "origin", "dest"], ["distance", "hour"]
    table = pl.scan_parquet(f"{flights.path}/**/*.parquet", hive_schema={"ds": pl.Date})
    if since:
        table = table.filter(pl.col("ds") >= date.fromisoformat(since))
    if until:
        table = table.filter(pl.col("ds") < date.fromisoformat(until))
    rows = (
        # A cancelled or diverted flight has no air time.
        table.filter(pl.col("air_time").is_not_null())
        .select(
            "ds",
            *named,
            *(pl.col(name).cast(pl.Int64) for name in measured),
            pl.col("air_time").cast(pl.Float64),
        )
        .collect()
    )
    if rows.is_empty():
        raise ValueError(f"no flight with an air time between {since!r} and {until!r}")
    inputs, minutes = rows.select(*named, *measured), rows["air_time"].to_numpy()

    parameters = {"max_iter": 100, "learning_rate": 0.1, "random_state": 0}
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    estimator = make_pipeline(
        make_column_transformer((encoder, named), remainder="passthrough"),
        HistGradientBoostingRegressor(**parameters),
    )
    # One thread does it in a second; several, on cores that others use too, wait for each other.
    with threadpool_limits(1):
        estimator.fit(inputs, minutes)
        error = estimator.predict(inputs) - minutes

    skops.io.dump(estimator, model.path)
    model.metadata.update(
        {
            "format": "skops",
            "task": "regression",
            "parameters": parameters,
            "metrics": {
                "train_rows": inputs.height,
                "train_days": rows["ds"].n_unique(),
                "train_mae": round(float(abs(error).mean()), 3),
                "train_bias": round(float(error.mean()), 3),
            },
        }
    )
    # As many as an ONNX twin is compared by; the wheel keeps the first hundred.
    inputs.sample(min(2000, inputs.height), seed=0).write_ndjson(samples.path)


@dsl.pipeline(description="How many minutes will this flight be in the air?")
def air_time_training(flights: str = "datasets://flights", since: str = "", until: str = ""):
    flown = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    train(flights=flown.output, since=since, until=until)


if __name__ == "__main__":
    compiler.Compiler().compile(air_time_training, sys.argv[1])
