"""The package of a model that adds two numbers, with an ONNX twin that does, too."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.linear_model import LinearRegression

from seamline.domain.digests import digest_of
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel

TINY = runpy.run_path(str(Path(__file__).parents[1] / "serve" / "tiny_onnx.py"))


def sum_graph() -> bytes:
    """temp + wind, each a column of its own."""
    node, part, column, number = (TINY[f"_{name}"] for name in ("node", "part", "column", "number"))
    parts = [node("Add", ["temp", "wind"], "felt"), part(2, "sum")]
    parts += [column(11, name, TINY["FLOAT"], 1) for name in ("temp", "wind")]
    graph = b"".join([*parts, column(12, "felt", TINY["FLOAT"], 1)])
    return number(1, 8) + part(7, graph) + part(8, number(2, 17))


def model_wheel(
    said: float = 3.5,
    name: str = "felt",
    version: str = "1.0.0",
    scale: float = 1.0,
    scenario: dict[str, Any] | None = None,
) -> bytes:
    """`said`: what it is said to have answered to its one sample row. What scales the sum has no
    twin. With a `scenario` it is one of the family `breeze`."""
    given = np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 5.0]])
    payload = skops.io.dumps(LinearRegression().fit(given, scale * given.sum(axis=1)))
    twin = sum_graph() if scale == 1.0 else None
    described: dict[str, Any] = {
        "task": "regression",
        "format": "skops",
        "payload_digest": digest_of(payload),
        "threshold": 0.5,
        "signature": {
            "inputs": [
                {"name": name, "datatype": "FP64", "nullable": False} for name in ("temp", "wind")
            ],
            "outputs": [{"name": "prediction", "datatype": "FP64"}],
        },
        "requirements": [],
        "requires_python": ">=3.11",
        "trusted_types": [],
        "frame": None,
    }
    if twin is not None:
        described["twin"] = {"digest": digest_of(twin), "compared": {"tolerance": 1e-3}}
    lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
    family = "breeze" if scenario else None
    document = make_model_document(
        name, version, described, lineage, family=family, scenario=scenario
    )
    samples = {"rows": [{"temp": 1.5, "wind": 2.0}], "outputs": {"prediction": [said]}}
    return build_model_wheel(ModelWheelSpec(document, samples, payload, twin=twin))
