"""What is refused before a run begins, what is noted on it, and how its tasks will run here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.errors import InvalidInput, NotFound, Refused, Unavailable
from seamline.domain.states import Fidelity
from seamline.train.admission import check_pipeline
from seamline.train.attempts.machine import Machine
from seamline.train.options import Isolation, RunOptions
from seamline.train.plan.types import all_tasks

GIB = 1 << 30


def pipeline(**container: Any) -> bytes:
    """One task `fit` in a loop, in that container."""
    body = {"tasks": {"fit": {"componentRef": {"name": "comp-fit"}}}}
    loop = {
        "componentRef": {"name": "comp-loop"},
        "parameterIterator": {"items": {"raw": "[1, 2]"}, "itemInput": "item"},
    }
    item = {"parameters": {"item": {"parameterType": "NUMBER_INTEGER"}}}
    spec = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "p"},
        "root": {"dag": {"tasks": {"loop": loop}}},
        "components": {
            "comp-loop": {"dag": body, "inputDefinitions": item},
            "comp-fit": {"executorLabel": "exec-fit"},
        },
        "deploymentSpec": {"executors": {"exec-fit": {"container": container}}},
    }
    return json.dumps(spec).encode()


def python(*requirements: str, **more: Any) -> bytes:
    """A lightweight component with these requirements."""
    words = " ".join(f"'{requirement}'" for requirement in requirements)
    write = '"$program_path/ephemeral_component.py" kfp.dsl.executor_main'
    install = [f'python3 -m pip install {words} && "$0" "$@"'] if requirements else []
    return pipeline(
        image="python:3.11",
        command=["sh", "-c", *install, "sh", "-ec", write, "def fit(): ..."],
        args=["--executor_input", "{{$}}", "--function_to_execute", "fit"],
        **more,
    )


def machine(**more: Any) -> Machine:
    """Without any container engine."""
    return Machine({"PATH": "/nowhere"}, **{"cores": 2, "memory_bytes": 8 * GIB, **more})


# -- refused -----------------------------------------------------------------------------------
def test_a_requirement_that_cannot_be_read_names_its_task():
    with pytest.raises(InvalidInput) as caught:
        check_pipeline(python("numpy>=2", "no such thing!"))
    assert caught.value.message.startswith("Task 'loop/fit': 'no such thing!' is not a requirement")
    assert "requirements file" in caught.value.next_step
    check_pipeline(python("numpy>=2"))


@pytest.mark.parametrize(
    ("start", "nearest"), [("fit", "loop/fit"), ("loop[0]/fti", "loop/fit"), ("lop", "loop/fit")]
)
def test_a_start_that_is_not_there_is_told_the_nearest(start, nearest):
    with pytest.raises(NotFound) as caught:
        check_pipeline(python(), RunOptions(from_task=start))
    assert nearest in caught.value.next_step


@pytest.mark.parametrize("start", ["loop", "loop[1]", "loop/fit", "loop[0]/fit"])
def test_a_start_may_be_a_loop_or_in_it(start):
    check_pipeline(python(), RunOptions(from_task=start))


def test_a_container_needs_an_engine():
    command = pipeline(image="alpine", command=["echo"])
    with pytest.raises(Refused) as caught:
        check_pipeline(command, machine=machine())
    assert caught.value.message.startswith("Task 'loop/fit' needs a container: There is no")
    assert "podman is not on PATH; docker is not on PATH" in caught.value.message
    assert "SEAMLINE_HOST_CONTAINERS=1" in caught.value.next_step
    check_pipeline(command)  # Where it will run is asked where it will run.
    check_pipeline(command, machine=machine(host_containers=True))


def test_a_component_in_its_image_needs_an_engine_whatever_the_operator_allows():
    with pytest.raises(Refused, match="needs a container"):
        check_pipeline(
            python(),
            RunOptions(isolation=Isolation.CONTAINER),
            machine(host_containers=True),
        )


@pytest.mark.parametrize(
    ("isolation", "demanded", "refused"),
    [
        (Isolation.REUSE, Fidelity.REUSED, False),
        (Isolation.REUSE, Fidelity.FORKED, True),
        (Isolation.FORKED, Fidelity.REUSED, False),
        (Isolation.FORKED, Fidelity.FORKED, False),
        (Isolation.FORKED, Fidelity.CONTAINER, True),
    ],
)
def test_a_demand_refuses_what_is_weaker(isolation, demanded, refused):
    options = RunOptions(isolation=isolation, demand_fidelity=demanded)
    if not refused:
        check_pipeline(python(), options, machine())
        return
    with pytest.raises(Refused) as caught:
        check_pipeline(python(), options, machine())
    assert f"Task 'loop/fit' would run as {isolation.fidelity}" in caught.value.message
    assert f"this run demands {demanded}" in caught.value.message


def test_a_command_on_the_host_is_weaker_than_a_process_of_its_own():
    with pytest.raises(Refused, match="would run as host_process; this run demands forked"):
        check_pipeline(
            pipeline(image="alpine", command=["echo"]),
            RunOptions(demand_fidelity=Fidelity.FORKED),
            machine(host_containers=True),
        )


# -- noted -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("resources", "note"),
    [
        (
            {"resourceMemoryLimit": "16Gi"},
            "loop/fit asks for 16Gi of memory; this machine has 8.0 GiB.",
        ),
        (
            {"resourceMemoryRequest": "9G"},
            "loop/fit asks for 9G of memory; this machine has 8.0 GiB.",
        ),
        ({"resourceCpuLimit": "2500m"}, "loop/fit asks for 2500m cores; this machine has 2."),
        (
            {"accelerator": {"resourceType": "A100", "resourceCount": "2"}},
            "loop/fit asks for 2 × A100, which this machine lacks.",
        ),
        (
            {"accelerator": {"resourceType": "A100"}},
            "loop/fit asks for 1 × A100, which this machine lacks.",
        ),
    ],
)
def test_what_the_machine_lacks_is_noted_or_refused(resources, note):
    ir = python(resources=resources)
    assert check_pipeline(ir)[1] == []
    assert check_pipeline(ir, machine=machine())[1] == [note]
    with pytest.raises(Refused) as caught:
        check_pipeline(ir, RunOptions(demand_resources=True), machine())
    assert note in caught.value.message
    enough = machine(cores=4, memory_bytes=16 * GIB)
    if "accelerator" not in resources:
        assert check_pipeline(ir, RunOptions(demand_resources=True), enough)[1] == []


def test_what_is_asked_for_twice_is_noted_once():
    resources = {"resourceMemoryLimit": "16Gi", "resourceMemoryRequest": "16Gi"}
    assert len(check_pipeline(python(resources=resources), machine=machine())[1]) == 1


def test_what_only_the_start_will_tell_is_not_judged_before():
    asked = "{{$.inputs.parameters['memory']}}"
    resources = {"resourceMemoryLimit": asked, "accelerator": {"resourceType": asked}}
    spec = json.loads(python(resources=resources))
    fit = spec["components"]["comp-loop"]["dag"]["tasks"]["fit"]
    fit["inputs"] = {"parameters": {"memory": {"runtimeValue": {"constant": "1Gi"}}}}
    ir = json.dumps(spec).encode()
    assert check_pipeline(ir, machine=machine())[1] == [
        "loop/fit asks for an accelerator, which this machine lacks."
    ]


def test_a_quantity_that_cannot_be_read_names_its_task():
    with pytest.raises(InvalidInput, match="The memory that loop/fit asks for has to be"):
        check_pipeline(python(resources={"resourceMemoryLimit": "much"}), machine=machine())


# -- how it will run ---------------------------------------------------------------------------
def test_the_way_in_which_each_task_runs(plain_fidelities):
    assert plain_fidelities(python(), RunOptions()) is Fidelity.FORKED
    assert plain_fidelities(python(), RunOptions(isolation=Isolation.REUSE)) is Fidelity.REUSED
    command = pipeline(image="alpine", command=["echo"])
    assert plain_fidelities(command, RunOptions()) is Fidelity.HOST_PROCESS
    reused = RunOptions(isolation=Isolation.REUSE)
    assert plain_fidelities(command, reused) is Fidelity.HOST_PROCESS


@pytest.fixture
def plain_fidelities() -> Any:
    """Of the one task, where there is no engine and the operator allows commands on the host."""

    def fidelity(ir: bytes, options: RunOptions) -> Fidelity | None:
        [(path, task)] = all_tasks(check_pipeline(ir)[0])
        return machine(host_containers=True).fidelity_of(path, task, options)

    return fidelity


def test_an_engine_that_does_not_work_is_not_asked_for_every_task(tmp_path: Path):
    """The program without its service: it takes its time to say so."""
    asked = tmp_path / "asked"
    docker = tmp_path / "docker"
    said = f'echo asked >> {asked}; echo "is the daemon running?" >&2; exit 1'
    docker.write_text(f"#!/bin/sh\n{said}\n")
    docker.chmod(0o755)
    here = Machine({"PATH": str(tmp_path)}, host_containers=True)
    for _ in range(3):
        with pytest.raises(Unavailable, match="is the daemon running"):
            here.container_engine()
    [(path, task)] = all_tasks(check_pipeline(pipeline(image="alpine", command=["echo"]))[0])
    assert here.fidelity_of(path, task, RunOptions()) is Fidelity.HOST_PROCESS
    assert len(asked.read_text().splitlines()) == 1
