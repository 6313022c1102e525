"""A verified model and the signature that it was packaged with."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from .columns import array_of, read_columns, typed_arrays


class Model:
    """A verified model and the signature that it was packaged with."""

    def __init__(self, document: Mapping[str, Any], estimator: Any) -> None:
        self.document = document
        self.estimator = estimator
        self._inputs = list(document["signature"]["inputs"])
        self._frame = _frame_library(document, estimator)

    @property
    def version(self) -> str:
        return str(self.document["version"])

    @property
    def signature(self) -> dict[str, Any]:
        return dict(self.document["signature"])

    def outputs(self, rows: Any) -> dict[str, Any]:
        """Named arrays, one value a row: {label, score} of a classifier, {prediction} else.

        `rows`: a list of dicts, a mapping column → sequence, or a pandas or polars DataFrame.
        ValueError names the columns that are missing or of another type.
        """
        np = importlib.import_module("numpy")
        if self.document["task"] == "regression":
            return {"prediction": self._run("predict", rows).astype(np.float64).reshape(-1)}
        score = self.predict_proba(rows)[:, 1]
        label = (score >= float(self.document["threshold"])).astype(np.int64)
        return {"label": label, "score": score}

    def predict(self, rows: Any) -> Any:
        """The main output: labels at the packaged threshold, or values."""
        outputs = self.outputs(rows)
        return outputs[self.document["signature"]["outputs"][0]["name"]]

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities of the two classes, shape (rows, 2), float64."""
        np = importlib.import_module("numpy")
        if self.document["task"] == "regression":
            raise TypeError(f"{self.document['name']} is a regression: it has no probabilities.")
        return self._run("predict_proba", rows).astype(np.float64).reshape(-1, 2)

    def _run(self, method: str, rows: Any) -> Any:
        np = importlib.import_module("numpy")
        arrays = typed_arrays(rows, self._inputs)
        if arrays is None:
            columns = read_columns(rows, self._inputs)
            arrays = {
                declared["name"]: array_of(columns[declared["name"]], declared["datatype"])
                for declared in self._inputs
            }
        if not len(next(iter(arrays.values()))):
            return np.empty((0, 2 if method == "predict_proba" else 1))
        return np.asarray(getattr(self.estimator, method)(self._arrange(arrays)))

    def _arrange(self, arrays: dict[str, Any]) -> Any:
        """What the estimator was fitted on: a frame with its names, or a matrix."""
        np = importlib.import_module("numpy")
        if self._frame is not None:
            library = importlib.import_module(self._frame)
            # Object arrays become lists, so that the library finds its own text type.
            return library.DataFrame(
                {name: a.tolist() if a.dtype == object else a for name, a in arrays.items()}
            )
        mixed = any(declared["datatype"] == "BYTES" for declared in self._inputs)
        if not mixed:
            return np.array(list(arrays.values()), np.float64).T.copy()
        matrix = np.empty((len(next(iter(arrays.values()))), len(arrays)), dtype=object)
        for index, values in enumerate(arrays.values()):
            matrix[:, index] = values
        return matrix


def _frame_library(document: Mapping[str, Any], estimator: Any) -> str | None:
    """An estimator that knows names was fitted on a frame; the recorded library goes first."""
    takes = getattr(estimator, "takes", None)
    if takes is not None:
        return None if takes == "numbers" else str(takes)
    if getattr(estimator, "feature_names_in_", None) is None:
        return None
    recorded = document.get("frame")
    for library in [recorded] if recorded else ["polars", "pandas"]:
        if importlib.util.find_spec(library) is not None:
            return str(library)
    return None
