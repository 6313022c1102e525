"""Describe a trained model, in a task process of the model's own requirement set.

A plain script: standard library, and what the model itself needs. `main` opens the payload
through the loader that goes into the wheel, infers the signature from sample rows and computes
their outputs. The control plane makes the wheel from what this returns, and never unpickles.

payload: {loader_path (the folder that goes into the wheel as `_loader`), model_path,
          samples_path (JSON lines), requirements, threshold, format,
          loading (what the control plane's scan of the bytes said; pickles are opened by it),
          payload_digest (of the bytes that were scanned: others are not opened),
          code ({texts: path → source, described: what model.json says of it}, where there is any),
          nullable (columns that may be null although no sample is), max_samples,
          check (what the rows for the ONNX twin are written by, see twins.py)}
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import math
import re
import runpy
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
#: Format → modules that reading it takes.
FRAMEWORK = {
    "skops": ("sklearn", "skops", "numpy"),
    "xgboost": ("xgboost", "numpy"),
    "lightgbm": ("lightgbm", "numpy"),
    "onnx": ("onnxruntime", "numpy"),
    "joblib": ("joblib", "numpy"),
    "pickle": ("numpy",),
    "cloudpickle": ("cloudpickle", "numpy"),
    "torch-state": ("torch", "safetensors", "numpy"),
}
#: What fitting leaves behind, where a model has it: counts and scores of the training itself.
FITTED = frozenset(
    {"n_iter_", "n_features_in_", "n_estimators_", "best_iteration_", "best_score_", "oob_score_"}
    | {"train_score_", "validation_score_", "loss_", "inertia_", "alpha_", "C_", "n_support_"}
)
MAX_TEXT = 200


def main(payload: dict[str, Any]) -> dict[str, Any]:
    loader = open_loader(payload["loader_path"])
    form = str(payload.get("format", "skops"))
    data = _model_bytes(Path(payload["model_path"]))
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    if payload.get("payload_digest") not in (None, digest):
        raise ValueError(
            f"The model's bytes were altered: expected {payload['payload_digest']}, found {digest}."
        )
    loading = payload.get("loading") or {"verdict": "data", "globals": []}
    described: dict[str, Any] = {
        "name": "the model",
        "version": "to be packaged",
        "format": form,
        "loading": loading,
        "payload_digest": digest,
        "trusted_types": trusted_types(data) if form == "skops" else [],
    }
    code = payload.get("code")
    if code:
        described["code"] = code["described"]
    estimator = _open(loader, described, data, code)
    rows = _sample_rows(Path(payload["samples_path"]), int(payload.get("max_samples", 100)))
    inputs = infer_inputs(rows, _input_names(estimator, rows), payload.get("nullable", []))
    task = _task_of(estimator)
    described["task"] = task
    is_classifier = task != "regression"
    described["threshold"] = float(payload.get("threshold", 0.5)) if is_classifier else None
    described["signature"] = {"inputs": inputs, "outputs": _outputs_of(task)}
    described["frame"], outputs = _try_frames(loader, described, estimator, rows)
    taken = [*_libraries(form, loading["globals"]), *filter(None, [described["frame"]])]
    described["requirements"] = pinned_requirements(payload.get("requirements", []), taken)
    described["python"] = f"{sys.version_info.major}.{sys.version_info.minor}"
    described["requires_python"] = f">={described['python']}"
    described["estimator"] = read_estimator(estimator)
    names = [declared["name"] for declared in inputs]
    described["samples"] = {
        "rows": [{name: row[name] for name in names} for row in rows],
        "outputs": {name: array.tolist() for name, array in outputs.items()},
    }
    if payload.get("check"):
        model = loader.Model(described, estimator)
        described["check_rows"] = _write_check(payload["check"], payload["samples_path"], model)
    del described["name"], described["version"]
    return described


def _write_check(check: dict[str, Any], samples_path: str, model: Any) -> int:
    """The sample rows and those of the training data, as many as there may be of each."""
    rows = _sample_rows(Path(samples_path), int(check["max_rows"]))
    if check["rows_path"]:
        rows += _sample_rows(Path(check["rows_path"]), int(check["max_rows"]))
    write = runpy.run_path(check["script"])["write_check"]
    inputs = model.signature["inputs"]
    return int(write(Path(check["check_path"]), model, inputs, rows))


def _open(
    loader: ModuleType, described: dict[str, Any], data: bytes, code: dict[str, Any] | None
) -> Any:
    sources = {path: text.encode() for path, text in code["texts"].items()} if code else None
    try:
        return loader.open_estimator(described, data, sources)
    except ImportError as error:
        raise ValueError(
            f"The model is a {described['format']} file, and the task that made it has no "
            f"{error.name or 'library'} to read it with. Add that to its packages_to_install."
        ) from error


def read_estimator(estimator: Any) -> dict[str, Any]:
    """{class, parameters, fitted}: hyper-parameters and what fitting left, without being told."""
    parameters = getattr(estimator, "parameters", None)
    if parameters is None:
        read = getattr(estimator, "get_params", dict)
        parameters = {name: _plain(value) for name, value in sorted(read().items())}
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    fitted = {name: _number(getattr(last, name, None)) for name in sorted(FITTED)}
    kind = f"{type(last).__module__}.{type(last).__qualname__}"
    return {
        "class": getattr(last, "class_name", kind),
        "parameters": {name: _plain(value) for name, value in parameters.items()},
        "fitted": {name: number for name, number in fitted.items() if number is not None},
    }


def _plain(value: Any) -> Any:
    """As JSON has it: numbers, texts and lists of them; of objects what they are called.

    >>> _plain(float("nan")), _plain((1, "a")), _plain(print)
    ('nan', [1, 'a'], 'builtins.print')
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, list | tuple) and len(value) <= MAX_TEXT:
        return [_plain(one) for one in value]
    if isinstance(value, dict) and len(value) <= MAX_TEXT:
        return {str(key): _plain(one) for key, one in value.items()}
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _number(value: Any) -> float | int | None:
    """A number, or the last one of a list of them.

    >>> _number([0.5, 0.25]), _number("x"), _number(3)
    (0.25, None, 3)
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list) and value:
        value = value[-1]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def _libraries(form: str, names: list[str]) -> list[str]:
    """Modules that reading takes: the format's own, and those that a pickle names."""
    roots = {name.partition(".")[0] for name in names}
    return [*FRAMEWORK[form], *sorted(roots - set(sys.stdlib_module_names))]


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


def pinned_requirements(declared: list[str], modules: list[str]) -> list[str]:
    """What was declared, and what these modules come in, at the versions that are installed."""
    pins: dict[str, str] = {}
    for text in [*declared, *(_distribution_of(module) for module in modules)]:
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


def _distribution_of(module: str) -> str:
    """What a module comes in; to look through all that is installed takes long, so by name first.

    >>> _distribution_of("sklearn"), _distribution_of("numpy")
    ('scikit-learn', 'numpy')
    """
    name = "scikit-learn" if module == "sklearn" else module
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.packages_distributions().get(module, [module])[0]
    return name


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
    takes = getattr(estimator, "takes", None)
    if takes is not None:
        frame = None if takes == "numbers" else str(takes)
        return frame, loader.Model({**document, "frame": frame}, estimator).outputs(rows)
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
    if hasattr(estimator, "takes"):
        return str(estimator.task)
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
    takes = getattr(estimator, "n_features_in_", None) or len(names)
    if takes != len(names):
        raise ValueError(f"The model takes {takes} columns, the sample rows have {len(names)}.")
    return names


def _model_bytes(path: Path) -> bytes:
    if not path.is_dir():
        return path.read_bytes()
    files = sorted(one for one in path.rglob("*") if one.is_file())
    if len(files) != 1:
        raise ValueError(f"{path} must hold one file, the model; it holds {len(files)}.")
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


def open_loader(folder: str) -> ModuleType:
    """The loader as a package: the same files that go into the wheel."""
    spec = importlib.util.spec_from_file_location("_loader", Path(folder, "__init__.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["_loader"] = module
    spec.loader.exec_module(module)
    return module
