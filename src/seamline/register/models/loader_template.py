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
import io
import json
import pickle
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Format → where the model's bytes lie in the package.
PAYLOADS = {
    "skops": "payload/model.skops",
    "xgboost": "payload/model.ubj",
    "lightgbm": "payload/model.txt",
    "onnx": "payload/model.onnx",
    "joblib": "payload/model.joblib",
    "pickle": "payload/model.pkl",
    "cloudpickle": "payload/model.cloudpickle",
}
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


def load_model(package: str, read_payload: Callable[[str], bytes] | None = None) -> Model:
    """The model inside `package`; refuses a payload whose bytes are not the recorded ones.

    `read_payload`: digest → bytes, where the package itself holds none (a thin wheel).
    """
    document = json.loads(_read(package, "model.json"))
    check_versions(document["name"], document["requirements"])
    check_python(document)
    if read_payload is None:
        payload = _read(package, PAYLOADS[document["format"]])
    else:
        payload = read_payload(document["payload_digest"])
    return open_model(document, payload)


def open_model(document: Mapping[str, Any], payload: bytes) -> Model:
    """What is deserialised is the very byte string that was hashed."""
    actual = "sha256:" + hashlib.sha256(payload).hexdigest()
    if actual != document["payload_digest"]:
        raise ValueError(
            f"The payload of {document['name']} {document['version']} was altered: "
            f"expected {document['payload_digest']}, found {actual}."
        )
    return Model(document, open_estimator(document, payload))


def open_estimator(document: Mapping[str, Any], payload: bytes) -> Any:
    """What predicts, out of bytes that were verified before.

    ValueError for a pickle that takes more than what was seen when the model was packaged.
    """
    match document["format"]:
        case "skops":
            skops = importlib.import_module("skops.io")
            return skops.loads(payload, trusted=list(document["trusted_types"]))
        case "xgboost":
            return XGBoostModel(payload)
        case "lightgbm":
            return LightGBMModel(payload)
        case "onnx":
            return OnnxModel(payload)
        case "joblib":
            return importlib.import_module("joblib").load(io.BytesIO(payload))
        case "pickle" | "cloudpickle":
            return _Unpickler(payload, document["loading"]["globals"]).load()
        case other:
            raise ValueError(f"{document['name']} is of the unknown format {other!r}.")


class _Unpickler(pickle.Unpickler):
    """Imports what was recorded, and nothing else. It runs code all the same."""

    def __init__(self, payload: bytes, known: Sequence[str]) -> None:
        super().__init__(io.BytesIO(payload))
        self._known = frozenset(known)

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._known:
            raise ValueError(f"The model asks for {module}.{name}, which was not recorded.")
        return super().find_class(module, name)


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
        return _both_classes(self.predict(matrix))


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
        return _both_classes(self.predict(rows))


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
        if self.feature_names_in_ is None:
            feed = {self._inputs[0].name: matrix.astype(types[self._inputs[0].type])}
        else:
            feed = {
                one.name: matrix[:, [place]].astype(types[one.type])
                for place, one in enumerate(self._inputs)
            }
        return self.session.run([self._output], feed)[0]


def _is_score(output: Any) -> bool:
    """Of two classes: pairs of probabilities, or a dict a row."""
    if output.type.startswith("seq(map("):
        return True
    is_float = output.type in ("tensor(float)", "tensor(double)")
    return is_float and len(output.shape) == 2 and output.shape[1] == 2


def _both_classes(score: Any) -> Any:
    np = importlib.import_module("numpy")
    yes = np.asarray(score, np.float64)
    return np.stack([1 - yes, yes], axis=1)


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


#: Library → how far the installed version may be from the recorded one, as its documentation says:
#: "minor": only the same minor version reads the model; "newer": later ones read it, too; "major":
#: later ones do, and earlier ones of the same major version.
READERS = {
    "scikit-learn": "minor",  # "Security & maintainability limitations": unsupported otherwise
    "cloudpickle": "minor",
    "skops": "newer",
    "joblib": "newer",
    "xgboost": "newer",  # "Introduction to Model IO": models are read by later versions
    "xgboost-cpu": "newer",
    "lightgbm": "newer",
    "onnxruntime": "newer",  # "Compatibility": later versions run all earlier opsets
    "onnxruntime-gpu": "newer",
    "numpy": "major",  # pickled arrays name modules that numpy 1 does not have
}


def check_versions(name: str, requirements: Sequence[str]) -> None:
    """Refuses libraries that cannot read this model, before they try.

    ImportError: there is none; RuntimeError: another version. A library reads models of other
    versions wrongly rather than not at all, so this is no warning.
    """
    for requirement in requirements:
        pin, _, wanted = requirement.partition("==")
        library, wanted = pin.partition("[")[0].strip().lower(), wanted.strip()
        if library not in READERS or not wanted:
            continue
        try:
            found = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            raise ImportError(f"{name} needs {library} {wanted}, and there is none here.") from None
        if not can_read(READERS[library], wanted, found):
            raise RuntimeError(
                f"{name} was trained with {library} {wanted}; installed is {found}. "
                f"Install {library}=={wanted}, or train again."
            )


def can_read(rule: str, wanted: str, found: str) -> bool:
    """
    >>> can_read("minor", "1.9.1", "1.9.0"), can_read("minor", "1.9.1", "1.10.0")
    (True, False)
    >>> can_read("newer", "3.0.2", "3.1.0"), can_read("newer", "3.1.0", "3.0.2")
    (True, False)
    >>> can_read("major", "2.4.1", "2.0.0"), can_read("major", "2.4.1", "1.26.4")
    (True, False)
    """
    trained, installed = _first_two(wanted), _first_two(found)
    if rule == "minor":
        return trained == installed
    return installed[0] >= trained[0] if rule == "major" else installed >= trained


def _first_two(version: str) -> tuple[int, ...]:
    digits = ["".join(filter(str.isdigit, part)) or "0" for part in version.split(".")[:2]]
    return tuple(map(int, digits))


def check_python(document: Mapping[str, Any]) -> None:
    """cloudpickle keeps Python's own instructions, which differ between its minor versions."""
    recorded = str(document.get("python", ""))
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if document["format"] == "cloudpickle" and recorded != running:
        raise RuntimeError(
            f"{document['name']} was pickled by Python {recorded} with its functions; this is "
            f"Python {running}. Load it there, or train again."
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


def _read(package: str, name: str) -> bytes:
    data = pkgutil.get_data(package, name)
    if data is None:
        raise ImportError(f"{package} was imported by a loader that cannot read {name}.")
    return data
