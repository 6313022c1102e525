"""Convert a model to ONNX, and say where the two differ.

A plain script, as package_task.py, but in an environment of its own: the model's libraries beside
the converters, which want older ones (protobuf before 7) than the model or the server may have.

payload: {loader_path, rows_script (twin_rows.py), package_script (package_task.py),
          model_path, check_path (what twin_rows.py wrote), twin_path (where the graph goes),
          described (by package_task.py)}
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Old enough for the runtimes that devices have: ONNX Runtime from 1.12 on reads it.
OPSETS = {"": 17, "ai.onnx.ml": 3}
#: The older of the two converters numbers both by one.
MLTOOLS_OPSET = 15
CONVERTERS = ("skl2onnx", "onnxmltools", "onnx", "onnxruntime")
#: |Δp| of a probability; for a regression the same share of what its predictions span.
TOLERANCE = 1e-3
#: A graph computes in single precision: what that loses of large values is no disagreement.
PRECISION = 1e-6


def main(payload: dict[str, Any]) -> dict[str, Any]:
    """{reason} where there is no graph; else what was compared, and how the graph was made."""
    loader = runpy.run_path(payload["package_script"])["open_loader"](payload["loader_path"])
    answers = runpy.run_path(payload["rows_script"])["answers"]
    described = {"name": "the model", "version": "to be packaged", **payload["described"]}
    data = Path(payload["model_path"]).read_bytes()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    if digest != described["payload_digest"]:
        raise ValueError(f"expected {described['payload_digest']}, found {digest}")
    check = json.loads(Path(payload["check_path"]).read_text("utf-8"))
    estimator = loader.open_estimator(described, data)
    try:
        graph, layout = convert(described, estimator)
        twin = loader.Model(
            {**described, "frame": None}, loader.open_estimator({"format": "onnx"}, graph)
        )
        said = [*answers(twin, check["rows"]), *answers(twin, check["edge_rows"])]
    except Exception as error:
        return {"reason": f"it does not convert: {say(error)}"}
    Path(payload["twin_path"]).write_bytes(graph)
    return {
        "reason": "",
        "digest": "sha256:" + hashlib.sha256(graph).hexdigest(),
        "inputs": layout,
        "converters": [f"{name}=={version}" for name, version in _versions()],
        "compared": {
            "rows": len(check["rows"]),
            "edge_rows": len(check["edge_rows"]),
            **compare(check["answers"], said, described["threshold"]),
        },
    }


def convert(described: dict[str, Any], estimator: Any) -> tuple[bytes, str]:
    """(graph, how it takes its inputs: "matrix" or "columns"). Raises what the converters do."""
    inputs = described["signature"]["inputs"]
    form = described["format"]
    if form in ("xgboost", "lightgbm"):
        if any(declared["datatype"] == "BYTES" for declared in inputs):
            raise ValueError("categories inside the model have no converter")
        make = _convert_xgboost if form == "xgboost" else _convert_lightgbm
        return _bytes_of(make(estimator, len(inputs))), "matrix"
    is_mixed = any(declared["datatype"] == "BYTES" for declared in inputs)
    if not is_mixed:
        try:
            return _convert_sklearn(estimator, inputs, "matrix"), "matrix"
        except Exception:  # one that picks its columns by name
            return _convert_sklearn(estimator, inputs, "columns"), "columns"
    return _convert_sklearn(estimator, inputs, "columns"), "columns"


def _convert_sklearn(estimator: Any, inputs: list[dict[str, Any]], layout: str) -> bytes:
    skl2onnx = importlib.import_module("skl2onnx")
    types = importlib.import_module("skl2onnx.common.data_types")
    if layout == "matrix":
        taken = [("rows", types.FloatTensorType([None, len(inputs)]))]
    else:
        kinds = {True: types.StringTensorType, False: types.FloatTensorType}
        taken = [(one["name"], kinds[one["datatype"] == "BYTES"]([None, 1])) for one in inputs]
    options = {"zipmap": False} if hasattr(estimator, "classes_") else None
    graph = skl2onnx.convert_sklearn(
        estimator, "twin", initial_types=taken, options=options, target_opset=OPSETS
    )
    return _bytes_of(graph)


def _bytes_of(graph: Any) -> bytes:
    """The same for the same model: converters list what a graph needs by their process' hashes."""
    needed = sorted(graph.opset_import, key=lambda one: str(one.domain))
    del graph.opset_import[:]
    graph.opset_import.extend(needed)
    return bytes(graph.SerializeToString(deterministic=True))


def _convert_xgboost(model: Any, width: int) -> Any:
    tools, kind = _mltools()
    booster = model.booster
    best = booster.attr("best_iteration")
    if best is not None:  # as the adapter predicts: up to the best tree
        booster = booster[: int(best) + 1]
    booster.feature_names = None  # the converter knows columns by their place
    return tools.convert_xgboost(
        booster, "twin", [("rows", kind([None, width]))], target_opset=MLTOOLS_OPSET
    )


def _convert_lightgbm(model: Any, width: int) -> Any:
    tools, kind = _mltools()
    return tools.convert_lightgbm(
        model.booster,
        "twin",
        [("rows", kind([None, width]))],
        target_opset=MLTOOLS_OPSET,
        zipmap=False,
    )


def _mltools() -> tuple[Any, Callable[..., Any]]:
    types = importlib.import_module("onnxmltools.convert.common.data_types")
    return importlib.import_module("onnxmltools"), types.FloatTensorType


def compare(
    expected: list[float | None], said: list[float | None], threshold: float | None
) -> dict[str, Any]:
    """Counts; `disputed`: rows that one of the two refuses, and the other answers.

    >>> compare([0.2, 0.7, None], [0.2, 0.4, 0.1], 0.5) == {
    ...     "disputed": 1, "flips": 1, "beyond": 1, "max_delta": 0.3, "tolerance": 0.001
    ... }
    True
    """
    pairs = list(zip(expected, said, strict=True))
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    deltas = [_delta(a, b) for a, b in both]
    tolerance = TOLERANCE if threshold is not None else _tolerance([a for a, _ in both])
    widest = max(deltas, default=0.0)
    return {
        "disputed": sum((a is None) != (b is None) for a, b in pairs),
        "flips": sum((a >= threshold) != (b >= threshold) for a, b in both)
        if threshold is not None
        else 0,
        "beyond": sum(delta > tolerance for delta in deltas),
        "max_delta": float(f"{widest:.3g}") if math.isfinite(widest) else None,
        "tolerance": tolerance,
    }


def _delta(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return 0.0 if math.isnan(a) and math.isnan(b) else math.inf
    return abs(a - b)


def _tolerance(values: list[float]) -> float:
    """A thousandth of what the predictions span, as 1e-3 is of a probability: it does not depend
    on the unit, nor on where its zero lies.

    >>> _tolerance([100.0, 300.0])
    0.2
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0
    span, largest = max(finite) - min(finite), max(map(abs, finite))
    return float(f"{max(TOLERANCE * span, PRECISION * largest):.3g}")


def say(error: Exception) -> str:
    """Its first line, so long as a line may be.

    >>> say(ValueError("no\\nmore"))
    'ValueError: no'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in CONVERTERS:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
