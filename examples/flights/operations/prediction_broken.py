"""The next version of team operations' prediction, published in good faith: it compiles, it fails.

It counts on a column that no dataset has yet. Same pipeline name, so that whoever asks for its
tag gets it in place of the working one.
"""

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
    """Correct the air time by the wind aloft."""
    import polars as pl

    table = pl.scan_parquet(f"{flights.path}/**/*.parquet", hive_schema={"ds": pl.Date})
    columns = table.collect_schema().names()
    if "wind_aloft" not in columns:
        raise ValueError(f"flights has no column 'wind_aloft'; it has {', '.join(columns)}")


class Outputs(NamedTuple):
    predictions: Dataset


@dsl.pipeline(description="The expected air time of each flight, in minutes, wind included.")
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
