"""Train the late-arrival classifier: `python training.py OUT.yaml` compiles the pipeline."""

import sys

from features import prepare_features
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Model, Output


@dsl.component(
    base_image="python:3.11",
    packages_to_install=["polars==2.1.0", "scikit-learn==1.9.1", "skops==0.16.0"],
)
def train(
    features: Input[Dataset],
    threshold: float,
    model: Output[Model],
    samples: Output[Dataset],
):
    """Fit a logistic regression on the flights that arrived; say which rows it takes."""
    import polars as pl
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import brier_score_loss, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    named = ["carrier", "origin", "dest", "weekday"]
    weather = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
    measured = ["hour", "distance", *weather]
    # Cancelled and diverted flights have no arrival, hence no label.
    rows = pl.read_parquet(features.path).filter(pl.col("late").is_not_null())
    if rows.is_empty():
        raise ValueError("no flight with a known arrival between `since` and `until`")
    inputs, late = rows.select(*named, *measured), rows["late"].cast(pl.Int64).to_numpy()

    parameters = {"max_iter": 300, "min_frequency": 50}
    estimator = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", min_frequency=50), named),
            (make_pipeline(SimpleImputer(), StandardScaler()), measured),
        ),
        LogisticRegression(max_iter=parameters["max_iter"]),
    ).fit(inputs, late)
    score = estimator.predict_proba(inputs)[:, 1]

    skops.io.dump(estimator, model.path)
    model.metadata.update(
        {
            "format": "skops",
            "task": "binary_classification",
            "positive_label": 1,
            "threshold": threshold,
            "parameters": parameters,
            "metrics": {
                "train_rows": inputs.height,
                "train_days": rows["ds"].n_unique(),
                "train_late_share": round(float(late.mean()), 4),
                "train_predicted_late_share": round(float((score >= threshold).mean()), 4),
                "train_auc": round(float(roc_auc_score(late, score)), 4),
                "train_brier": round(float(brier_score_loss(late, score)), 4),
            },
        }
    )
    # Some rows without weather first, then ordinary ones: the samples show what may be missing.
    dark = inputs.filter(pl.all_horizontal(pl.col(weather).is_null())).head(20)
    plain = inputs.sample(min(500 - dark.height, inputs.height), seed=0)
    pl.concat([dark, plain]).write_ndjson(samples.path)


@dsl.pipeline(description="Will this flight arrive more than 15 minutes late?")
def late_arrival_training(
    flights: str = "datasets://flights",
    weather: str = "datasets://weather",
    since: str = "",
    until: str = "",
    threshold: float = 0.35,
):
    flown = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    sky = dsl.importer(artifact_uri=weather, artifact_class=dsl.Dataset, reimport=False)
    prepared = prepare_features(flights=flown.output, weather=sky.output, since=since, until=until)
    train(features=prepared.outputs["features"], threshold=threshold)


if __name__ == "__main__":
    compiler.Compiler().compile(late_arrival_training, sys.argv[1])
