"""What the compiler forgets to pass into loops and branches reaches their tasks all the same.

Each pipeline here is compiled by the real SDK into IR in which a task reads an input that its
surroundings do not have; a test first makes sure of that.
"""

from typing import Any

import pytest
import yaml
from kfp import dsl
from kfp.dsl import Input, Model, Output

from seamline.train.ir.reader import read_pipeline
from seamline.train.ir.types import Component, Constant, Dag, FromInput, FromTask, Pipeline
from seamline.train.plan.planner import make_plan

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def tables() -> list[dict[str, int]]:
    return [{"a": 1, "b": 2}]


@dsl.component(base_image=IMAGE)
def count(n: int = 1, text: str = "") -> int:
    return n


@dsl.component(base_image=IMAGE)
def train(n: int, model: Output[Model]):
    pass


@dsl.component(base_image=IMAGE)
def use(model: Input[Model]) -> int:
    return 1


@dsl.component(base_image=IMAGE)
def total(ns: list[int]) -> int:
    return sum(ns)


@dsl.pipeline
def part_in_a_text(x: str, xs: list[dict[str, str]]):
    with dsl.ParallelFor([{"a": 1, "b": 2}]) as item:
        count(n=item.a, text=f"{item.b} of {x}")


@dsl.pipeline
def part_of_an_output_in_a_text():
    with dsl.ParallelFor(tables().output) as item, dsl.If(item.a > 0):
        count(n=item.b, text=f"{item.a}")


@dsl.pipeline
def parts_in_branches():
    with dsl.ParallelFor([{"a": 1, "b": 2}]) as item:
        with dsl.If(item.a > 1):
            one = count(n=1)
        with dsl.Elif(item.b > 1):
            two = count(n=2)
        with dsl.Else():
            three = count(n=3)
        count(n=dsl.OneOf(one.output, two.output, three.output))


@dsl.pipeline
def parameter_in_branches_in_loops(x: str, xs: list[int]):
    with dsl.ParallelFor(xs) as n:
        with dsl.If(x == "a"):
            count(n=n)
        with dsl.Else():
            count(n=2)


@dsl.pipeline
def list_of_an_inner_loop(xs: list[int]):
    with dsl.ParallelFor(["a", "b"]) as text:
        with dsl.ParallelFor(xs) as n:
            made = count(n=n, text=f"{text}")
        total(ns=dsl.Collected(made.output))


@dsl.pipeline
def part_inside_an_exit_handler(x: str):
    last = count(n=9)
    with dsl.ExitHandler(last), dsl.ParallelFor([{"a": 1, "b": 2}]) as item, dsl.If(item.a > 1):
        count(n=1)


@dsl.pipeline
def deep(xs: list[dict[str, str]], x: str):
    letters = ["u", "v"]
    with dsl.ParallelFor(xs) as item, dsl.ParallelFor(letters) as letter, dsl.If(item.a == "1"):
        count(n=1, text=f"{item.b}{letter}{x}")


@dsl.pipeline
def team(x: str, xs: list[int]):
    with dsl.ParallelFor(xs) as n:
        made = train(n=n)
        with dsl.If(x == "a"):
            use(model=made.outputs["model"])
        with dsl.Else():
            count(n=n)


@dsl.pipeline
def in_a_sub_pipeline(y: str):
    team(x=y, xs=[1])
    team(x="b", xs=[2])


PIPELINES = [
    part_in_a_text,
    part_of_an_output_in_a_text,
    parts_in_branches,
    parameter_in_branches_in_loops,
    list_of_an_inner_loop,
    part_inside_an_exit_handler,
    deep,
    in_a_sub_pipeline,
]


def owners(pipeline: Pipeline) -> list[Component]:
    return [
        one for one in (pipeline.root, *pipeline.components.values()) if isinstance(one.body, Dag)
    ]


def without_a_source(ir: bytes) -> list[str]:
    """The inputs of tasks in the file whose source is not there."""
    spec = yaml.safe_load(ir)
    missing = []
    for owner in (spec["root"], *spec["components"].values()):
        inputs = owner.get("inputDefinitions", {}).get("parameters", {})
        tasks = owner.get("dag", {}).get("tasks", {})
        for name, task in tasks.items():
            for key, source in task.get("inputs", {}).get("parameters", {}).items():
                known, wanted = inputs, source.get("componentInputParameter")
                if output := source.get("taskOutputParameter"):
                    component = tasks[output["producerTask"]]["componentRef"]["name"]
                    made = spec["components"][component].get("outputDefinitions", {})
                    known, wanted = made.get("parameters", {}), output["outputParameterKey"]
                if wanted is not None and wanted not in known:
                    missing.append(f"{name}.{key}")
    return missing


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda one: one.name)
def test_every_input_has_a_source(compile_ir, pipeline):
    ir = compile_ir(pipeline)
    assert without_a_source(ir), "the compiler has learned it: this case shows nothing any more"
    read = read_pipeline(ir)
    make_plan(read)
    for owner in owners(read):
        tasks = owner.body.tasks
        for task in tasks.values():
            declared = set(read.components[task.component].parameters)
            for key, source in task.parameters.items():
                if isinstance(source, FromInput):
                    assert source.name in owner.parameters, (task.name, key)
                elif isinstance(source, FromTask):
                    assert (
                        source.key
                        in read.components[tasks[source.task].component].output_parameters
                    )
                    assert source.task in task.after
            item = {task.loop.item} if task.loop else set()
            if key_of_group(task.component):
                assert declared == set(task.parameters) | item, task.name


def key_of_group(component: str) -> bool:
    return component.startswith(("comp-for-loop", "comp-condition", "comp-exit-handler"))


# -- and it is the right one: evaluated along the borders --------------------------------------
class Walk:
    """Follows an input outwards, through all borders, to what it finally reads."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.around = {
            task.component: (owner, task)
            for owner in owners(pipeline)
            for task in owner.body.tasks.values()
        }

    def origin(self, owner: Component, source: Any) -> str:
        match source:
            case Constant(value):
                return repr(value)
            case FromTask(task, key):
                return f"{task}.{key}"
        part = f"[{source.part.tree.key}]" if source.part else ""
        if owner.name == "root":
            return f"root.{source.name}{part}"
        outer, task = self.around[owner.name]
        if task.loop is not None and task.loop.item == source.name:
            return f"item of {task.name}{part}"
        return self.origin(outer, task.parameters[source.name]) + part

    def of(self, name: str) -> dict[str, str]:
        for owner in owners(self.pipeline):
            task = owner.body.tasks.get(name)
            if task is not None:
                return {k: self.origin(owner, s) for k, s in task.parameters.items()}
        raise AssertionError(name)


def walk(compile_ir, pipeline) -> Walk:
    return Walk(read_pipeline(compile_ir(pipeline)))


def only(inputs: dict[str, str], suffix: str) -> str:
    (found,) = (value for key, value in inputs.items() if key.endswith(suffix))
    return found


def test_parts_in_texts_are_parts_of_the_item(compile_ir):
    inputs = walk(compile_ir, part_in_a_text).of("count")
    assert inputs["n"] == "item of for-loop-2[a]"
    assert only(inputs, "subvar-b") == "item of for-loop-2[b]"
    assert only(inputs, "--x") == "root.x"
    inputs = walk(compile_ir, part_of_an_output_in_a_text).of("count")
    assert only(inputs, "subvar-a") == "item of for-loop-1[a]"
    assert inputs["n"] == "item of for-loop-1[b]"


def test_conditions_read_what_their_text_says(compile_ir):
    found = walk(compile_ir, parts_in_branches)
    assert only(found.of("condition-4"), "subvar-a") == "item of for-loop-2[a]"
    assert only(found.of("condition-5"), "subvar-b") == "item of for-loop-2[b]"
    found = walk(compile_ir, parameter_in_branches_in_loops)
    for owner in owners(found.pipeline):
        for task in owner.body.tasks.values():
            if task.condition is not None:
                assert only(found.of(task.name), "--x") == "root.x"
    found = walk(compile_ir, part_inside_an_exit_handler)
    assert only(found.of("condition-4"), "subvar-a") == "item of for-loop-3[a]"
    assert found.of("exit-handler-1") == {}


def test_inner_loops_get_their_lists_and_outer_items(compile_ir):
    found = walk(compile_ir, list_of_an_inner_loop)
    (inner,) = (
        t for t in found.pipeline.components["comp-for-loop-2"].body.tasks.values() if t.loop
    )
    assert only(found.of(inner.name), inner.loop.items.name) == "root.xs"
    inputs = found.of("count")
    assert inputs["n"] == f"item of {inner.name}"
    assert only(inputs, "loop-item-param-1") == "item of for-loop-2"
    inputs = walk(compile_ir, deep).of("count")
    assert only(inputs, "subvar-b") == "item of for-loop-1[b]"
    assert only(inputs, "loop-item-param-2") == "item of for-loop-3"
    assert only(inputs, "--x") == "root.x"


def test_nothing_crosses_the_border_of_a_sub_pipeline(compile_ir):
    pipeline = read_pipeline(compile_ir(in_a_sub_pipeline))
    assert set(pipeline.components["comp-team"].parameters) == {"x", "xs"}
    assert set(pipeline.components["comp-team-2"].parameters) == {"x", "xs"}
    assert set(pipeline.root.body.tasks["team"].parameters) == {"x", "xs"}
    for name in ("comp-team", "comp-team-2"):
        (loop,) = pipeline.components[name].body.tasks.values()
        assert loop.parameters["pipelinechannel--x"] == FromInput("x")
