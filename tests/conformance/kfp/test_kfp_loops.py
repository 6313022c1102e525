"""dsl.ParallelFor: what can be looped over, nesting, branches in loops and loops in branches."""

from typing import Dict, List

import pytest
import yaml
from kfp import dsl

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def see(value: str) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def see_int(value: int) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def see_float(value: float) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def see_dict(value: dict) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def see_list(value: list) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def numbers(count: int) -> List[int]:
    return list(range(count))


@dsl.component(base_image=IMAGE)
def end(word: str = "end") -> str:
    return word


def outputs(ran, loop: str, task: str) -> list:
    """The outputs of a task of each iteration, in the order of the items."""
    count = ran.tasks[loop]["items"]
    return [ran.output(f"{loop}[{i}]/{task}") for i in range(count)]


@feature("Loops", "Over a constant list: strings, integers, floats")
def test_kfp_constant_lists(bench):
    @dsl.pipeline
    def constants():
        with dsl.ParallelFor(["a", "it's", "é", "{{$.x}}", "1", ""]) as text:
            see(value=text)
        with dsl.ParallelFor([1, -2, 3000000000]) as n:
            see_int(value=n)
        with dsl.ParallelFor([1.5, 2.0]) as real:
            see_float(value=real)

    ran = bench.run(constants)
    assert ran.state == "succeeded"
    texts = ["a", "it's", "é", "{{$.x}}", "1", ""]
    assert outputs(ran, "for-loop-2", "see") == [repr(text) for text in texts]
    assert outputs(ran, "for-loop-4", "see-int") == ["1", "-2", "3000000000"]
    assert outputs(ran, "for-loop-6", "see-float") == ["1.5", "2.0"]
    assert len(ran.executed) == 11


@feature("Loops", "Rows of a run: the loop, its iterations with their items, and their tasks")
def test_kfp_what_a_run_shows_of_a_loop(bench):
    @dsl.pipeline
    def looping():
        with dsl.ParallelFor(["a", "b"], name="each letter") as text:
            see(value=text)

    ran = bench.run(looping)
    kinds = {name: task["kind"] for name, task in ran.tasks.items()}
    assert kinds == {
        "for-loop-2": "loop",
        "for-loop-2[0]": "iteration",
        "for-loop-2[0]/see": "python",
        "for-loop-2[1]": "iteration",
        "for-loop-2[1]/see": "python",
    }
    assert {task["state"] for task in ran.tasks.values()} == {"succeeded"}
    assert ran.tasks["for-loop-2"]["items"] == 2
    assert ran.tasks["for-loop-2"]["display_name"] == "each letter"
    assert [ran.tasks[f"for-loop-2[{i}]"]["item_index"] for i in (0, 1)] == [0, 1]
    assert ran.tasks["for-loop-2[1]/see"]["group"] == "for-loop-2[1]"


@feature("Loops", "Over a parameter of the pipeline")
def test_kfp_a_loop_over_an_argument(bench):
    @dsl.pipeline
    def over(items: List[int], texts: list = ["x", "y"]):
        with dsl.ParallelFor(items) as n:
            see_int(value=n)
        with dsl.ParallelFor(texts) as text:
            see(value=text)

    ran = bench.run(over, {"items": [3, 2, 1]})
    assert outputs(ran, "for-loop-1", "see-int") == ["3", "2", "1"]
    assert outputs(ran, "for-loop-2", "see") == ["'x'", "'y'"]


@feature("Loops", "Over the output of a task")
def test_kfp_a_loop_over_an_output(bench):
    @dsl.pipeline
    def over(count: int):
        with dsl.ParallelFor(numbers(count=count).output) as n:
            see_int(value=add(n=n).output)

    ran = bench.run(over, {"count": 3})
    assert outputs(ran, "for-loop-1", "see-int") == ["1", "2", "3"]


@feature("Loops", "Over many more items than a machine has cores")
def test_kfp_a_wide_loop(bench):
    @dsl.component(base_image=IMAGE)
    def total(items: List[int]) -> int:
        return sum(items)

    @dsl.pipeline
    def wide(count: int) -> int:
        with dsl.ParallelFor(numbers(count=count).output) as n:
            each = add(n=n)
        return total(items=dsl.Collected(each.output)).output

    ran = bench.run(wide, {"count": 100})
    assert ran.result == 100 * 101 / 2
    assert len({task["pid"] for task in ran.tasks.values()} - {None}) == 102


@feature("Loops", "Over dictionaries, and parts of them (item.part)")
def test_kfp_parts_of_items(bench):
    @dsl.pipeline
    def parts(rows: List[Dict[str, int]]):
        with dsl.ParallelFor([{"a": 1, "b": 10}, {"a": 2, "b": 20}]) as row:
            add(n=row.a, by=row.b)
        with dsl.ParallelFor(rows) as row:
            see_int(value=row.n_x)
            see_dict(value=row)

    ran = bench.run(parts, {"rows": [{"n_x": 1}, {"n_x": -2, "more": 3}]})
    assert outputs(ran, "for-loop-2", "add") == [11, 22]
    assert outputs(ran, "for-loop-3", "see-int") == ["1", "-2"]
    assert outputs(ran, "for-loop-3", "see-dict") == ["{'n_x': 1}", "{'n_x': -2, 'more': 3}"]


@feature("Loops", "Over dictionaries, and parts of them (item.part)")
def test_kfp_parts_of_an_output(bench):
    @dsl.component(base_image=IMAGE)
    def rows() -> List[Dict[str, str]]:
        return [{"word": 'it\'s "x"', "kind": "{}"}, {"word": "é", "kind": "$(a)"}]

    @dsl.pipeline
    def parts():
        with dsl.ParallelFor(rows().output) as row:
            see(value=row.word)
            see(value=f"{row.kind}-{row.word}")

    ran = bench.run(parts)
    assert outputs(ran, "for-loop-1", "see") == [repr('it\'s "x"'), repr("é")]
    assert outputs(ran, "for-loop-1", "see-2") == [repr('{}-it\'s "x"'), repr("$(a)-é")]


@feature("Loops", "Items keep their types: integers in lists and structs, booleans, nested lists")
def test_kfp_items_keep_their_types(bench):
    @dsl.pipeline
    def typed(lists: List[list], tables: List[dict]):
        with dsl.ParallelFor(lists) as item:
            see_list(value=item)
        with dsl.ParallelFor(tables) as item:
            see_dict(value=item)

    ran = bench.run(
        typed, {"lists": [[1, 2.5, True], [], [[3]]], "tables": [{"n": 1, "x": {"y": [2]}}]}
    )
    assert outputs(ran, "for-loop-1", "see-list") == ["[1, 2.5, True]", "[]", "[[3]]"]
    assert outputs(ran, "for-loop-2", "see-dict") == ["{'n': 1, 'x': {'y': [2]}}"]


@feature("Loops", "Items in texts (f-strings)")
def test_kfp_items_in_texts(bench):
    @dsl.pipeline
    def texts(prefix: str):
        with dsl.ParallelFor([1, 2]) as n:
            see(value=f"{prefix}-{n}")

    assert outputs(bench.run(texts, {"prefix": "p"}), "for-loop-2", "see") == ["'p-1'", "'p-2'"]


@feature("Loops", "Loops in loops, over what the outer loop gives")
def test_kfp_nested_loops(bench):
    @dsl.pipeline
    def nested(outer: List[int]):
        with dsl.ParallelFor(outer) as count:
            with dsl.ParallelFor(numbers(count=count).output) as n:
                add(n=n, by=count)
            with dsl.ParallelFor(["a", "b"]) as text:
                see(value=text)

    ran = bench.run(nested, {"outer": [0, 2, 1]})
    inner = {n: t["items"] for n, t in ran.tasks.items() if t["kind"] == "loop"}
    assert inner == {
        "for-loop-1": 3,
        "for-loop-1[0]/for-loop-2": 0, "for-loop-1[0]/for-loop-4": 2,
        "for-loop-1[1]/for-loop-2": 2, "for-loop-1[1]/for-loop-4": 2,
        "for-loop-1[2]/for-loop-2": 1, "for-loop-1[2]/for-loop-4": 2,
    }  # fmt: skip
    assert outputs(ran, "for-loop-1[1]/for-loop-2", "add") == [2, 3]
    assert outputs(ran, "for-loop-1[2]/for-loop-2", "add") == [1]
    assert outputs(ran, "for-loop-1[0]/for-loop-4", "see") == ["'a'", "'b'"]


@feature("Loops", "Items of an outer loop in a text of the inner one")
def test_kfp_items_of_two_loops_in_one_text(bench):
    """The compiler gives the inner loop no such input: the one around it is meant."""

    @dsl.pipeline
    def nested(outer: List[int]):
        with dsl.ParallelFor(outer) as count:
            with dsl.ParallelFor(["a", "b"]) as text:
                see(value=f"{text}{count}")

    ran = bench.run(nested, {"outer": [7]})
    assert outputs(ran, "for-loop-1[0]/for-loop-3", "see") == ["'a7'", "'b7'"]


@feature("Loops", "Loops in loops, over what the outer loop gives")
def test_kfp_nested_loops_over_parts(bench):
    @dsl.pipeline
    def nested(rows: List[Dict[str, List[int]]]):
        with dsl.ParallelFor(rows) as row:
            with dsl.ParallelFor(row.values_of) as n:
                see_int(value=n)

    ran = bench.run(nested, {"rows": [{"values_of": [1, 2]}, {"values_of": []}]})
    assert outputs(ran, "for-loop-1[0]/for-loop-2", "see-int") == ["1", "2"]
    assert ran.tasks["for-loop-1[1]/for-loop-2"]["items"] == 0
    assert len(ran.executed) == 2


@feature("Loops", "An empty list: nothing runs, what comes after does")
def test_kfp_an_empty_list(bench):
    @dsl.pipeline
    def empty(items: List[int]):
        with dsl.ParallelFor(items) as n:
            add(n=add(n=n).output)

    spec = yaml.safe_load(bench.compile(empty))
    ran = bench.run(empty, {"items": []})
    assert ran.state == "succeeded" and ran.executed == set()
    assert set(ran.tasks) == {"for-loop-1"} and ran.tasks["for-loop-1"]["items"] == 0
    assert ran.tasks["for-loop-1"]["state"] == "succeeded"
    assert spec["root"]["dag"]["tasks"]["for-loop-1"]["parameterIterator"]


@feature("Loops", "An empty list: nothing runs, what comes after does")
def test_kfp_after_an_empty_list(bench):
    @dsl.component(base_image=IMAGE)
    def count(items: List[int]) -> int:
        return len(items)

    @dsl.pipeline
    def empty(items: List[int]) -> int:
        with dsl.ParallelFor(items) as n:
            each = add(n=n)
        return count(items=dsl.Collected(each.output)).output

    ran = bench.run(empty, {"items": []})
    assert repr(ran.result) == "0" and ran.executed == {"count"}


@feature("Loops", "Conditions in loops: each iteration takes its own branch")
def test_kfp_conditions_in_loops(bench):
    @dsl.pipeline
    def branching(items: List[int], limit: int):
        with dsl.ParallelFor(items) as n:
            with dsl.If(n > limit):
                see_int(value=n)
            with dsl.Else():
                add(n=n, by=100)

    ran = bench.run(branching, {"items": [1, 5, 3], "limit": 2})
    loop, branches = "for-loop-1", "condition-branches-2"
    assert ran.state == "succeeded"
    assert ran.executed == {
        f"{loop}[0]/{branches}/condition-4/add",
        f"{loop}[1]/{branches}/condition-3/see-int",
        f"{loop}[2]/{branches}/condition-3/see-int",
    }
    assert ran.not_triggered == {
        f"{loop}[0]/{branches}/condition-3/see-int",
        f"{loop}[1]/{branches}/condition-4/add",
        f"{loop}[2]/{branches}/condition-4/add",
    }


@feature("Loops", "Conditions in loops: each iteration takes its own branch")
def test_kfp_conditions_on_parts_of_items(bench):
    @dsl.pipeline
    def branching(rows: List[Dict[str, str]]):
        with dsl.ParallelFor(rows) as row:
            with dsl.If(row.kind == "it's"):
                see(value=row.word)

    rows = [{"kind": "it's", "word": "a"}, {"kind": "its", "word": "b"}]
    ran = bench.run(branching, {"rows": rows})
    assert ran.executed == {"for-loop-1[0]/condition-2/see"}
    assert ran.not_triggered == {"for-loop-1[1]/condition-2/see"}


@feature("Loops", "Parts of items in If, Elif and texts, at any depth")
def test_kfp_parts_of_items_everywhere(bench):
    """The compiler asks for parts in groups that were not given the item."""

    @dsl.pipeline
    def branching(rows: List[Dict[str, str]]):
        with dsl.ExitHandler(end()):
            with dsl.ParallelFor(rows) as row:
                with dsl.If(row.kind == "a"):
                    see(value=f"a {row.word}")
                with dsl.Elif(row.kind == "b"):
                    with dsl.If(row.word == "y"):
                        see(value=f"b {row.word}")
                        see(value=row.kind)
                with dsl.Else():
                    see(value=f"{row.kind} {row.word}")

    words = [("a", "x"), ("b", "y"), ("c", "z")]
    ran = bench.run(branching, {"rows": [{"kind": kind, "word": word} for kind, word in words]})
    assert ran.state == "succeeded" and len(ran.executed) == 5
    said = {ran.output(name) for name in ran.executed if name != "end"}
    assert said == {"'a x'", "'b y'", "'b'", "'c z'"}


@feature("Loops", "Parts of constant items in If and Elif")
def test_kfp_parts_of_constant_items_in_branches(bench):
    @dsl.pipeline
    def branching():
        with dsl.ParallelFor([{"kind": "a", "word": "x"}, {"kind": "b", "word": "y"}]) as row:
            with dsl.If(row.kind == "a"):
                end(word="is a")
            with dsl.Elif(row.word == "y"):
                end(word="is b, with y")
            see(value=f"{row.kind} {row.word}")

    ran = bench.run(branching)
    assert ran.state == "succeeded"
    assert {ran.output(name) for name in ran.executed} == {
        "is a",
        "is b, with y",
        "'a x'",
        "'b y'",
    }


@feature("Loops", "Loops in conditions")
@pytest.mark.parametrize(("flag", "expected"), [("go", 3), ("stop", 0)])
def test_kfp_loops_in_conditions(bench, flag, expected):
    @dsl.pipeline
    def guarded(flag: str, rows: List[Dict[str, int]]):
        with dsl.If(flag == "go"):
            with dsl.ParallelFor(rows) as row:
                add(n=row.n)

    ran = bench.run(guarded, {"flag": flag, "rows": [{"n": 1}, {"n": 2}, {"n": 3}]})
    assert ran.state == "succeeded"
    assert len(ran.executed) == expected
    loop = ran.tasks["condition-1/for-loop-2"]
    assert loop["state"] == ("succeeded" if expected else "not_triggered")


@feature("Loops", "A loop over dictionaries inside an exit handler")
def test_kfp_a_loop_over_parts_in_an_exit_handler(bench):
    """The compiler leaves an input there that nothing gives, and nothing reads."""

    @dsl.pipeline
    def guarded():
        with dsl.ExitHandler(end()):
            with dsl.ParallelFor([{"a": 1}, {"a": 2}]) as row:
                add(n=row.a)

    ran = bench.run(guarded)
    assert ran.state == "succeeded"
    assert outputs(ran, "exit-handler-1/for-loop-3", "add") == [2, 3]


@feature("Loops", "Loops over nested pipelines")
def test_kfp_loops_over_pipelines(bench):
    @dsl.pipeline
    def plus_two(n: int) -> int:
        return add(n=add(n=n).output).output

    @dsl.pipeline
    def over(items: List[int]):
        with dsl.ParallelFor(items) as n:
            see_int(value=plus_two(n=n).output)

    ran = bench.run(over, {"items": [1, 5]})
    assert outputs(ran, "for-loop-1", "see-int") == ["3", "7"]
    assert outputs(ran, "for-loop-1", "plus-two/add") == [2, 6]
