"""Load this package's model, once its bytes are the recorded ones, and predict with it.

Needs the standard library, numpy and the model's own framework; nothing of the platform.
Works from a folder, from a wheel on sys.path (zipimport), and from memory: everything is read
through the package's loader.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

PAYLOAD = "payload/model.skops"
#: The types that a value of each datatype may have, next to None where the column is nullable.
TYPES: dict[str, tuple[type, ...]] = {
    "BOOL": (bool,),
    "INT64": (int,),
    "FP64": (float, int),
    "BYTES": (str, bytes),
}


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
        columns = read_columns(rows, self._inputs)
        if not next(iter(columns.values())):
            return np.empty((0, 2 if method == "predict_proba" else 1))
        return np.asarray(getattr(self.estimator, method)(self._arrange(columns)))

    def _arrange(self, columns: dict[str, list[Any]]) -> Any:
        """What the estimator was fitted on: a frame with its names, or a matrix."""
        np = importlib.import_module("numpy")
        arrays = {
            declared["name"]: _array(columns[declared["name"]], declared["datatype"])
            for declared in self._inputs
        }
        if self._frame is not None:
            library = importlib.import_module(self._frame)
            # Object arrays become lists, so that the library finds its own text type.
            return library.DataFrame(
                {name: a.tolist() if a.dtype == object else a for name, a in arrays.items()}
            )
        mixed = any(declared["datatype"] == "BYTES" for declared in self._inputs)
        matrix = np.empty((len(next(iter(arrays.values()))), len(arrays)), dtype=object)
        for index, values in enumerate(arrays.values()):
            matrix[:, index] = values
        return matrix if mixed else matrix.astype(np.float64)


def load_model(package: str) -> Model:
    """The model inside `package`; refuses a payload whose bytes are not the recorded ones."""
    document = json.loads(_read(package, "model.json"))
    payload = _read(package, PAYLOAD)
    check_versions(document["name"], document["requirements"])
    return open_model(document, payload)


def open_model(document: Mapping[str, Any], payload: bytes) -> Model:
    """What is deserialised is the very byte string that was hashed."""
    actual = "sha256:" + hashlib.sha256(payload).hexdigest()
    if actual != document["payload_digest"]:
        raise ValueError(
            f"The payload of {document['name']} {document['version']} was altered: "
            f"expected {document['payload_digest']}, found {actual}."
        )
    skops = importlib.import_module("skops.io")
    return Model(document, skops.loads(payload, trusted=list(document["trusted_types"])))


def check_versions(name: str, requirements: Sequence[str]) -> None:
    """scikit-learn keeps models readable within one minor version only."""
    for requirement in requirements:
        library, _, wanted = requirement.partition("==")
        if library.strip() != "scikit-learn" or not wanted:
            continue
        try:
            found = importlib.metadata.version("scikit-learn")
        except importlib.metadata.PackageNotFoundError:
            raise ImportError(
                f"{name} needs scikit-learn {wanted}, and there is none here."
            ) from None
        if found.split(".")[:2] != wanted.strip().split(".")[:2]:
            raise RuntimeError(
                f"{name} was trained with scikit-learn {wanted.strip()}; installed is {found}. "
                f"Install scikit-learn=={wanted.strip()}, or train again."
            )


def read_columns(rows: Any, inputs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The declared columns as plain lists of one length, nulls as None; others are ignored."""
    names = [declared["name"] for declared in inputs]
    columns = _pick(rows, names)
    wrong = [
        f"{declared['name']} ({complaint})"
        for declared in inputs
        if (complaint := _complaint(columns[declared["name"]], declared))
    ]
    if wrong:
        raise ValueError(f"Columns of another type: {', '.join(wrong)}.")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Columns of different lengths: {lengths}.")
    return columns


def _pick(rows: Any, names: list[str]) -> dict[str, list[Any]]:
    if isinstance(rows, Mapping) or hasattr(rows, "columns"):
        present: set[str] = set(rows) if isinstance(rows, Mapping) else set(rows.columns)
        _check_present(names, present)
        return {name: _listed(rows[name]) for name in names}
    listed = list(rows)
    for row in listed:
        if not isinstance(row, Mapping):
            raise ValueError(f"Each row must be a mapping, not {type(row).__name__}.")
        _check_present(names, set(row))
    return {name: [_null(row[name]) for row in listed] for name in names}


def _check_present(names: list[str], present: set[str]) -> None:
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(f"Missing columns: {', '.join(missing)}.")


def _listed(values: Any) -> list[Any]:
    if hasattr(values, "isna"):  # pandas keeps nulls as NaN, NaT or NA
        values = values.astype(object).where(values.notna(), None)
    for method in ("tolist", "to_list"):
        if hasattr(values, method):
            values = getattr(values, method)()
            break
    return [_null(value) for value in values]


def _null(value: Any) -> Any:
    """NaN as None; numpy's scalars as Python's."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _complaint(values: list[Any], declared: Mapping[str, Any]) -> str:
    """Empty when the column is what it should be.

    >>> _complaint([1, None], {"name": "n", "datatype": "INT64", "nullable": False})
    'null in a column without nulls'
    >>> _complaint(["a"], {"name": "n", "datatype": "FP64", "nullable": True})
    'wanted FP64, got str'
    """
    wanted = TYPES[declared["datatype"]]
    for found in set(map(type, values)):
        if found is type(None):
            if not declared["nullable"]:
                return "null in a column without nulls"
        elif found is float and declared["datatype"] == "INT64":
            if not all(value.is_integer() for value in values if isinstance(value, float)):
                return "wanted INT64, got fractions"
        elif found not in wanted:
            return f"wanted {declared['datatype']}, got {found.__name__}"
    return ""


def _array(values: list[Any], datatype: str) -> Any:
    np = importlib.import_module("numpy")
    if datatype == "BYTES":
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        array = np.empty(len(texts), dtype=object)
        array[:] = texts
        return array
    if None in values:
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array(values, {"BOOL": np.bool_, "INT64": np.int64, "FP64": np.float64}[datatype])


def _frame_library(document: Mapping[str, Any], estimator: Any) -> str | None:
    """An estimator that knows names was fitted on a frame; the recorded library goes first."""
    if getattr(estimator, "feature_names_in_", None) is None:
        return None
    recorded = document.get("frame")
    for library in [recorded] if recorded else ["polars", "pandas"]:
        if importlib.util.find_spec(library) is not None:
            return str(library)
    return None


def _read(package: str, name: str) -> bytes:
    data = pkgutil.get_data(package, name)
    if data is None:
        raise ImportError(f"{package} was imported by a loader that cannot read {name}.")
    return data
