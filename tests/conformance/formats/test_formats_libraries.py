"""Models of each format, written by its own library: the wheel says what that library said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from seamline.register.models.catalogue import read_model_wheel

Package = Callable[[str], Any]
#: Model → format, verdict, main library, a parameter that nobody told.
MODELS = {
    "xgb_class.ubj": ("xgboost", "data", "xgboost-cpu", "objective.name"),
    "xgb_number.json": ("xgboost", "data", "xgboost-cpu", "objective.name"),
    "lgb_class.txt": ("lightgbm", "data", "lightgbm", "num_leaves"),
    "lgb_number.txt": ("lightgbm", "data", "lightgbm", "num_leaves"),
    "onnx_columns.onnx": ("onnx", "data", "onnxruntime", None),
    "onnx_matrix.onnx": ("onnx", "data", "onnxruntime", None),
    "onnx_number.onnx": ("onnx", "data", "onnxruntime", None),
    "named.joblib": ("joblib", "arbitrary code", "joblib", "logisticregression__C"),
    "packed.joblib": ("joblib", "arbitrary code", "joblib", "logisticregression__C"),
    "named.pickle": ("pickle", "arbitrary code", "scikit-learn", "logisticregression__C"),
    "early.pickle": ("pickle", "arbitrary code", "xgboost-cpu", "max_depth"),
    "own.cloudpickle": ("cloudpickle", "arbitrary code", "cloudpickle", "logisticregression__C"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_wheel_answers_as_the_library_did(laboratory: Any, package: Package, name: str) -> None:
    packaged = package(name)
    outputs = laboratory.use(packaged)
    assert outputs == packaged.described["samples"]["outputs"]
    said = outputs["score" if "score" in outputs else "prediction"]
    np.testing.assert_allclose(said, laboratory.expected[name], rtol=1e-5, atol=1e-5)
    assert len(said) == 50


@pytest.mark.parametrize("name", MODELS)
def test_a_wheel_says_what_it_is(package: Package, name: str) -> None:
    form, verdict, library, parameter = MODELS[name]
    packaged = package(name)
    with packaged.wheel.open("rb") as file:
        document, digest = read_model_wheel(file)
    assert (document["format"], document["loading"]["verdict"]) == (form, verdict)
    assert digest == document["payload_digest"]
    assert any(pin.startswith(f"{library}==") for pin in document["requirements"])
    if parameter is not None:
        assert parameter in document["parameters"]
    assert document["estimator"]["class"]


def test_categories_come_with_lightgbm(package: Package) -> None:
    document = package("lgb_class.txt").document
    assert document["signature"]["inputs"][0] == {
        "name": "carrier",
        "datatype": "BYTES",
        "nullable": False,
    }
    assert document["frame"] == "pandas"


def test_three_classes_are_refused(laboratory: Any) -> None:
    with pytest.raises(AssertionError, match="'multi:softprob' is neither yes or no nor a number"):
        laboratory.package("xgb_three.ubj")


def test_a_library_that_is_older_is_refused(laboratory: Any, package: Package) -> None:
    """Before it tries: what it would read is not what was written."""
    packaged = package("xgb_class.ubj")
    program = f"""
import importlib.metadata, sys
real = importlib.metadata.version
importlib.metadata.version = lambda name: "1.7.6" if name == "xgboost-cpu" else real(name)
sys.path.insert(0, {str(packaged.wheel)!r})
import {packaged.document["module"]} as model
model.load()
"""
    done = subprocess.run([laboratory.python, "-c", program], capture_output=True, text=True)
    assert "was trained with xgboost-cpu" in done.stderr
    assert "installed is 1.7.6" in done.stderr
