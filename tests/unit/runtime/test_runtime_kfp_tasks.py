"""Lightweight KFP components, as the SDK writes their source into the IR."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.tasks import TaskKind, TaskRunner, TaskSpec

pytest.importorskip("kfp")

_PROLOGUE = "\nimport kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\n"
MakeComponent = Callable[..., TaskSpec]


@pytest.fixture
def component(tmp_path: Path, host: PythonEnvironment) -> MakeComponent:
    def make(
        name: str, source: str, inputs: dict[str, Any], artifacts: dict[str, str] | None = None
    ) -> TaskSpec:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "ephemeral_component.py").write_text(_PROLOGUE + textwrap.dedent(source))
        executor_input = {
            "inputs": {"parameterValues": inputs},
            "outputs": {
                "parameters": {"Output": {"outputFile": str(folder / "Output")}},
                "artifacts": {
                    key: {
                        "artifacts": [
                            {
                                "name": key,
                                "type": {"schemaTitle": kind, "schemaVersion": "0.0.1"},
                                "uri": str(folder / key),
                                "metadata": {},
                            }
                        ]
                    }
                    for key, kind in (artifacts or {}).items()
                },
                "outputFile": str(folder / "executor_output.json"),
            },
        }
        (folder / "executor_input.json").write_text(json.dumps(executor_input))
        return TaskSpec(
            task_id=name,
            kind=TaskKind.KFP,
            source=folder / "ephemeral_component.py",
            input_path=folder / "executor_input.json",
            work_dir=folder / "work",
            log_path=folder / "log.txt",
            environment=host,
            function=name,
        )

    return make


def output_of(spec: TaskSpec) -> Any:
    return json.loads((spec.source.parent / "executor_output.json").read_text())


def test_parameters_artifacts_logs_and_its_own_source(
    runner: TaskRunner, component: MakeComponent
) -> None:
    source = """
    def train(rows: int, model: Output[Model]) -> NamedTuple("Out", [("n", int), ("text", str)]):
        import inspect, logging, os
        logging.info("training on %s rows", rows)
        assert os.environ["_KFP_RUNTIME"] == "true"
        with open(model.path, "w") as file:
            file.write("weights")
        model.metadata["rows"] = rows
        from collections import namedtuple
        first_line = inspect.getsource(train).splitlines()[0]
        return namedtuple("Out", ["n", "text"])(rows + 1, first_line)
    """
    spec = component("train", source, {"rows": 3}, {"model": "system.Model"})
    outcome = runner.start(spec).result()
    assert outcome.succeeded, outcome.error
    output = output_of(spec)
    assert output["parameterValues"]["n"] == 4
    assert output["parameterValues"]["text"].startswith("def train(rows: int")
    assert output["artifacts"]["model"]["artifacts"][0]["metadata"] == {"rows": 3}
    assert (spec.source.parent / "model").read_text() == "weights"
    assert "training on 3 rows" in spec.log_path.read_text()


def test_worker_processes_of_a_component_find_it(
    runner: TaskRunner, component: MakeComponent
) -> None:
    source = """
    def square(x):
        return x * x

    def spread(n: int) -> int:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return sum(pool.map(square, range(n)))
    """
    spec = component("spread", source, {"n": 4})
    outcome = runner.start(spec).result()
    assert outcome.succeeded, spec.log_path.read_text()
    assert output_of(spec)["parameterValues"]["Output"] == 14


def test_a_component_of_50_megabytes_input(runner: TaskRunner, component: MakeComponent) -> None:
    source = "def measure(text: str) -> int:\n    return len(text)\n"
    spec = component("measure", source, {"text": "x" * (50 << 20)})
    assert runner.start(spec).result().succeeded
    assert output_of(spec)["parameterValues"]["Output"] == 50 << 20


def test_a_component_that_raises(runner: TaskRunner, component: MakeComponent) -> None:
    source = "def check(x: int) -> int:\n    raise ValueError(f'{x} is too few')\n"
    outcome = runner.start(component("check", source, {"x": 2})).result()
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("ValueError", "2 is too few")
    assert "raise ValueError(f'{x} is too few')" in outcome.error.traceback
