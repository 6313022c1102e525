"""What skops is told to trust of scikit-learn is what it would trust itself, and no more."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import pkgutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sklearn
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import all_estimators

from seamline.serve.workers import skops_trust
from seamline.serve.workers.skops_trust import named_estimators, public_estimator

X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
INSIDE = "m/payload/model.skops"
SCRIPT = """
import importlib.util, json, sys, zipfile
path, wheel, inside, *trusted = sys.argv[1:]
spec = importlib.util.spec_from_file_location("skops_trust", path)
ours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ours)
archive = zipfile.ZipFile(wheel)
ours.trust_what_it_names(archive, inside)
import sklearn.utils, skops.io
from skops.io._trusted_types import SKLEARN_ESTIMATOR_TYPE_NAMES as listed
says = []
for more in ([], trusted):
    try:
        says.append(type(skops.io.loads(archive.read(inside), trusted=more)).__name__)
    except Exception as error:
        says.append(f"{type(error).__name__}: {error}")
is_restored = sklearn.utils.all_estimators is sklearn.utils.discovery.all_estimators
print(json.dumps([*says, sorted(listed), is_restored]))
"""


def wheel_of(path: Path, model) -> Path:
    payload = model if isinstance(model, bytes) else skops.io.dumps(model)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(INSIDE, payload)
    return path


def test_the_rule_is_that_of_scikit_learn():
    kept, seen = set(), set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(sklearn.__path__, "sklearn."):
            if {"tests", "externals", "conftest", "_build_utils"} & set(module.name.split(".")):
                continue
            for _, one in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if one.__module__.startswith("sklearn.") and one not in seen:
                    seen.add(one)
                    if public_estimator(one.__module__, one.__name__) is one:
                        kept.add(one)
        # Only now: what is experimental is public once it was imported.
        public = {one for _, one in all_estimators() if one.__module__.startswith("sklearn.")}
    assert kept == public
    assert len(public) > 150
    assert len(seen) > 2 * len(public)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sklearn.base", "BaseEstimator"),
        ("sklearn.linear_model", "LogisticRegression"),  # not where it is defined
        ("sklearn.linear_model._logistic", "Absent"),
        ("sklearn.absent", "LogisticRegression"),
        ("sklearn.utils", "Bunch"),
        ("sklearn.preprocessing._data", "check_array"),
    ],
)
def test_what_is_no_public_estimator_is_none(module, name):
    assert public_estimator(module, name) is None


def test_a_file_is_loaded_with_what_it_names_and_was_approved_for(tmp_path):
    """In a process of its own: skops makes its list once."""
    model = make_pipeline(FunctionTransformer(json.dumps), LogisticRegression())
    wheel = wheel_of(tmp_path / "m.whl", model)
    command = [sys.executable, "-c", SCRIPT, skops_trust.__file__, str(wheel), INSIDE, "json.dumps"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    refused, approved, listed, is_restored = json.loads(shown)
    assert refused.startswith("UntrustedTypesFoundException")
    assert "json.dumps" in refused
    assert approved == "Pipeline"
    assert listed == [
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._function_transformer.FunctionTransformer",
    ]
    assert is_restored


def test_trees_and_bins_are_no_estimators(tmp_path):
    """Of a file with a name that is none skops makes the list itself."""
    names = []
    for model in (RandomForestClassifier(2), HistGradientBoostingClassifier(max_iter=1)):
        with zipfile.ZipFile(wheel_of(tmp_path / "m.whl", model.fit(X, Y))) as archive:
            names.append(named_estimators(archive, INSIDE))
    forest, boosted = names
    assert {one for _, one in forest} == {"RandomForestClassifier", "DecisionTreeClassifier"}
    assert all(public_estimator(*one) for one in forest)
    bins = ("sklearn.ensemble._hist_gradient_boosting.binning", "_BinMapper")
    assert bins in boosted
    assert public_estimator(*bins) is None


def test_what_is_no_such_file_names_nothing(tmp_path):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("schema.json", "[")
    for payload in (b"no zip", memory.getvalue()):
        with zipfile.ZipFile(wheel_of(tmp_path / "m.whl", payload)) as archive:
            assert named_estimators(archive, INSIDE) == set()
