"""Pipelines inside pipelines: any depth, parameters and artifacts out, failures kept inside."""

from typing import NamedTuple

import pytest
from kfp import compiler, components, dsl
from kfp.dsl import Dataset, Input, Model, Output

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset]) -> int:
    with open(data.path, "w") as file:
        file.write(text)
    data.metadata["rows"] = len(text)
    return len(text)


@dsl.component(base_image=IMAGE)
def fit(data: Input[Dataset], model: Output[Model]):
    with open(data.path) as file, open(model.path, "w") as out:
        out.write(f"model of {file.read()}")
    model.metadata.update(data.metadata)


@dsl.component(base_image=IMAGE)
def read(model: Input[Model], said: str = "") -> str:
    with open(model.path) as file:
        return f"{file.read()} ({model.metadata['rows']}) {said}".strip()


@dsl.component(base_image=IMAGE)
def fail(n: int) -> int:
    raise ValueError(f"no luck with {n}")


class Made(NamedTuple):
    model: Model
    rows: int


@dsl.pipeline
def first_level(text: str) -> Made:
    made = write(text=text)
    fitted = fit(data=made.outputs["data"])
    return Made(model=fitted.outputs["model"], rows=made.outputs["Output"])


@dsl.pipeline
def second_level(text: str, suffix: str = "!") -> Made:
    made = first_level(text=f"{text}{suffix}")
    return Made(model=made.outputs["model"], rows=made.outputs["rows"])


@dsl.pipeline
def third_level(text: str) -> Made:
    made = second_level(text=text)
    return Made(model=made.outputs["model"], rows=made.outputs["rows"])


@feature("Nested pipelines", "Pipelines in pipelines, four deep; parameters and artifacts come out")
def test_kfp_four_levels_deep(bench):
    @dsl.pipeline
    def top(text: str = "ab") -> Made:
        made = third_level(text=text)
        read(model=made.outputs["model"], said=f"{made.outputs['rows']} rows")
        return Made(model=made.outputs["model"], rows=made.outputs["rows"])

    ran = bench.run(top)
    deep = "third-level/second-level/first-level"
    assert ran.executed == {f"{deep}/write", f"{deep}/fit", "read"}
    assert ran.output("read") == "model of ab! (3) 3 rows"
    assert repr(ran.outputs) == "{'rows': 3}"
    assert ran.result_content("model") == "model of ab!"
    kinds = {name: task["kind"] for name, task in ran.tasks.items() if task["kind"] == "dag"}
    assert kinds == {
        "third-level": "dag", "third-level/second-level": "dag", deep: "dag",
    }  # fmt: skip
    assert {ran.tasks[name]["state"] for name in kinds} == {"succeeded"}


@feature("Nested pipelines", "One pipeline used several times, each with its own tasks")
def test_kfp_one_pipeline_several_times(bench):
    @dsl.component(base_image=IMAGE)
    def join(a: Input[Model], b: Input[Model]) -> str:
        with open(a.path) as one, open(b.path) as two:
            return f"{one.read()}, {two.read()}"

    @dsl.pipeline
    def twice() -> str:
        one = first_level(text="a")
        two = first_level(text="bb")
        third_level(text="c")
        return join(a=one.outputs["model"], b=two.outputs["model"]).output

    ran = bench.run(twice)
    assert ran.result == "model of a, model of bb"
    assert len(ran.executed) == 7
    assert {"first-level/write", "first-level-2/write"} <= ran.executed


@feature("Nested pipelines", "Inputs of every kind go down: constants, references, defaults")
def test_kfp_inputs_go_down(bench):
    @dsl.component(base_image=IMAGE)
    def see(n: int, items: list, table: dict) -> str:
        return repr((n, items, table))

    @dsl.pipeline
    def lowest(n: int, items: list, table: dict = {"in": [1]}) -> str:
        return see(n=n, items=items, table=table).output

    @dsl.pipeline
    def middle(n: int, items: list = [1, 2]) -> str:
        lowest(n=n, items=[n, f"<{n}>"], table={"n": n})
        return lowest(n=n, items=items).output

    @dsl.pipeline
    def highest(n: int) -> str:
        return middle(n=add(n=n).output).output

    ran = bench.run(highest, {"n": 2})
    assert ran.result == "(3, [1, 2], {'in': [1]})"
    assert ran.output("middle/lowest/see") == "(3, [3, '<3>'], {'n': 3})"


@feature("Nested pipelines", "Order without data: a pipeline .after() a task, and the reverse")
def test_kfp_order_of_pipelines(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def note(path: str, word: str):
        with open(path, "a") as file:
            file.write(word + "\n")

    @dsl.pipeline
    def two_notes(path: str, word: str):
        note(path=path, word=word)
        note(path=path, word=word)

    @dsl.pipeline
    def ordered(path: str):
        first = note(path=path, word="first")
        middle = two_notes(path=path, word="middle").after(first)
        last = two_notes(path=path, word="last").after(middle)
        note(path=path, word="end").after(last)

    assert bench.run(ordered, {"path": str(tmp_path / "order")}).state == "succeeded"
    words = (tmp_path / "order").read_text().split()
    assert words == ["first", "middle", "middle", "last", "last", "end"]


@feature("Nested pipelines", "Pipelines loaded from compiled YAML (aggregated pipelines)")
def test_kfp_loaded_pipelines(bench, tmp_path):
    compiler.Compiler().compile(third_level, str(tmp_path / "third.yaml"))
    text = (tmp_path / "third.yaml").read_text()
    from_text = components.load_component_from_text(text)
    from_file = components.load_component_from_file(str(tmp_path / "third.yaml"))

    @dsl.pipeline
    def aggregated():
        read(model=from_text(text="a").outputs["model"])
        read(model=from_file(text="bb").outputs["model"])

    ran = bench.run(aggregated)
    assert ran.output("read") == "model of a! (2)" and ran.output("read-2") == "model of bb! (3)"
    assert len(ran.executed) == 6


@feature("Nested pipelines", "A failure inside stays inside: other branches finish")
def test_kfp_a_failure_inside(bench):
    @dsl.pipeline
    def broken(n: int) -> int:
        good = add(n=n)
        bad = fail(n=good.output)
        add(n=n, by=5)
        return add(n=bad.output).output

    @dsl.pipeline
    def holding(n: int) -> int:
        return broken(n=n).output

    @dsl.pipeline
    def top() -> int:
        inside = holding(n=1)
        add(n=inside.output)
        return add(n=10).output

    ran = bench.run(top)
    assert ran.state == "partially_failed" and ran.result == 11
    assert ran.failed == {"holding/broken/fail"}
    assert ran.upstream_failed == {"holding/broken/add-3", "add"}
    assert ran.executed == {
        "holding/broken/add", "holding/broken/add-2", "holding/broken/fail", "add-2",
    }  # fmt: skip
    assert ran.tasks["holding"]["state"] in ("failed", "upstream_failed")


@feature("Nested pipelines", "Outputs of a nested pipeline outlive a failure in it")
def test_kfp_an_output_of_a_finished_branch_outlives_a_failure(bench):
    """What a nested pipeline returns is there as soon as what makes it has succeeded."""

    @dsl.pipeline
    def partly(n: int) -> int:
        fail(n=n)
        return add(n=n).output

    @dsl.component(base_image=IMAGE)
    def tell(n: int = -1) -> int:
        return n

    @dsl.pipeline
    def top() -> int:
        return tell(n=partly(n=1).output).ignore_upstream_failure().output

    ran = bench.run(top)
    assert ran.failed == {"partly/fail"} and ran.state == "partially_failed"
    assert ran.result == 2


@feature("Nested pipelines", "Conditions, loops and exit handlers inside nested pipelines")
def test_kfp_control_flow_inside(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def total(numbers: list) -> int:
        return sum(numbers)

    @dsl.component(base_image=IMAGE)
    def done(path: str):
        with open(path, "a") as file:
            file.write("done\n")

    @dsl.pipeline
    def inner(limit: int, path: str) -> int:
        with dsl.ExitHandler(done(path=path)):
            with dsl.ParallelFor([1, 2, 3]) as n:
                plus = add(n=n, by=limit)
            total(numbers=dsl.Collected(plus.output))
        with dsl.If(limit > 5):
            high = add(n=100)
        with dsl.Else():
            low = add(n=0)
        return add(n=dsl.OneOf(high.output, low.output)).output

    @dsl.pipeline
    def top(path: str):
        first = inner(limit=1, path=path)
        second = inner(limit=10, path=path)
        add(n=first.output, by=second.output)

    ran = bench.run(top, {"path": str(tmp_path / "done")})
    assert ran.state == "succeeded"
    assert ran.output("add") == 2 + 102
    assert ran.output("inner/exit-handler-1/total") == 9
    assert ran.output("inner-2/exit-handler-1/total") == 36
    assert len(ran.not_triggered) == 2
    assert (tmp_path / "done").read_text() == "done\ndone\n"
