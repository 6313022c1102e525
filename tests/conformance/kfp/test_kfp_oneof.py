"""dsl.OneOf: the result of the one branch that ran, parameters and artifacts alike."""

from typing import NamedTuple

import pytest
from kfp import dsl
from kfp.dsl import Dataset, Input, Output

IMAGE = "python:3.11"
feature = pytest.mark.feature
BRANCHES = "condition-branches-1"


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(text)
    data.metadata["text"] = text


@dsl.component(base_image=IMAGE)
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return f"{file.read()} {data.metadata['text']}"


@dsl.component(base_image=IMAGE)
def fail() -> int:
    raise ValueError("no number")


@feature("Conditions", "OneOf of parameters, into a task")
@pytest.mark.parametrize(("n", "expected"), [(1, 101), (20, 201), (300, 301)])
def test_kfp_one_of_parameters(bench, n, expected):
    @dsl.pipeline
    def choosing(n: int) -> int:
        with dsl.If(n < 10):
            one = add(n=99)
        with dsl.Elif(n < 100):
            two = add(n=199)
        with dsl.Else():
            three = add(n=n, by=0)
        return add(n=dsl.OneOf(one.output, two.output, three.output)).output

    ran = bench.run(choosing, {"n": n})
    assert repr(ran.result) == repr(expected)
    assert len(ran.executed) == 2 and len(ran.not_triggered) == 2


@feature("Conditions", "OneOf as an output of the pipeline, and of a nested one")
def test_kfp_one_of_as_an_output(bench):
    @dsl.pipeline
    def inner(flag: str) -> str:
        with dsl.If(flag == "a"):
            one = say(text="is a")
        with dsl.Else():
            other = say(text="is not a")
        return dsl.OneOf(one.output, other.output)

    @dsl.pipeline
    def outer(flag: str) -> str:
        return say(text=f"it {inner(flag=flag).output}").output

    assert bench.run(inner, {"flag": "a"}).result == "is a"
    assert bench.run(inner, {"flag": "b"}).result == "is not a"
    assert bench.run(outer, {"flag": "a"}).result == "it is a"
    assert bench.run(outer, {"flag": "b"}).result == "it is not a"


@feature("Conditions", "OneOf of artifacts, into a task and as an output, with its metadata")
@pytest.mark.parametrize("flag", ["a", "b"])
def test_kfp_one_of_artifacts(bench, flag):
    class Chosen(NamedTuple):
        data: Dataset
        said: str

    @dsl.pipeline
    def choosing(flag: str) -> Chosen:
        with dsl.If(flag == "a"):
            one = write(text="first")
        with dsl.Else():
            other = write(text="second")
        chosen = dsl.OneOf(one.outputs["data"], other.outputs["data"])
        said = read(data=chosen)
        return Chosen(data=chosen, said=said.output)

    @dsl.pipeline
    def outer(flag: str) -> str:
        return read(data=choosing(flag=flag).outputs["data"]).output

    expected = "first" if flag == "a" else "second"
    ran = bench.run(choosing, {"flag": flag})
    assert ran.outputs == {"said": f"{expected} {expected}"}
    assert ran.result_content("data") == expected
    assert ran.result_artifact("data").metadata == {"text": expected}
    assert len(ran.not_triggered) == 1
    assert bench.run(outer, {"flag": flag}).result == f"{expected} {expected}"


@feature("Conditions", "OneOf in OneOf: through nested branches")
@pytest.mark.parametrize(
    ("a", "b", "expected"), [("x", "x", 2), ("x", "y", 12), ("y", "x", 101), ("y", "y", 101)]
)
def test_kfp_nested_one_of(bench, a, b, expected):
    @dsl.pipeline
    def nested(a: str, b: str) -> int:
        with dsl.If(a == "x"):
            with dsl.If(b == "x"):
                one = add(n=0)
            with dsl.Else():
                two = add(n=10)
            within = add(n=dsl.OneOf(one.output, two.output))
        with dsl.Else():
            three = add(n=100)
        return dsl.OneOf(within.output, three.output)

    ran = bench.run(nested, {"a": a, "b": b})
    assert ran.result == expected
    assert len(ran.executed) + len(ran.not_triggered) == 4


@feature("Conditions", "Several OneOf of the same branches")
def test_kfp_several_one_of(bench):
    class Both(NamedTuple):
        name: str
        size: int

    @dsl.pipeline
    def choosing(n: int) -> Both:
        with dsl.If(n > 0):
            name_a, size_a = say(text="positive"), add(n=n)
        with dsl.Else():
            name_b, size_b = say(text="not positive"), add(n=0)
        return Both(
            name=dsl.OneOf(name_a.output, name_b.output),
            size=dsl.OneOf(size_a.output, size_b.output),
        )

    assert bench.run(choosing, {"n": 4}).outputs == {"name": "positive", "size": 5}
    assert bench.run(choosing, {"n": -4}).outputs == {"name": "not positive", "size": 1}


@feature("Conditions", "OneOf in a condition")
def test_kfp_one_of_in_a_condition(bench):
    @dsl.pipeline
    def twice(n: int):
        with dsl.If(n > 0):
            one = add(n=n)
        with dsl.Else():
            other = add(n=0, by=0)
        chosen = dsl.OneOf(one.output, other.output)
        add(n=chosen, by=0)
        with dsl.If(chosen == 5):
            say(text="five")

    ran = bench.run(twice, {"n": 4})
    assert (ran.output("add-3"), len(ran.not_triggered)) == (5, 1)
    assert len(ran.executed) == 3
    ran = bench.run(twice, {"n": -1})
    assert (ran.output("add-3"), len(ran.not_triggered)) == (0, 2)


@feature("Conditions", "A branch that fails: what needs the OneOf is marked, not run with another")
def test_kfp_one_of_with_a_failed_branch(bench):
    @dsl.pipeline
    def choosing(n: int) -> int:
        with dsl.If(n > 0):
            one = fail()
        with dsl.Else():
            other = add(n=0)
        return add(n=dsl.OneOf(one.output, other.output)).output

    ran = bench.run(choosing, {"n": 1})
    assert ran.failed == {f"{BRANCHES}/condition-2/fail"}
    assert ran.not_triggered == {f"{BRANCHES}/condition-3/add"}
    assert ran.upstream_failed == {"add-2"}
    assert bench.run(choosing, {"n": 0}).result == 2


@feature("Conditions", "Branches of several tasks, pipelines and loops")
def test_kfp_branches_of_pipelines_and_loops(bench):
    @dsl.component(base_image=IMAGE)
    def total(numbers: list) -> int:
        return sum(numbers)

    @dsl.pipeline
    def plus_two(n: int) -> int:
        return add(n=add(n=n).output).output

    @dsl.pipeline
    def branching(n: int) -> int:
        with dsl.If(n > 0):
            one = plus_two(n=n)
        with dsl.Else():
            with dsl.ParallelFor([1, 2, 3]) as item:
                each = add(n=item, by=10)
            other = total(numbers=dsl.Collected(each.output))
        return dsl.OneOf(one.output, other.output)

    ran = bench.run(branching, {"n": 5})
    assert ran.result == 7
    assert ran.executed == {
        f"{BRANCHES}/condition-2/plus-two/add",
        f"{BRANCHES}/condition-2/plus-two/add-2",
    }
    ran = bench.run(branching, {"n": -5})
    assert ran.result == 36 and len(ran.executed) == 4
    assert {name for name in ran.not_triggered if "plus-two" in name} == {
        f"{BRANCHES}/condition-2/plus-two/add", f"{BRANCHES}/condition-2/plus-two/add-2",
    }  # fmt: skip
