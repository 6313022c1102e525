"""The pipeline of docs/howto/pytorch.md, run by the platform: from a task's folder to a wheel that
answers, through the policy of the environment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seamline.app.register.show_model import show_model
from seamline.app.train.submit_run import submit_ir
from seamline.cli.model_text import say_model
from seamline.domain.clock import SystemClock
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.project.plan import apply_project
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane, build_control_plane
from seamline.store.facts import read_facts
from seamline.train.runs import run_state

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "pytorch.md"
PACKAGES = 'packages_to_install=["torch", "safetensors", "numpy"]'
PROJECT = """
project = "ice"
team = "ice"

[models.net]
pipeline = "train-net"
output = "train.model"
samples = "train.samples"
units = { temperature = "°C" }
"""
#: Installing and importing PyTorch, on a machine that does other things, too.
TIMEOUT_S = 400


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    root = tmp_path_factory.mktemp("net") / "workspace"
    plane = build_control_plane(Settings(workspace=root, slots=1), SystemClock())
    plane.platform.engine.start()
    yield plane
    plane.platform.engine.close()
    plane.platform.runner.close()
    plane.platform.stores.db.close()


@pytest.fixture(scope="module")
def pipeline(torch_environment: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Compiled from the page, with the PyTorch that is to be had here."""
    [program] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert PACKAGES in program
    folder = tmp_path_factory.mktemp("page")
    here = PACKAGES.replace('"torch"', json.dumps(torch_environment.requirement))
    (folder / "train_net.py").write_text(program.replace(PACKAGES, here))
    subprocess.run([sys.executable, "train_net.py"], cwd=folder, check=True)
    return (folder / "train_net.yaml").read_bytes()


def run(plane: ControlPlane, ir: bytes) -> list[str]:
    """Why it became no model; empty when it did."""
    platform = plane.platform
    run_id = submit_ir(platform, ir, arguments={"width": 8}, by="ana")
    stores = platform.stores
    assert platform.changes.wait_until(lambda: is_terminal(run_state(stores, run_id)), TIMEOUT_S)
    assert run_state(stores, run_id) == "succeeded"
    while plane.loop.step():
        pass
    with stores.db.read() as connection:
        told = read_facts(connection, kinds=["model.refused"])
    return [one.body["reason"] for one in told if one.body["run_id"] == run_id]


def test_the_page_makes_a_model_where_the_policy_admits_it(
    plane: ControlPlane, pipeline: bytes, torch_environment: Any
) -> None:
    stores = plane.platform.stores
    apply_project(stores, PROJECT, "seamline.toml", by="ana")
    publish_pipeline(stores, pipeline, ["1.0.0"], by="eve", commit="c0ffee")
    [reason] = run(plane, pipeline)
    assert "it is a torch-state file, and the policy of dataops admits no format" in reason

    policies = tuple(
        replace(one, formats=("torch-state",) if one.name == "dataops" else ())
        for one in DEFAULT_POLICIES
    )
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, policies, by="root")
    assert run(plane, pipeline) == []

    found = show_model(plane.platform, "net", None)
    said = say_model(found)
    for wanted in ("torch-state", "arbitrary code", "model.py", "width", "°C", "torch=="):
        assert wanted in said
    assert found["document"]["parameters"] == {"width": 8}
    wheel = Path(found["path"])
    named = wheel.with_name(found["filename"])
    named.write_bytes(wheel.read_bytes())
    program = f"""
import sys
sys.path.insert(0, {str(named)!r})
import net
print(*net.load().predict({{"temperature": [20.0, 10.0], "weekend": [1.0, 0.0]}}))
"""
    command = [str(torch_environment.python), "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    warm, cold = map(float, done.stdout.split())
    assert abs(warm - 80) < 25 and abs(cold - 30) < 25
