"""dsl.Collected: what the iterations of a loop made, in the order of its items; artifact loops."""

from typing import List, NamedTuple

import pytest
from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def see(value: list) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def numbers(count: int) -> List[int]:
    return list(range(count))


@dsl.component(base_image=IMAGE)
def fail_on(n: int, bad: int) -> int:
    if n == bad:
        raise ValueError(f"no luck with {n}")
    return n


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(text)
    data.metadata["text"] = text


@dsl.component(base_image=IMAGE)
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return f"{file.read()}/{data.metadata['text']}"


@dsl.component(base_image=IMAGE)
def join(parts: Input[List[Dataset]]) -> str:
    from pathlib import Path

    # The SDK hands on an empty list of artifacts as None.
    return " ".join(f"{Path(p.path).read_text()}/{p.metadata['text']}" for p in parts or [])


@feature("Collected results", "In the order of the items, whatever ends first; integers stay so")
def test_kfp_collected_in_order(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def in_reverse(n: int, folder: str) -> int:
        """Ends only when the next item has ended: the last first."""
        import time
        from pathlib import Path

        deadline = time.monotonic() + 120
        while n < 4 and not Path(folder, str(n + 1)).exists():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        Path(folder, str(n)).touch()
        return n

    @dsl.pipeline
    def ordered(folder: str) -> str:
        with dsl.ParallelFor([1, 2, 3, 4]) as n:
            each = in_reverse(n=n, folder=folder)
        return see(value=dsl.Collected(each.output)).output

    assert bench.run(ordered, {"folder": str(tmp_path)}).result == "[1, 2, 3, 4]"


@feature("Collected results", "Of every type: texts, floats, booleans, lists, structs")
def test_kfp_collected_of_every_type(bench):
    @dsl.component(base_image=IMAGE)
    def make(n: int) -> NamedTuple(
        "Made",
        [("text", str), ("real", float), ("flag", bool), ("items", list), ("table", dict)],
    ):
        return (f"it's {n}", float(n), n > 1, [n, 0.5], {"n": n})

    @dsl.pipeline
    def collecting():
        with dsl.ParallelFor([1, 2]) as n:
            each = make(n=n).outputs
        for name in ("text", "real", "flag", "items", "table"):
            see(value=dsl.Collected(each[name]))

    ran = bench.run(collecting)
    assert ran.output("see") == repr(["it's 1", "it's 2"])
    assert eval(ran.output("see-2")) == [1.0, 2.0]
    assert ran.output("see-3") == "[False, True]"
    assert ran.output("see-4") == "[[1, 0.5], [2, 0.5]]"
    assert ran.output("see-5") == "[{'n': 1}, {'n': 2}]"


@feature("Collected results", "Nested loops: nested lists of the same shape")
def test_kfp_collected_keeps_the_shape(bench):
    @dsl.component(base_image=IMAGE)
    def total(rows: List[List[int]]) -> int:
        assert all(type(n) is int for row in rows for n in row), rows
        return sum(n for row in rows for n in row)

    @dsl.pipeline
    def nested() -> int:
        with dsl.ParallelFor([2, 0, 1]) as count:
            with dsl.ParallelFor(numbers(count=count).output) as n:
                each = add(n=n, by=count)
        see(value=dsl.Collected(each.output))
        return total(rows=dsl.Collected(each.output)).output

    ran = bench.run(nested)
    assert ran.output("see") == "[[2, 3], [], [1]]"
    assert repr(ran.result) == "6"


@feature("Collected results", "Nested loops: nested lists of the same shape")
def test_kfp_collected_three_levels(bench):
    @dsl.pipeline
    def nested():
        with dsl.ParallelFor([1, 2]) as a:
            with dsl.ParallelFor([10, 20]) as b:
                with dsl.ParallelFor([100]) as c:
                    inner = add(n=add(n=a, by=b).output, by=c)
                between = see(value=dsl.Collected(inner.output))
            see(value=dsl.Collected(between.output))
        see(value=dsl.Collected(inner.output))

    ran = bench.run(nested)
    assert ran.output("see-3") == "[[[111], [121]], [[112], [122]]]"
    assert ran.output("for-loop-2[1]/see-2") == repr(["[112]", "[122]"])
    assert ran.output("for-loop-2[0]/for-loop-4[1]/see") == "[121]"


@feature("Collected results", "Inside the outer loop: each of its iterations collects its own")
def test_kfp_collected_inside_a_loop(bench):
    @dsl.pipeline
    def inside():
        with dsl.ParallelFor([1, 2]) as a:
            with dsl.ParallelFor([10, 20]) as b:
                each = add(n=a, by=b)
            see(value=dsl.Collected(each.output))

    ran = bench.run(inside)
    assert ran.output("for-loop-2[0]/see") == "[11, 21]"
    assert ran.output("for-loop-2[1]/see") == "[12, 22]"


@feature("Collected results", "Collected again: a loop over what another loop made")
def test_kfp_a_loop_over_collected(bench):
    @dsl.component(base_image=IMAGE)
    def same(items: List[int]) -> List[int]:
        return items

    @dsl.pipeline
    def twice() -> str:
        with dsl.ParallelFor([1, 2, 3]) as n:
            first = add(n=n)
        with dsl.ParallelFor(same(items=dsl.Collected(first.output)).output) as m:
            second = add(n=m, by=10)
        return see(value=dsl.Collected(second.output)).output

    assert bench.run(twice).result == "[12, 13, 14]"


@feature("Collected results", "As an output of the pipeline, and of a nested one")
def test_kfp_collected_as_an_output(bench):
    @dsl.pipeline
    def inner(count: int) -> List[int]:
        with dsl.ParallelFor(numbers(count=count).output) as n:
            each = add(n=n)
        return dsl.Collected(each.output)

    @dsl.pipeline
    def outer(count: int) -> str:
        return see(value=inner(count=count).output).output

    ran = bench.run(inner, {"count": 3})
    assert repr(ran.result) == "[1, 2, 3]"
    assert bench.run(outer, {"count": 2}).result == "[1, 2]"


@feature("Collected results", "Iterations that did not take the branch are left out")
def test_kfp_collected_of_some_iterations(bench):
    @dsl.pipeline
    def some(items: List[int]) -> str:
        with dsl.ParallelFor(items) as n:
            with dsl.If(n > 1):
                each = add(n=n)
        return see(value=dsl.Collected(each.output)).output

    ran = bench.run(some, {"items": [3, 1, 2]})
    assert ran.result == "[4, 3]"
    assert ran.not_triggered == {"for-loop-1[1]/condition-2/add"}
    ran = bench.run(some, {"items": [0, 1]})
    assert ran.result == "[]" and ran.executed == {"see"}


@feature("Collected results", "OneOf in each iteration, collected")
def test_kfp_collected_one_of(bench):
    @dsl.pipeline
    def choosing(items: List[int]) -> str:
        with dsl.ParallelFor(items) as n:
            with dsl.If(n > 1):
                high = add(n=n, by=100)
            with dsl.Else():
                low = add(n=n)
            chosen = add(n=dsl.OneOf(high.output, low.output), by=0)
        return see(value=dsl.Collected(chosen.output)).output

    assert bench.run(choosing, {"items": [0, 5, 1]}).result == "[1, 105, 2]"


@feature("Collected results", "A failed iteration: what collects does not run, unless it tolerates")
def test_kfp_collected_after_a_failure(bench):
    @dsl.component(base_image=IMAGE)
    def tell(value: list = []) -> str:
        return repr(value)

    @dsl.pipeline
    def partly():
        with dsl.ParallelFor([1, 2, 3]) as n:
            each = fail_on(n=n, bad=2)
        see(value=dsl.Collected(each.output))
        tell(value=dsl.Collected(each.output)).ignore_upstream_failure()

    ran = bench.run(partly)
    assert ran.failed == {"for-loop-2[1]/fail-on"}
    assert ran.upstream_failed == {"see"}
    assert "tell" in ran.executed
    assert ran.output("tell") == "[]", "its default, as for anything that is missing"


@feature("Collected results", "Artifacts, into a list input, in order, with their metadata")
def test_kfp_collected_artifacts(bench):
    @dsl.pipeline
    def collecting(texts: List[str]) -> str:
        with dsl.ParallelFor(texts) as text:
            made = write(text=text)
        return join(parts=dsl.Collected(made.outputs["data"])).output

    assert bench.run(collecting, {"texts": ["c", "a", "b"]}).result == "c/c a/a b/b"
    assert bench.run(collecting, {"texts": []}).result == ""


@feature("Collected results", "Artifacts of nested loops: one flat list, in order")
def test_kfp_collected_artifacts_of_nested_loops(bench):
    @dsl.pipeline
    def nested() -> str:
        with dsl.ParallelFor(["a", "b"]) as first:
            letter = say(text=first)
            with dsl.ParallelFor(["x", "y"]) as second:
                made = write(text=f"{letter.output}{second}")
        return join(parts=dsl.Collected(made.outputs["data"])).output

    assert bench.run(nested).result == "ax/ax ay/ay bx/bx by/by"


@feature("Collected results", "Artifacts of iterations that took the branch only")
def test_kfp_collected_artifacts_of_some(bench):
    @dsl.pipeline
    def some(texts: List[str]) -> str:
        with dsl.ParallelFor(texts) as text:
            with dsl.If(text != "b"):
                made = write(text=text)
        return join(parts=dsl.Collected(made.outputs["data"])).output

    ran = bench.run(some, {"texts": ["a", "b", "c"]})
    assert ran.result == "a/a c/c" and len(ran.not_triggered) == 1


@feature("Collected results", "Artifacts of a failed iteration, for a task that tolerates it")
def test_kfp_collected_artifacts_after_a_failure(bench):
    @dsl.component(base_image=IMAGE)
    def write_unless(text: str, bad: str, data: Output[Dataset]):
        assert text != bad, "no luck"
        with open(data.path, "w") as file:
            file.write(text)
        data.metadata["text"] = text

    @dsl.component(base_image=IMAGE)
    def count(parts: Input[List[Dataset]]) -> int:
        return len(parts)

    @dsl.pipeline
    def partly():
        with dsl.ParallelFor(["a", "b"]) as text:
            made = write_unless(text=text, bad="b")
        count(parts=dsl.Collected(made.outputs["data"]))
        say(text="independent")

    ran = bench.run(partly)
    assert ran.failed == {"for-loop-2[1]/write-unless"}
    assert ran.upstream_failed == {"count"} and "say" in ran.executed


@feature("Collected results", "Several outputs of one loop, parameters and artifacts")
def test_kfp_several_collected(bench):
    @dsl.component(base_image=IMAGE)
    def fit(n: int, model: Output[Model]) -> int:
        with open(model.path, "w") as file:
            file.write(str(n))
        return n * n

    @dsl.component(base_image=IMAGE)
    def best(scores: List[int], models: Input[List[Model]], chosen: Output[Model]) -> int:
        from pathlib import Path

        at = scores.index(max(scores))
        Path(chosen.path).write_text(Path(models[at].path).read_text())
        return at

    class Best(NamedTuple):
        model: Model
        index: int

    @dsl.pipeline
    def searching() -> Best:
        with dsl.ParallelFor([2, -5, 3]) as n:
            each = fit(n=n)
        found = best(
            scores=dsl.Collected(each.outputs["Output"]),
            models=dsl.Collected(each.outputs["model"]),
        )
        return Best(model=found.outputs["chosen"], index=found.outputs["Output"])

    ran = bench.run(searching)
    assert ran.outputs == {"index": 1} and ran.result_content("model") == "-5"


@feature("Loops", "Over artifacts: what a nested pipeline has collected")
def test_kfp_a_loop_over_artifacts(bench):
    @dsl.pipeline
    def write_all(texts: List[str]) -> List[Dataset]:
        with dsl.ParallelFor(texts) as text:
            made = write(text=text)
        return dsl.Collected(made.outputs["data"])

    @dsl.pipeline
    def over(texts: List[str]) -> str:
        with dsl.ParallelFor(write_all(texts=texts).output) as data:
            said = read(data=data)
        return see(value=dsl.Collected(said.output)).output

    ran = bench.run(over, {"texts": ["a", "b", "c"]})
    assert ran.result == repr(["a/a", "b/b", "c/c"])
    loops = {name: t["items"] for name, t in ran.tasks.items() if t["kind"] == "loop"}
    assert set(loops.values()) == {3} and len(loops) == 2
    ran = bench.run(over, {"texts": []})
    assert ran.result == "[]" and ran.executed == {"see"}


@feature("Loops", "Over artifacts: a list input of a pipeline, with a limit of parallelism")
def test_kfp_a_loop_over_artifacts_of_an_input(bench):
    @dsl.pipeline
    def inner(parts: Input[List[Dataset]]) -> str:
        with dsl.ParallelFor(parts, parallelism=1) as part:
            more = write(text=read(data=part).output)
        return join(parts=dsl.Collected(more.outputs["data"])).output

    @dsl.pipeline
    def outer(texts: List[str]) -> str:
        with dsl.ParallelFor(texts) as text:
            made = write(text=text)
        return inner(parts=dsl.Collected(made.outputs["data"])).output

    assert bench.run(outer, {"texts": ["a", "b"]}).result == "a/a/a/a b/b/b/b"
    ran = bench.run(outer, {"texts": []})
    assert ran.result == "" and ran.executed == {"inner/join"}
