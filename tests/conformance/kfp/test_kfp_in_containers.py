"""One pipeline of all kinds of things, with every task in its image: the same, bit for bit."""

from typing import Any, List, NamedTuple

import pytest
from kfp import dsl
from kfp.dsl import (
    ContainerSpec,
    Dataset,
    Input,
    Model,
    Output,
    OutputPath,
    PipelineTaskFinalStatus,
)

from seamline.runtime.container_engine import ContainerEngine
from seamline.train.attempts.machine import Machine
from seamline.train.options import Isolation

feature = pytest.mark.feature
#: Replaced by images that the test has made; the machine's own Python, and a shell.
PYTHON, SHELL = "image-with-python", "image-with-a-shell"


@dsl.component(base_image=PYTHON)
def see(text: str, n: int, real: float, flag: bool, items: list, table: dict) -> NamedTuple(
    "Seen", [("text", str), ("n", int), ("items", list), ("said", str)]
):
    return (text, n + 1, [n, *items], repr((text, n, real, flag, items, table)))


@dsl.component(base_image=PYTHON)
def write(n: int, data: Output[Dataset], model: Output[Model]) -> int:
    import os
    from pathlib import Path

    Path(data.path).write_text(f"row {n}")
    os.makedirs(model.path)
    Path(model.path, "weights").write_text(str(n))
    data.metadata.update(n=n, half=n / 2)
    return n * n


@dsl.component(base_image=PYTHON)
def join(parts: Input[List[Dataset]], model: Input[Model], squares: List[int]) -> str:
    from pathlib import Path

    rows = [(Path(part.path).read_text(), part.metadata) for part in parts]
    return repr((rows, Path(model.path, "weights").read_text(), squares))


@dsl.component(base_image=PYTHON)
def last(n: int) -> int:
    return n


@dsl.component(base_image=PYTHON)
def fail_unless(n: int):
    assert n < 3, f"too large: {n}"


@dsl.component(base_image=PYTHON)
def report(status: PipelineTaskFinalStatus) -> str:
    return f"{status.state} {status.error_message}"


@dsl.component(base_image=PYTHON)
def variables() -> dict:
    import os

    return {name: os.environ.get(name) for name in ("MODE", "OMP_NUM_THREADS")}


@dsl.container_component
def shell(text: str, data: Input[Dataset], said: OutputPath(str), more: Output[Dataset]):
    script = (
        'mkdir -p "${2%/*}" "${3%/*}"; printf "%s: %s" "$0" "$MODE" > "$2";'
        '{ cat "$1"; echo " and more"; } > "$3"'
    )
    return ContainerSpec(
        image=SHELL, command=["sh", "-c", script], args=[text, data.path, said, more.path]
    )


@dsl.component(base_image=PYTHON)
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.pipeline
def nested(text: str) -> str:
    made = see(text=text, n=1, real=0.5, flag=True, items=[1, "é"], table={"a": [2]})
    with dsl.If(made.outputs["n"] == 2):
        last(n=made.outputs["n"])
    with dsl.Else():
        last(n=0)
    return made.outputs["said"]


@dsl.pipeline
def everything(text: str, count: int):
    nested(text=text)
    with dsl.ParallelFor([1, 2]) as n:
        each = write(n=n)
    fitted = write(n=count)
    join(
        parts=dsl.Collected(each.outputs["data"]),
        model=fitted.outputs["model"],
        squares=dsl.Collected(each.outputs["Output"]),
    )
    with dsl.ExitHandler(report()):
        fail_unless(n=count)
    variables().set_env_variable("MODE", "fast")
    spoken = shell(text=text, data=fitted.outputs["data"]).set_env_variable("MODE", "slow")
    read(data=spoken.outputs["more"])


def told(ran: Any) -> dict[str, Any]:
    """All that tells of results: states, values, and artifacts by their digests."""
    return {
        name: (
            task["state"],
            task["outputs"]["parameters"],
            {key: (a["digest"], a["metadata"]) for key, a in task["outputs"]["artifacts"].items()},
        )
        for name, task in ran.tasks.items()
    }


@feature(
    "Containers", "Lightweight components in their images, too", status="needs podman or docker"
)
def test_kfp_every_task_in_its_image(
    bench: Any, make_bench: Any, container_engine: ContainerEngine, python_image: str,
    plain_image: str,
) -> None:  # fmt: skip
    """With the isolation `container`: the same outputs, artifacts and states as forked."""
    ir = bench.compile(everything).replace(PYTHON.encode(), python_image.encode())
    ir = ir.replace(SHELL.encode(), plain_image.encode())
    machine = Machine(container_engine.environ)
    inside = make_bench(2, machine)
    arguments = {"text": 'it\'s "é" $(x) {{$.y}}', "count": 3}
    forked = bench.run(ir, arguments)
    contained = inside.run(ir, arguments, isolation=Isolation.CONTAINER)
    assert forked.failed == contained.failed == {"exit-handler-3/fail-unless"}
    assert told(contained) == told(forked)
    assert (forked.shown["fidelity"], contained.shown["fidelity"]) == ("host_process", "container")
    said = contained.output("report")
    assert said.startswith("FAILED") and "too large: 3" in said
    assert contained.output("shell", "said") == 'it\'s "é" $(x) {{$.y}}: slow'


@feature("Containers", "Other isolations: shared warm workers, and in the server's own process")
@pytest.mark.parametrize("isolation", [Isolation.REUSE, Isolation.IN_PROCESS])
def test_kfp_other_isolations(bench: Any, make_bench: Any, isolation: Isolation) -> None:
    arguments = {"text": 'it\'s "é" $(x) {{$.y}}', "count": 3}
    forked = bench.run(everything, arguments)
    known = bench.engine.machine
    machine = Machine(known.environ, host_containers=True, in_process=True)
    other = make_bench(2, machine).run(everything, arguments, isolation=isolation)
    assert told(other) == told(forked)
