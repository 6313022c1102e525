"""Train the late-risk classifier: `python training.py OUT.yaml` compiles the pipeline."""

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
    known: str,
    from_hour: int,
    threshold: float,
    model: Output[Model],
    samples: Output[Dataset],
):
    """Fit boosted trees on the flights that arrived, of those scheduled from `from_hour` on.

    `known`: "schedule", or "everything" (the weather and the airport's late departures, too).
    """
    import polars as pl
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import brier_score_loss, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder
    from threadpoolctl import threadpool_limits

    named, scheduled = ["carrier", "origin", "dest"], ["hour", "distance", "weekday"]
    weather = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
    added = {"schedule": [], "everything": [*weather, "late_share"]}
    if known not in added:
        raise ValueError(f"`known` is {known!r}; it can be {' or '.join(added)}")
    measured = [*scheduled, *added[known]]
    # Cancelled and diverted flights have no arrival, hence no label.
    rows = pl.read_parquet(features.path).filter(
        pl.col("late").is_not_null() & (pl.col("hour") >= from_hour)
    )
    if rows.is_empty():
        raise ValueError(f"no flight from {from_hour} h on with a known arrival in these days")
    inputs, late = rows.select(*named, *measured), rows["late"].cast(pl.Int64).to_numpy()

    # Settled on July, after training on January to June: the best of four settings there.
    parameters = {
        "max_iter": 60,
        "learning_rate": 0.1,
        "max_leaf_nodes": 15,
        "min_samples_leaf": 500,
        "early_stopping": False,
        "random_state": 0,
    }
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    estimator = make_pipeline(
        make_column_transformer((encoder, named), remainder="passthrough"),
        HistGradientBoostingClassifier(**parameters),
    )
    # One thread does it in two seconds; several, on cores that others use too, wait for each other.
    with threadpool_limits(1):
        estimator.fit(inputs, late)
        score = estimator.predict_proba(inputs)[:, 1]

    skops.io.dump(estimator, model.path)
    model.metadata.update(
        {
            "format": "skops",
            "task": "binary_classification",
            "positive_label": 1,
            "threshold": threshold,
            "parameters": {**parameters, "known": known, "from_hour": from_hour},
            "metrics": {
                "train_rows": inputs.height,
                "train_days": rows["ds"].n_unique(),
                "train_late_share": round(float(late.mean()), 4),
                "train_auc": round(float(roc_auc_score(late, score)), 4),
                "train_brier": round(float(brier_score_loss(late, score)), 4),
            },
        }
    )
    # The samples say what may be missing. The trees take a gap in any of these, also where no
    # flight of the training has one: from 10 h on the airport's late share is always known.
    gaps = inputs.head(20).with_columns(
        pl.lit(None, inputs.schema[name]).alias(name) for name in added[known]
    )
    plain = inputs.sample(min(480, inputs.height), seed=0)
    pl.concat([gaps, plain]).write_ndjson(samples.path)


@dsl.pipeline(description="How probable is it that this flight arrives over 15 minutes late?")
def late_risk_training(
    flights: str = "datasets://flights",
    weather: str = "datasets://weather",
    since: str = "",
    until: str = "",
    known: str = "everything",
    from_hour: int = 0,
    threshold: float = 0.25,
):
    flown = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    sky = dsl.importer(artifact_uri=weather, artifact_class=dsl.Dataset, reimport=False)
    prepared = prepare_features(flights=flown.output, weather=sky.output, since=since, until=until)
    train(
        features=prepared.outputs["features"],
        known=known,
        from_hour=from_hour,
        threshold=threshold,
    )


if __name__ == "__main__":
    compiler.Compiler().compile(late_risk_training, sys.argv[1])
