"""LightGBM's own text."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from .scores import both_classes


def open_payload(_document: Mapping[str, Any], payload: bytes) -> LightGBMModel:
    return LightGBMModel(payload)


class LightGBMModel:
    """A booster out of LightGBM's own text; its categories come with it."""

    def __init__(self, payload: bytes) -> None:
        library = importlib.import_module("lightgbm")
        self.booster = library.Booster(model_str=payload.decode())
        self.parameters = dict(self.booster.params)
        objective = str(self.booster.dump_model(num_iteration=1).get("objective", "")).split(" ")[0]
        numbers = {"regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape"}
        if objective != "binary" and objective not in {*numbers, "gamma", "tweedie"}:
            raise ValueError(
                f"LightGBM's objective {objective!r} is neither yes or no nor a number."
            )
        self.task = "binary_classification" if objective == "binary" else "regression"
        self.takes = "pandas" if self.booster.pandas_categorical else "numbers"
        names = self.booster.feature_name()
        made_up = [f"Column_{index}" for index in range(len(names))]
        self.feature_names_in_ = None if names == made_up else names
        self.n_features_in_ = len(names)

    def predict(self, rows: Any) -> Any:
        if self.takes == "pandas":
            kinds = importlib.import_module("pandas").api.types
            texts = [name for name in rows.columns if not kinds.is_numeric_dtype(rows[name])]
            rows = rows.astype(dict.fromkeys(texts, "category"))
        return self.booster.predict(rows)

    def predict_proba(self, rows: Any) -> Any:
        return both_classes(self.predict(rows))
