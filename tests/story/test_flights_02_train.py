"""Step 2: two teams' pipelines run from their IR; the server imports nothing of theirs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("train")


@pytest.fixture(scope="module")
def runs(world):
    return {
        name: world.seamline("run", "show", world.demo.run_ids[name])
        for name in ("late-arrival", "air-time")
    }


def test_both_trainings_succeeded_task_by_task(runs):
    for run in runs.values():
        assert run["state"] == "succeeded"
        assert run["requested_by"] == "ada"
        assert {(task["state"], task["attempt"]) for task in run["tasks"]} == {("succeeded", 1)}


def test_each_task_is_a_process_of_its_own(world, runs):
    pids = [task["pid"] for run in runs.values() for task in run["tasks"] if task["pid"]]
    assert len(pids) == 3
    assert len({*pids, world.pid}) == 4


def test_the_server_has_loaded_neither_kfp_nor_scikit_learn(world):
    """No file of theirs is mapped, nor the protobuf library that every import of kfp loads; and not
    pandas, which some of our libraries would like to load."""
    marks = ("/sklearn/", "/kfp", "/google/_upb/", "/skops/", "/scipy/", "/pandas/")
    program = "import kfp, sklearn, pathlib; print(pathlib.Path('/proc/self/maps').read_text())"
    control = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "/sklearn/" in control.stdout
    assert "/google/_upb/" in control.stdout
    maps = Path(f"/proc/{world.pid}/maps").read_text()
    assert [mark for mark in marks if mark in maps] == []


def test_the_registry_holds_the_compiled_bytes_at_1_0_0(world):
    listed = {one["package"]: one for one in world.seamline("pipeline", "list")}
    for team, model in (("punctuality", "late-arrival"), ("operations", "air-time")):
        for kind in ("training", "prediction"):
            name = f"{model}-{kind}"
            assert "1.0.0" in listed[name]["tags"]
            compiled = (world.demo.work / f"{team}-{kind}.yaml").read_bytes()
            found = world.seamline("pipeline", "show", f"{name}@1.0.0")
            assert found["digest"] == f"sha256:{hashlib.sha256(compiled).hexdigest()}"


def test_the_run_says_what_it_read_and_made(world, runs):
    run = runs["late-arrival"]
    read = {
        artifact["uri"]: artifact["digest"]
        for task in run["tasks"]
        for artifact in task["outputs"]["artifacts"].values()
        if artifact["uri"].startswith("datasets://")
    }
    assert read == {
        f"datasets://{name}@6": world.seamline("data", "show", f"{name}@6")["digest"]
        for name in ("flights", "weather")
    }


def test_bad_input_is_refused_in_words(world, tmp_path):
    assert "air-time-training" in world.refusal("run", "submit", "air-time-trainin@1.0.0")
    assert "1.0.0" in world.refusal("run", "submit", "air-time-training@1.0.1")
    path = tmp_path / "not-ir.yaml"
    path.write_text("steps: [1, 2]\n")
    assert "pipeline" in world.refusal("pipeline", "push", path, who="ada")
    said = world.refusal("run", "submit", "air-time-training@1.0.0", "-a", "fligths=datasets://x")
    assert "flights" in said.replace("fligths", "")


def test_a_viewer_of_promotions_may_not_run(world):
    assert "bea" in world.refusal("run", "submit", "air-time-training@1.0.0", who="bea")
