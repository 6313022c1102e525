"""dsl.ParallelFor: limits of parallelism, failing iterations, items that are none."""

from itertools import pairwise
from typing import Dict, List

import pytest
import yaml
from kfp import dsl

from seamline.domain.errors import InvalidInput

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def see(value: str) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def see_int(value: int) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def numbers(count: int) -> List[int]:
    return list(range(count))


@dsl.component(base_image=IMAGE)
def fail_on(n: int, bad: int) -> int:
    if n == bad:
        raise ValueError(f"no luck with {n}")
    return n


@dsl.component(base_image=IMAGE)
def end(word: str = "end") -> str:
    return word


def outputs(ran, loop: str, task: str) -> list:
    """The outputs of a task of each iteration, in the order of the items."""
    count = ran.tasks[loop]["items"]
    return [ran.output(f"{loop}[{i}]/{task}") for i in range(count)]


def most_at_once(ran, task: str) -> int:
    """How many of these tasks ran at the same time, by the run's own record."""
    times = [
        (moment, step)
        for name, row in ran.tasks.items()
        if name.endswith(f"/{task}")
        for moment, step in ((row["started_at"], 1), (row["ended_at"], -1))
    ]
    running, most = 0, 0
    for _, step in sorted(times):
        running += step
        most = max(most, running)
    return most


@feature("Loops", "A limit of parallelism is kept; without one, iterations run side by side")
@pytest.mark.parametrize("limit", [1, 2, 3, None])
def test_kfp_parallelism(bench, tmp_path, limit):
    """Each task waits until as many have met as may run at once; more never do."""

    @dsl.component(base_image=IMAGE)
    def meet(folder: str, n: int, expected: int) -> int:
        import time
        from pathlib import Path

        here, met = Path(folder, f"here-{n}"), Path(folder, "met")
        here.touch()
        present = 0
        deadline = time.monotonic() + 120
        while True:
            present = max(present, len(list(Path(folder).glob("here-*"))))
            if present >= expected:
                met.touch()
            if met.exists():
                break
            assert time.monotonic() < deadline, f"only {present} came"
            time.sleep(0.002)
        here.unlink()
        return present

    @dsl.pipeline
    def limited(folder: str, expected: int):
        with dsl.ParallelFor([1, 2, 3, 4, 5, 6, 7, 8], parallelism=limit) as n:
            meet(folder=folder, n=n, expected=expected)

    expected = limit or 4  # as many as there are slots
    ran = bench.run(limited, {"folder": str(tmp_path), "expected": expected})
    assert ran.state == "succeeded"
    assert max(outputs(ran, "for-loop-2", "meet")) == expected
    assert most_at_once(ran, "meet") <= expected


@feature("Loops", "A limit of parallelism counts iterations, not tasks")
def test_kfp_parallelism_of_iterations(bench):
    @dsl.pipeline
    def limited():
        with dsl.ParallelFor([1, 2, 3, 4], parallelism=1) as n:
            first = add(n=n)
            add(n=first.output)

    ran = bench.run(limited)
    rows = [
        (ran.tasks[f"for-loop-2[{i}]/add"]["started_at"],
         ran.tasks[f"for-loop-2[{i}]/add-2"]["ended_at"])
        for i in range(4)
    ]  # fmt: skip
    ordered = sorted(rows)
    assert all(before[1] <= after[0] for before, after in pairwise(ordered))


@feature("Loops", "A failing iteration stops only itself")
def test_kfp_a_failing_iteration(bench):
    @dsl.pipeline
    def partly():
        with dsl.ParallelFor([1, 2, 3]) as n:
            first = fail_on(n=n, bad=2)
            add(n=first.output)
        end()

    ran = bench.run(partly)
    assert ran.state == "partially_failed"
    assert ran.failed == {"for-loop-2[1]/fail-on"}
    assert ran.upstream_failed == {"for-loop-2[1]/add"}
    assert ran.output("for-loop-2[0]/add") == 2 and ran.output("for-loop-2[2]/add") == 4
    assert "end" in ran.executed
    assert ran.tasks["for-loop-2[1]"]["state"] in ("failed", "upstream_failed")
    assert ran.tasks["for-loop-2[0]"]["state"] == "succeeded"
    assert "no luck with 2" in ran.shown["sentence"]


@feature("Loops", "Items as JSON text, as some clients and tasks hand them on")
def test_kfp_items_as_json_text(bench):
    @dsl.component(base_image=IMAGE)
    def as_text() -> str:
        return '[1, 2, {"a": 3}]'

    @dsl.pipeline
    def over(items: list):
        with dsl.ParallelFor(items) as item:
            see(value=f"{item}")

    @dsl.pipeline
    def over_output():
        with dsl.ParallelFor(numbers(count=2).output) as n:
            see(value=f"{n}")
        as_text()

    spec = yaml.safe_load(bench.compile(over_output))
    loop = spec["root"]["dag"]["tasks"]["for-loop-1"]
    source = loop["inputs"]["parameters"]["pipelinechannel--numbers-Output"]["taskOutputParameter"]
    source["producerTask"] = "as-text"
    source["outputParameterKey"] = "Output"
    loop["dependentTasks"] = ["as-text"]
    spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"][
        "pipelinechannel--numbers-Output"
    ]["parameterType"] = "STRING"
    spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"][
        "pipelinechannel--numbers-Output-loop-item"
    ]["parameterType"] = "STRUCT"
    ran = bench.run(yaml.safe_dump(spec).encode())
    assert outputs(ran, "for-loop-1", "see") == ["'1'", "'2'", "'{\"a\": 3}'"]


@feature("Loops", "Looping over something that is not a list is an error that says so")
def test_kfp_items_that_are_no_list(bench):
    @dsl.component(base_image=IMAGE)
    def table() -> dict:
        return {"a": 1}

    @dsl.pipeline
    def over():
        with dsl.ParallelFor(numbers(count=2).output) as n:
            see_int(value=n)
        table()
        end()

    spec = yaml.safe_load(bench.compile(over))
    loop = spec["root"]["dag"]["tasks"]["for-loop-1"]
    source = loop["inputs"]["parameters"]["pipelinechannel--numbers-Output"]["taskOutputParameter"]
    source["producerTask"] = "table"
    loop["dependentTasks"] = ["table"]
    ran = bench.run(yaml.safe_dump(spec).encode())
    assert ran.state == "partially_failed"
    assert ran.tasks["for-loop-1"]["state"] == "failed"
    message = ran.error("for-loop-1")["message"]
    assert "list" in message and "'a'" in message.replace('"', "'")
    assert "end" in ran.executed and "for-loop-1" in ran.shown["sentence"]


@feature("Loops", "Looping over something that is not a list is an error that says so")
@pytest.mark.parametrize("made", ["'[' * 100_000", "'no list'", "'{}'", "'7' * 5_000"])
def test_kfp_items_of_a_text_that_is_no_list(bench, made):
    """Whatever a task returns can only fail its own run: the next one is as good as ever."""

    @dsl.component(base_image=IMAGE)
    def make(code: str) -> str:
        return eval(code)

    @dsl.pipeline
    def over(made: str):
        with dsl.ParallelFor(numbers(count=2).output) as n:
            see_int(value=n)
        make(code=made)

    spec = yaml.safe_load(bench.compile(over))
    loop = spec["root"]["dag"]["tasks"]["for-loop-1"]
    items = "pipelinechannel--numbers-Output"
    loop["inputs"]["parameters"][items]["taskOutputParameter"]["producerTask"] = "make"
    loop["dependentTasks"] = ["make"]
    inputs = spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"]
    inputs[items]["parameterType"] = "STRING"
    ran = bench.run(yaml.safe_dump(spec).encode(), {"made": made})
    assert ran.state in ("failed", "partially_failed") and ran.shown["sentence"]
    assert not [name for name in ran.executed if name.startswith("for-loop-1")]
    assert bench.run(numbers, {"count": 1}).state == "succeeded"


@feature("Loops", "Looping over something that is not a list is an error that says so")
def test_kfp_constant_items_that_are_no_list_are_refused(bench):
    @dsl.pipeline
    def over():
        with dsl.ParallelFor([1, 2]) as n:
            see_int(value=n)

    ir = bench.compile(over)
    for items in ('{"a": 1}', "[1, 2", "7"):
        spec = yaml.safe_load(ir)
        spec["root"]["dag"]["tasks"]["for-loop-2"]["parameterIterator"]["items"]["raw"] = items
        with pytest.raises(InvalidInput, match=r"for-loop-2[\s\S]*(list|JSON)"):
            bench.run(yaml.safe_dump(spec).encode())


@feature("Loops", "An item of another type than its task wants fails that iteration")
def test_kfp_an_item_of_another_type(bench):
    @dsl.pipeline
    def over(items: List[int]):
        with dsl.ParallelFor(items) as n:
            see_int(value=n)

    ran = bench.run(over, {"items": [1, "two", 3]})
    assert [ran.output(f"for-loop-1[{i}]/see-int") for i in (0, 2)] == ["1", "3"]
    assert ran.failed == {"for-loop-1[1]/see-int"}
    assert "two" in ran.error("for-loop-1[1]/see-int")["message"]


@feature("Loops", "An item without the part that is asked for fails that iteration")
def test_kfp_an_item_without_the_part(bench):
    @dsl.pipeline
    def over(rows: List[Dict[str, int]]):
        with dsl.ParallelFor(rows) as row:
            see_int(value=row.count)

    ran = bench.run(over, {"rows": [{"count": 1}, {"coutn": 2}]})
    assert ran.output("for-loop-1[0]/see-int") == "1"
    assert ran.failed == {"for-loop-1[1]/see-int"}
    assert "count" in ran.error("for-loop-1[1]/see-int")["message"]
