"""ONNX graphs, run by ONNX Runtime."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any


def open_payload(_document: Mapping[str, Any], payload: bytes) -> OnnxModel:
    return OnnxModel(payload)


class OnnxModel:
    """A graph that takes one matrix, or each column by its name; run by ONNX Runtime."""

    takes = "numbers"

    def __init__(self, payload: bytes) -> None:
        library = importlib.import_module("onnxruntime")
        self.session = library.InferenceSession(payload, providers=["CPUExecutionProvider"])
        self.parameters = dict(self.session.get_modelmeta().custom_metadata_map)
        self._inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        is_matrix = len(self._inputs) == 1 and self._width() != 1
        self.feature_names_in_ = None if is_matrix else [one.name for one in self._inputs]
        self.n_features_in_ = self._width() if is_matrix else len(self._inputs)
        scores = [one for one in outputs if _is_score(one)]
        self.task = "binary_classification" if scores else "regression"
        self._output = (scores or outputs)[0].name

    def predict(self, matrix: Any) -> Any:
        return self._run(matrix)

    def predict_proba(self, matrix: Any) -> Any:
        np = importlib.import_module("numpy")
        found = self._run(matrix)
        if isinstance(found, list):  # skl2onnx's ZipMap: one dict a row
            found = [[row[label] for label in sorted(row)] for row in found]
        return np.asarray(found)

    def _width(self) -> int | None:
        shape = self._inputs[0].shape
        return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None

    def _run(self, matrix: Any) -> Any:
        np = importlib.import_module("numpy")
        types = {
            "tensor(float)": np.float32,
            "tensor(double)": np.float64,
            "tensor(int64)": np.int64,
            "tensor(bool)": np.bool_,
            "tensor(string)": object,
        }
        unknown = [one.type for one in self._inputs if one.type not in types]
        if unknown:
            raise ValueError(f"The graph takes {', '.join(unknown)}, which no column is.")
        matrix = _without_nulls(matrix)
        if self.feature_names_in_ is None:
            feed = {self._inputs[0].name: matrix.astype(types[self._inputs[0].type])}
        else:
            feed = {
                one.name: matrix[:, [place]].astype(types[one.type])
                for place, one in enumerate(self._inputs)
            }
        return self.session.run([self._output], feed)[0]


def _without_nulls(matrix: Any) -> Any:
    """A graph knows no missing text: the empty text stands for it. Missing numbers are NaN."""
    if matrix.dtype != object:
        return matrix
    np = importlib.import_module("numpy")
    return np.where(np.equal(matrix, None), "", matrix)


def _is_score(output: Any) -> bool:
    """Of two classes: pairs of probabilities, or a dict a row."""
    if output.type.startswith("seq(map("):
        return True
    is_float = output.type in ("tensor(float)", "tensor(double)")
    return is_float and len(output.shape) == 2 and output.shape[1] == 2
