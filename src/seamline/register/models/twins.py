"""The ONNX twin of a model: when there is one, what makes it, and what model.json says of it.

A twin stands in for its model only where it says the same. It is made and compared in a task
process; whether that is enough is decided here, from the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seamline.register.formats.kinds import ModelFormat
from seamline.register.models import loading, package_task, twin_rows, twin_task

#: Fewer rows prove nothing.
MIN_ROWS = 1000
#: More take longer, and tell little more.
MAX_ROWS = 2000
#: Characters.
MAX_REASON = 500
#: Of all labels so many have to be the same.
SAME_LABELS = 0.999

_SKLEARN = ("onnx>=1.17", "onnxruntime>=1.20", "protobuf<7", "skl2onnx>=1.19,<2")
_BOOSTED = (*_SKLEARN, "onnxmltools>=1.14,<2")
#: Format → what converts it, installed beside the model's own libraries.
CONVERTERS: Mapping[str, tuple[str, ...]] = {
    ModelFormat.SKOPS: _SKLEARN,
    ModelFormat.JOBLIB: _SKLEARN,
    ModelFormat.PICKLE: _SKLEARN,
    ModelFormat.CLOUDPICKLE: _SKLEARN,
    ModelFormat.XGBOOST: _BOOSTED,
    ModelFormat.LIGHTGBM: _BOOSTED,
}


def check_plan(check_path: Path, rows_path: Path | None = None) -> dict[str, Any]:
    """What the packaging task is told, so that it writes the rows to compare by.

    `rows_path`: JSON lines of training data, besides the sample rows.
    """
    return {
        "script": twin_rows.__file__,
        "check_path": str(check_path),
        "rows_path": str(rows_path) if rows_path else None,
        "max_rows": MAX_ROWS,
    }


def twin_task_of(
    described: Mapping[str, Any], model_path: Path, check_path: Path, twin_path: Path
) -> tuple[Path, dict[str, Any]]:
    """The script and its payload, for a task process of the converters' environment."""
    wanted = ("format", "loading", "payload_digest", "trusted_types", "task", "threshold")
    payload = {
        "loader_path": str(Path(loading.__file__).parent),
        "rows_script": twin_rows.__file__,
        "package_script": package_task.__file__,
        "model_path": str(model_path),
        "check_path": str(check_path),
        "twin_path": str(twin_path),
        "described": {
            **{key: described[key] for key in wanted},
            "signature": described["signature"],
        },
    }
    return Path(twin_task.__file__), payload


def why_none(form: str, rows: int) -> str:
    """Why no conversion is tried; empty where one is.

    >>> why_none("skops", 500)
    'only 500 rows to compare by; 1,000 are needed'
    """
    if form not in CONVERTERS:
        return f"a {form} model has no converter"
    if rows < MIN_ROWS:
        return f"only {rows:,} rows to compare by; {MIN_ROWS:,} are needed"
    return ""


def decide_twin(compared: Mapping[str, Any]) -> str:
    """Why the twin does not stand in for the model; empty where it does.

    `compared`: of so many rows and edge_rows, how many labels flipped, how many answers lie beyond
    the tolerance, and how many rows only one of the two answers (disputed).

    >>> same = {"rows": 1000, "edge_rows": 20, "flips": 1, "beyond": 0, "disputed": 0}
    >>> decide_twin({**same, "max_delta": 1e-7, "tolerance": 1e-3})
    ''
    >>> decide_twin({**same, "rows": 28756, "edge_rows": 0, "flips": 6549})
    'flips 6,549 of 28,756 labels'
    """
    total = compared["rows"] + compared["edge_rows"]
    if compared["rows"] < MIN_ROWS:
        return f"only {compared['rows']:,} rows to compare by; {MIN_ROWS:,} are needed"
    if compared["flips"] > total * (1 - SAME_LABELS):
        return f"flips {compared['flips']:,} of {total:,} labels"
    if compared["beyond"]:
        widest = compared["max_delta"]
        by = f", by up to {widest:g}" if widest is not None else ""
        return (
            f"differs by more than {compared['tolerance']:g} in {compared['beyond']:,} of "
            f"{total:,} rows{by}"
        )
    if compared["disputed"]:
        return f"only one of the two answers {compared['disputed']:,} of {total:,} rows"
    return ""


def say_twin(document: Mapping[str, Any]) -> str:
    """In one line, for people.

    >>> say_twin({"twin": {"digest": None, "reason": "flips 6,549 of 28,756 labels"}})
    'none: flips 6,549 of 28,756 labels'
    >>> say_twin({"format": "onnx", "twin": {"digest": "sha256:00", "reason": ""}})
    'the model itself is ONNX'
    """
    twin = document.get("twin")
    if twin is None:
        return "none: the version was packaged before there were any"
    if twin["digest"] is None:
        return f"none: {twin['reason']}"
    if "compared" not in twin:
        return "the model itself is ONNX"
    compared = twin["compared"]
    total, most = compared["rows"] + compared["edge_rows"], f"{compared['max_delta']:g}"
    if document["task"] == "regression":
        return f"agrees on {total:,} rows, within {most} ({twin['digest']})"
    flips = f"{compared['flips']:,} labels differ"
    return f"agrees on {total:,} rows: {flips}, scores by {most} at most ({twin['digest']})"


def no_twin(reason: str) -> dict[str, Any]:
    """`twin` in model.json, where there is none. `reason`: what an installer says has many lines.

    >>> no_twin("it does not\\n  convert")
    {'digest': None, 'reason': 'it does not convert'}
    """
    return {"digest": None, "reason": " ".join(reason.split())[:MAX_REASON]}
