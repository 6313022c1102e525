"""Step 3: a model is a wheel in our index; whoever installs it gets what training gave."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile

import pytest

MODELS = ("late-arrival", "air-time")


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("package")


@pytest.mark.parametrize("model", MODELS)
def test_the_index_serves_the_registered_bytes(world, digest_of, model):
    shown = world.seamline("model", "show", model, "--version", "1.0.0")
    assert digest_of(world.wheel("dataops", model, "1.0.0")) == shown["wheel_digest"]


@pytest.mark.parametrize("model", MODELS)
def test_the_wheel_carries_its_lineage(world, digest_of, model):
    run = world.demo.run_ids[model]
    pipeline = world.seamline("pipeline", "show", f"{model}-training@1.0.0")["digest"]
    flights = world.seamline("data", "show", "flights@6")["digest"]
    with zipfile.ZipFile(io.BytesIO(world.wheel("dataops", model, "1.0.0"))) as wheel:
        names = {name.rsplit("/", 1)[-1]: name for name in wheel.namelist()}
        metadata = wheel.read(names["METADATA"]).decode()
        document = json.loads(wheel.read(names["model.json"]))
        payload = next(wheel.read(name) for name in wheel.namelist() if "/payload/" in name)
    for line in (f"Run: {run}", pipeline, f"flights@6 ({flights})", digest_of(payload)):
        assert line in metadata
    assert document["lineage"]["run_id"] == run
    assert document["metrics"]["train_rows"] > 150_000
    assert document["parameters"]
    assert [one["name"] for one in document["signature"]["inputs"]]


@pytest.mark.parametrize("model", MODELS)
def test_the_api_knows_how_it_was_trained(world, model):
    """All of it, although the tasks log no hyper-parameter of theirs and no time."""
    document = world.get(f"/api/v1/models/{model}?version=1.0.0")["document"]
    training, lineage = document["training"], document["lineage"]
    assert document["estimator"]["class"].startswith("sklearn.")
    assert len(document["estimator"]["parameters"]) > 10
    assert document["loading"]["verdict"] == "data"
    assert training["fidelity"] and training["started_at"] < training["ended_at"]
    assert training["requested_by"] and training["environment"] == "dataops"
    assert [one["digest"] for one in training["inputs"]]
    assert {one["image"] for one in training["components"]} >= {"python:3.11"}
    assert all(one["digest"].startswith("sha256:") for one in training["components"])
    assert set(document["requirements"]) <= set(training["packages"])
    assert lineage["arguments"] and lineage["pipeline_digest"] and lineage["dataset_versions"]


@pytest.mark.parametrize("module", ["late_arrival", "air_time"])
def test_a_clean_environment_predicts_as_training_did(clean_python, module):
    """The wheel keeps rows of training with what the model said of them there."""
    program = f"""
import json, {module}
from importlib.resources import files
kept = json.loads((files({module}) / "samples.json").read_text())
said = {module}.load().outputs(
    {{name: [row[name] for row in kept["rows"]] for name in kept["rows"][0]}}
)
worst = max(
    abs(float(a) - float(b))
    for name, column in kept["outputs"].items() for a, b in zip(said[name], column)
)
print(json.dumps([len(kept["rows"]), worst]))
"""
    done = subprocess.run([clean_python, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows, worst = json.loads(done.stdout)
    assert rows >= 100
    assert worst < 1e-9


def test_it_needs_nothing_of_ours(clean_python):
    program = "import importlib.util as u; print(u.find_spec('seamline'), u.find_spec('kfp'))"
    done = subprocess.run([clean_python, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["None", "None"]


def test_names_of_ours_are_never_asked_upstream(world):
    """Also in an environment whose index does not hold them, and for a version that is not."""
    for environment in ("dataops", "development", "staging", "production"):
        status, headers, _ = world.ask(f"/pypi/{environment}/simple/air-time/")
        assert status in (200, 404)
        assert "location" not in {name.lower() for name in headers}
    foreign, _, _ = world.ask("/pypi/dataops/simple/numpy/")
    assert foreign // 100 in (2, 3)


def test_a_taken_version_cannot_have_other_bytes(world, tmp_path, digest_of):
    """The same file name, one more file inside, uploaded by the stock twine."""
    original = world.wheel("dataops", "air-time", "1.0.0")
    path = tmp_path / "air_time-1.0.0-py3-none-any.whl"
    path.write_bytes(original)
    with zipfile.ZipFile(path, "a") as wheel:
        wheel.writestr("air_time/extra.txt", "other bytes")
    twine = [sys.executable, "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar"]
    token = world.demo.server.tokens["ada"]
    where = ["--repository-url", f"{world.url}/pypi/dataops/upload/", "-u", "__token__"]
    done = subprocess.run([*twine, *where, "-p", token, path], capture_output=True, text=True)
    assert done.returncode != 0
    assert digest_of(world.wheel("dataops", "air-time", "1.0.0")) == digest_of(original)
