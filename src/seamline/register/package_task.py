"""Describe a trained model, in a task process of the model's own requirement set.

A plain script: standard library, and what the model itself needs. `main` opens the payload
through the loader that goes into the wheel, infers the signature from sample rows and computes
their outputs. The control plane makes the wheel from what this returns, and never unpickles.

payload: {loader_source, model_path, samples_path (JSON lines), requirements, threshold,
          nullable (columns that may be null although no sample is), max_samples}
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import math
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

#: What holds numbers and structure: anything here, and the classes of numpy and scipy …
ALLOWED_PREFIXES = ("scipy.sparse.", "scipy.stats.", "sklearn.")
ALLOWED_CLASSES = ("numpy.", "scipy.")
#: A class with a small first letter: what an imputer keeps of its columns.
ALLOWED_NAMES = frozenset(["numpy.dtype"])
#: … except these parts, which run, fetch or open things.
REFUSED_PARTS = frozenset(
    {"_testing", "ctypeslib", "datasets", "distutils", "externals", "f2py", "io", "npyio"}
    | {"testing", "tests"}
)
FRAMEWORK = ("scikit-learn", "skops", "numpy")


def main(payload: dict[str, Any]) -> dict[str, Any]:
    loader = _module_of(payload["loader_source"])
    data = _model_bytes(Path(payload["model_path"]))
    trusted = trusted_types(data)
    estimator = importlib.import_module("skops.io").loads(data, trusted=trusted)
    rows = _sample_rows(Path(payload["samples_path"]), int(payload.get("max_samples", 100)))
    inputs = infer_inputs(rows, _input_names(estimator, rows), payload.get("nullable", []))
    task = _task_of(estimator)
    described: dict[str, Any] = {
        "name": "the model",
        "version": "to be packaged",
        "task": task,
        "format": "skops",
        "payload_digest": "sha256:" + hashlib.sha256(data).hexdigest(),
        "threshold": float(payload.get("threshold", 0.5)) if task != "regression" else None,
        "signature": {"inputs": inputs, "outputs": _outputs_of(task)},
        "trusted_types": trusted,
    }
    described["frame"], outputs = _try_frames(loader, described, estimator, rows)
    described["requirements"] = pinned_requirements(
        payload.get("requirements", []), [described["frame"]] if described["frame"] else []
    )
    described["requires_python"] = f">={sys.version_info.major}.{sys.version_info.minor}"
    names = [declared["name"] for declared in inputs]
    described["samples"] = {
        "rows": [{name: row[name] for name in names} for row in rows],
        "outputs": {name: array.tolist() for name, array in outputs.items()},
    }
    del described["name"], described["version"]
    return described


def trusted_types(data: bytes) -> list[str]:
    """The types that skops does not know by itself; ValueError when one could run code."""
    skops = importlib.import_module("skops.io")
    try:
        unknown = sorted(skops.get_untrusted_types(data=data))
    except Exception as error:
        raise ValueError(
            f"The model is not a skops file ({error}). Write it with skops.io.dump(model, path); "
            "pickle and joblib run arbitrary code when they are loaded."
        ) from error
    refused = [name for name in unknown if not is_allowed_type(name)]
    if refused:
        raise ValueError(
            f"Loading the model would run arbitrary code: {', '.join(refused)}. "
            "Only types of scikit-learn, numpy and scipy are packaged."
        )
    return unknown


def is_allowed_type(name: str) -> bool:
    """By name only, so that the control plane can ask too. Functions such as numpy.load,
    which a FunctionTransformer would call on request data, are not allowed.

    >>> is_allowed_type("sklearn._loss.link.LogitLink"), is_allowed_type("__main__.Mine")
    (True, False)
    >>> is_allowed_type("numpy.testing._private.utils.runstring"), is_allowed_type("numpy.load")
    (False, False)
    """
    parts = name.split(".")
    if REFUSED_PARTS & set(parts):
        return False
    is_class = parts[-1][:1].isupper()
    if name in ALLOWED_NAMES or name.startswith(ALLOWED_PREFIXES):
        return True
    return is_class and name.startswith(ALLOWED_CLASSES)


def infer_inputs(
    rows: list[dict[str, Any]], names: list[str], nullable: list[str]
) -> list[dict[str, Any]]:
    """One declared column per name: its OIP datatype, and whether nulls are known.

    >>> infer_inputs([{"a": 1, "b": "x"}, {"a": None, "b": "y"}], ["a", "b"], [])
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'name': 'a', 'datatype': 'INT64', 'nullable': True},
     {'name': 'b', 'datatype': 'BYTES', 'nullable': False}]
    """
    inputs = []
    for name in names:
        values = [row.get(name) for row in rows]
        present = [value for value in values if not _is_null(value)]
        inputs.append(
            {
                "name": name,
                "datatype": _datatype(name, present),
                "nullable": len(present) < len(values) or name in nullable,
            }
        )
    return inputs


def pinned_requirements(declared: list[str], also: list[str]) -> list[str]:
    """What was declared, and the framework, at the versions that are installed here."""
    pins: dict[str, str] = {}
    for text in [*declared, *FRAMEWORK, *also]:
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(\[[^\]]*\])?", text)
        if match is None:
            raise ValueError(f"{text!r} is not a requirement.")
        name = re.sub(r"[-_.]+", "-", match.group(1)).lower()
        try:
            version = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            pins.setdefault(name, text.strip())
            continue
        pins.setdefault(name, f"{name}{match.group(2) or ''}=={version}")
    return [pins[name] for name in sorted(pins)]


def _datatype(name: str, present: list[Any]) -> str:
    kinds = {type(value) for value in present}
    for datatype, types in (
        ("BOOL", {bool}),
        ("INT64", {int}),
        ("FP64", {int, float}),
        ("BYTES", {str}),
    ):
        if present and kinds <= types:
            return datatype
    if not present:
        return "FP64"
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ValueError(f"The sample rows hold {found} in column {name}: use one simple type.")


def _try_frames(
    loader: ModuleType, document: dict[str, Any], estimator: Any, rows: list[dict[str, Any]]
) -> tuple[str | None, dict[str, Any]]:
    """The frame library that the estimator works with, and the sample rows' outputs."""
    if getattr(estimator, "feature_names_in_", None) is None:
        return None, loader.Model(document, estimator).outputs(rows)
    failures: list[Exception] = []
    for library in ("polars", "pandas"):
        if importlib.util.find_spec(library) is None:
            continue
        try:
            return library, loader.Model({**document, "frame": library}, estimator).outputs(rows)
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[-1]
    return None, loader.Model(document, estimator).outputs(rows)


def _task_of(estimator: Any) -> str:
    base = importlib.import_module("sklearn.base")
    if base.is_regressor(estimator):
        return "regression"
    if not base.is_classifier(estimator):
        raise ValueError(f"{type(estimator).__name__} is neither a classifier nor a regressor.")
    classes = [int(label) for label in estimator.classes_ if label in (0, 1)]
    if classes != [0, 1] or len(estimator.classes_) != 2:
        raise ValueError(f"The labels are {list(estimator.classes_)}; train on 0 and 1.")
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(f"{type(estimator).__name__} has no predict_proba; calibrate it.")
    return "binary_classification"


def _outputs_of(task: str) -> list[dict[str, str]]:
    if task == "regression":
        return [{"name": "prediction", "datatype": "FP64"}]
    return [{"name": "label", "datatype": "INT64"}, {"name": "score", "datatype": "FP64"}]


def _input_names(estimator: Any, rows: list[dict[str, Any]]) -> list[str]:
    known = getattr(estimator, "feature_names_in_", None)
    names = [str(name) for name in known] if known is not None else list(rows[0])
    missing = [name for name in names if any(name not in row for row in rows)]
    if missing:
        raise ValueError(f"The sample rows lack what the model takes: {', '.join(missing)}.")
    takes = getattr(estimator, "n_features_in_", len(names))
    if takes != len(names):
        raise ValueError(f"The model takes {takes} columns, the sample rows have {len(names)}.")
    return names


def _model_bytes(path: Path) -> bytes:
    if not path.is_dir():
        return path.read_bytes()
    files = sorted(path.glob("*.skops"))
    if len(files) != 1:
        raise ValueError(f"{path} must hold one .skops file; it holds {len(files)}.")
    return files[0].read_bytes()


def _sample_rows(path: Path, limit: int) -> list[dict[str, Any]]:
    """The first rows, with NaN as null, so that they stay JSON."""
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if len(rows) < limit and line.strip():
                rows.append(json.loads(line))
    if not rows:
        raise ValueError(f"{path} holds no sample rows.")
    return [{k: None if _is_null(v) else v for k, v in row.items()} for row in rows]


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _module_of(source: str) -> ModuleType:
    """The loader as a module: the same text that goes into the wheel."""
    module = ModuleType("_loader")
    exec(compile(source, "_loader.py", "exec"), module.__dict__)  # noqa: S102  our own template
    return module
