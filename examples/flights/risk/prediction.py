"""Score flights with a late-risk model: `python prediction.py OUT.yaml` compiles the pipeline."""

import sys
from typing import NamedTuple

from features import prepare_features
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output


@dsl.component(
    base_image="python:3.11",
    packages_to_install=["polars==2.1.0", "scikit-learn==1.9.1", "skops==0.16.0"],
)
def predict(features: Input[Dataset], model: Input[Model], predictions: Output[Dataset]):
    """Score every scheduled flight, those later cancelled too: nobody knows two hours before."""
    import importlib
    import sys

    import polars as pl
    from threadpoolctl import threadpool_limits

    sys.path.insert(0, model.path)
    classifier = importlib.import_module(model.metadata["module"]).load()
    # What is known only after the flight stays behind.
    rows = pl.read_parquet(features.path).drop("late")
    # One version knows the schedule only, the next one more: each is given what it was trained on.
    names = [column["name"] for column in classifier.signature["inputs"]]
    with threadpool_limits(1):
        outputs = classifier.outputs(rows.select(names).to_dict(as_series=False))
    rows.with_columns(
        pl.Series("score", outputs["score"]), pl.Series("label", outputs["label"])
    ).write_parquet(predictions.path)
    predictions.metadata["rows"] = rows.height


class Outputs(NamedTuple):
    predictions: Dataset


@dsl.pipeline(description="The probability that each flight arrives more than 15 minutes late.")
def late_risk_prediction(
    flights: str = "datasets://flights",
    weather: str = "datasets://weather",
    model: str = "models://late-risk",
    since: str = "",
    until: str = "",
) -> Outputs:
    flown = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    sky = dsl.importer(artifact_uri=weather, artifact_class=dsl.Dataset, reimport=False)
    package = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=False)
    prepared = prepare_features(flights=flown.output, weather=sky.output, since=since, until=until)
    scored = predict(features=prepared.outputs["features"], model=package.output)
    return Outputs(predictions=scored.outputs["predictions"])


if __name__ == "__main__":
    compiler.Compiler().compile(late_risk_prediction, sys.argv[1])
