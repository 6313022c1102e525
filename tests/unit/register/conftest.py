"""Real small models, described by the packaging script as its task would."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from seamline.register.models import package_task
from seamline.register.models.documents import (
    DatasetVersionRef,
    Lineage,
    make_model_document,
    packaging_task,
)
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.store.stores import Stores
from seamline.trust.keys import SigningKey, load_or_create_key

LINEAGE = Lineage(
    run_id="019b76da-a800-7000-8000-000000000001",
    pipeline="train-late-arrival",
    pipeline_digest="sha256:" + "a" * 64,
    dataset_versions=(DatasetVersionRef("flights", 7, "sha256:" + "b" * 64),),
    commit="c0ffee",
    trained_at="2026-01-01T00:00:00.000000Z",
    previous_version=None,
    arguments={"learning_rate": 0.1},
)


@dataclass(frozen=True)
class Trained:
    """An estimator, its bytes, the rows it was fitted on, and what the script says of it."""

    estimator: Any
    payload: bytes
    rows: list[dict[str, Any]]
    described: dict[str, Any]


@pytest.fixture(scope="session")
def flights() -> pl.DataFrame:
    n = 200
    rng = np.random.default_rng(7)
    hour = rng.integers(5, 23, n)
    wind = np.where(rng.random(n) < 0.1, np.nan, rng.normal(10, 4, n))
    frame = pl.DataFrame(
        {
            "carrier": rng.choice(["UA", "AA", "B6"], n).tolist(),
            "hour": hour,
            "wind": wind,
            "is_weekend": rng.random(n) < 0.3,
        }
    )
    late = (hour + rng.normal(0, 3, n) > 14).astype(int)
    return frame.with_columns(late=pl.Series(late))


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    def _train(estimator: Any, rows: list[dict[str, Any]], **options: Any) -> Trained:
        folder = tmp_path_factory.mktemp("model")
        payload = skops.io.dumps(estimator)
        (folder / "model.skops").write_bytes(payload)
        (folder / "samples").write_text("".join(json.dumps(row) + "\n" for row in rows))
        _, task = packaging_task(
            folder / "model.skops", folder / "samples", requirements=["scikit-learn"], **options
        )
        return Trained(estimator, payload, rows, package_task.main(task))

    return _train


@pytest.fixture(scope="session")
def classifier(flights: pl.DataFrame, train: Callable[..., Trained]) -> Trained:
    encode = ColumnTransformer([("c", OrdinalEncoder(), ["carrier"])], remainder="passthrough")
    estimator = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=8))
    features = flights.drop("late")
    estimator.fit(features, flights["late"].to_numpy())
    return train(estimator, features.to_dicts()[:40])


@pytest.fixture(scope="session")
def regressor(flights: pl.DataFrame, train: Callable[..., Trained]) -> Trained:
    """Fitted on a plain matrix: it knows no names."""
    matrix = flights.select(pl.col("hour").cast(pl.Float64), "is_weekend").to_numpy()
    estimator = LinearRegression().fit(matrix, matrix[:, 0] * 3 + 1)
    return train(estimator, flights.select("hour", "is_weekend").to_dicts()[:10])


@pytest.fixture(scope="session")
def spec_of() -> Callable[..., ModelWheelSpec]:
    def _spec_of(trained: Trained, name: str, version: str = "1.0.0") -> ModelWheelSpec:
        document = make_model_document(name, version, trained.described, LINEAGE)
        return ModelWheelSpec(document, trained.described["samples"], trained.payload)

    return _spec_of


@pytest.fixture(scope="session")
def late_wheel(classifier: Trained, spec_of: Callable[..., ModelWheelSpec]) -> bytes:
    return build_model_wheel(spec_of(classifier, "late-arrival"))


@pytest.fixture
def key(stores: Stores) -> SigningKey:
    return load_or_create_key(stores.root / "keys")
