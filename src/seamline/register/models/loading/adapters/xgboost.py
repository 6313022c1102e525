"""XGBoost's own format."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

from .scores import both_classes


def open_payload(_document: Mapping[str, Any], payload: bytes) -> XGBoostModel:
    return XGBoostModel(payload)


class XGBoostModel:
    """A booster out of XGBoost's own format: one with logistic loss, or a regression."""

    takes = "numbers"

    def __init__(self, payload: bytes) -> None:
        self._library = importlib.import_module("xgboost")
        self.booster = self._library.Booster()
        self.booster.load_model(bytearray(payload))
        self.parameters = _leaves(json.loads(self.booster.save_config())["learner"])
        objective = str(self.parameters.get("objective.name", ""))
        if objective != "binary:logistic" and not objective.startswith(("reg:", "count:")):
            raise ValueError(
                f"XGBoost's objective {objective!r} is neither yes or no nor a number."
            )
        if "c" in (self.booster.feature_types or ()):
            raise ValueError("XGBoost's own categories are not kept by name: encode them.")
        self.task = "binary_classification" if objective == "binary:logistic" else "regression"
        self.feature_names_in_ = self.booster.feature_names
        self.n_features_in_ = int(self.booster.num_features())

    def predict(self, matrix: Any) -> Any:
        data = self._library.DMatrix(matrix, feature_names=self.feature_names_in_)
        # As XGBoost's own scikit-learn classes: where training stopped early, up to the best tree.
        best = self.booster.attr("best_iteration")
        trees = (0, int(best) + 1) if best is not None else (0, 0)
        return self.booster.predict(data, iteration_range=trees)

    def predict_proba(self, matrix: Any) -> Any:
        return both_classes(self.predict(matrix))


def _leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """
    >>> _leaves({"a": {"b": 1, "c": [2]}, "d": "x"})
    {'a.b': 1, 'd': 'x'}
    """
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found.update(_leaves(value, f"{path}{key}."))
        elif isinstance(value, str | int | float | bool):
            found[path + key] = value
    return found
