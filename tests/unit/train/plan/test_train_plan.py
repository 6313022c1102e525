"""The plan: what is flattened and what stays, names, limits, and where paths lead."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from seamline.domain.errors import InvalidInput, NotFound
from seamline.train.ir.lightweight import PythonFunction
from seamline.train.ir.types import (
    ArtifactSpec,
    Component,
    ContainerExecutor,
    Dag,
    DagTask,
    FromInput,
    FromTask,
    Loop,
    ParameterSpec,
    ParameterType,
    Pipeline,
    RetryPolicy,
)
from seamline.train.ir.types import Constant as Fixed
from seamline.train.plan.load import plan_of
from seamline.train.plan.planner import make_plan
from seamline.train.plan.sources import Declared, NodeOutput, ScopeInput
from seamline.train.plan.types import PlannedGroup, PlannedLoop, PlannedTask, all_tasks, find_node

NUMBER = ParameterSpec(ParameterType.NUMBER_INTEGER)
BODY = ContainerExecutor("", PythonFunction("", "f", ()))


def leaf(name: str = "comp-leaf", **inputs: ParameterSpec) -> Component:
    return Component(name, inputs, {}, {"Output": NUMBER}, {}, BODY)


def task(name: str, component: str = "comp-leaf", **more: Any) -> DagTask:
    given: dict[str, Any] = {"parameters": {}, "artifacts": {}, "after": (), **more}
    return DagTask(name, component, **given)


def dag_component(name: str, *tasks: DagTask, **inputs: ParameterSpec) -> Component:
    dag = Dag({one.name: one for one in tasks}, {}, {})
    return Component(name, inputs, {}, {}, {}, dag)


def pipeline(root: Component, *components: Component) -> Pipeline:
    return Pipeline("p", "", root, {one.name: one for one in components})


# -- names and paths ---------------------------------------------------------------------------
@pytest.fixture
def nested(sketching: Any) -> Any:
    """t0 · t1 (a group: t0, t1 (a loop: t0, t1 (a group: t0)))."""
    sketch = sketching.Sketch
    inner = (sketch(), sketch(inner=(sketch(),)))
    loop = sketch(inner=inner, is_loop=True, count=2)
    return plan_of(sketching.write_ir((sketch(), sketch(inner=(sketch(), loop)))))


def test_groups_are_flattened_and_loops_are_not(nested):
    assert list(nested.nodes) == ["t0", "t1", "t1/t0", "t1/t1"]
    kinds = [type(node) for node in nested.nodes.values()]
    assert kinds == [PlannedTask, PlannedGroup, PlannedTask, PlannedLoop]
    assert list(nested.nodes["t1/t1"].body.nodes) == ["t0", "t1", "t1/t0"]
    assert [path for path, _ in all_tasks(nested)] == [
        "t0",
        "t1/t0",
        "t1/t1/t0",
        "t1/t1/t1/t0",
    ]
    assert list(nested.within("t1")) == ["t1", "t1/t0", "t1/t1"]
    assert list(nested.within("t0")) == ["t0"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("t0", "t0"),
        ("t1", "t1"),
        ("t1/t0", "t1/t0"),
        ("t1/t1", "t1/t1"),
        ("t1/t1[1]", "t1/t1"),
        ("t1/t1[1]/t0", "t0"),
        ("t1/t1/t1/t0", "t1/t0"),
        ("t1/t1[0]/t1", "t1"),
    ],
)
def test_a_path_leads_to_its_node_with_or_without_indexes(nested, path, name):
    scope, node = find_node(nested, path)
    assert node.name == name
    assert scope.nodes[name] is node


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("t00", "t0"),
        ("t0[0]", "t0"),
        ("t1[0]", "t1/t0"),
        ("t1[0]/t0", "t1/t0"),
        ("t1/t1[x]/t0", "t1/t1/t0"),
        ("t1/t1[0]/t0[1]", "t1/t1/t0"),
        ("t1/t1[0]/", "t1/t0"),
        ("", "t0"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_the_nearest(nested, path, nearest):
    """Only a loop has items: an index of anything else is a mistake, and not left out."""
    with pytest.raises(NotFound) as caught:
        find_node(nested, path)
    assert nearest in caught.value.next_step


def test_names_are_limited_with_all_that_they_stand_in(sketching):
    """A path is a column, across loops in loops too."""
    sketch = sketching.Sketch
    ir = sketching.write_ir((sketch(inner=(sketch(inner=(sketch(),)),), is_loop=True, count=1),))
    long = ir.replace(b'"t0"', f'"{"n" * 128}"'.encode())
    assert [len(path) for path, _ in all_tasks(plan_of(long))] == [3 * 128 + 2]
    four = (sketch(inner=(sketch(inner=(sketch(inner=(sketch(),)),), is_loop=True, count=1),)),)
    too_long = sketching.write_ir(four).replace(b'"t0"', f'"{"n" * 128}"'.encode())
    with pytest.raises(InvalidInput, match="names longer than 480 characters"):
        plan_of(too_long)


def test_what_people_call_a_task_is_cut_to_what_a_row_holds(sketching):
    ir = json.loads(sketching.write_ir((sketching.Sketch(),)))
    ir["root"]["dag"]["tasks"]["t0"]["taskInfo"] = {"name": "x\0" + "y" * 300}
    [(_, planned)] = all_tasks(plan_of(json.dumps(ir).encode()))
    assert planned.display_name == "x\\x00" + "y" * 185


# -- loops -------------------------------------------------------------------------------------
def test_a_loop_over_a_component_repeats_that(sketching):
    """No compiler writes that, and the IR has it: an iterator of a task that is no DAG."""
    over = task("each", loop=Loop(Fixed([1, 2]), "n"), after=("first",), parameters={})
    root = dag_component("root", task("first", "comp-other"), over)
    plan = make_plan(pipeline(root, leaf("comp-leaf", n=NUMBER), leaf("comp-other")))
    loop = plan.nodes["each"]
    assert isinstance(loop, PlannedLoop)
    [only] = loop.body.tasks()
    assert only.name == "leaf"
    assert only.parameters == {"n": Declared(Declared(ScopeInput("n"), NUMBER), NUMBER)}
    assert loop.body.output_parameters == {"Output": NodeOutput("leaf", "Output")}


def test_a_component_that_contains_itself_is_refused():
    one = dag_component("comp-one", task("two", "comp-two"))
    two = dag_component("comp-two", task("one", "comp-one"))
    with pytest.raises(InvalidInput, match="root → comp-one → comp-two → comp-one"):
        make_plan(pipeline(dag_component("root", task("t", "comp-one")), one, two))
    again = dag_component("comp-loop", task("again", "comp-loop", loop=Loop(Fixed([1]), "n")))
    with pytest.raises(InvalidInput, match="contains itself"):
        make_plan(pipeline(dag_component("root", task("t", "comp-loop")), again))


def test_a_pipeline_of_nothing_is_refused():
    with pytest.raises(InvalidInput, match="nothing to run"):
        make_plan(pipeline(dag_component("root")))


def test_a_pipeline_that_unfolds_beyond_measure_is_refused():
    """Ten lines of ten calls of each other: a small file, and 10^10 tasks."""
    levels = [leaf("comp-0")]
    for level in range(1, 11):
        calls = [task(f"t{n}", f"comp-{level - 1}") for n in range(10)]
        levels.append(dag_component(f"comp-{level}", *calls))
    with pytest.raises(InvalidInput, match="more than 100000 tasks"):
        make_plan(pipeline(dag_component("root", task("t", "comp-10")), *levels))


# -- inputs ------------------------------------------------------------------------------------
def test_inputs_are_traced_through_groups_to_their_origin():
    group = Component(
        "comp-group",
        {"n": NUMBER},
        {},
        {"made": NUMBER},
        {},
        Dag(
            {"use": task("use", parameters={"n": FromInput("n")})},
            {"made": (FromTask("use", "Output"),)},
            {},
        ),
    )
    root = dag_component(
        "root",
        task("make", "comp-plain"),
        task("g", "comp-group", parameters={"n": FromTask("make", "Output")}, after=("make",)),
        task("last", parameters={"n": FromTask("g", "made")}, after=("g",)),
    )
    plan = make_plan(pipeline(root, leaf("comp-leaf", n=NUMBER), leaf("comp-plain"), group))
    assert plan.nodes["g/use"].parameters["n"] == Declared(
        Declared(NodeOutput("make", "Output"), NUMBER), NUMBER
    )
    assert plan.nodes["last"].parameters["n"] == Declared(NodeOutput("g/use", "Output"), NUMBER)
    assert plan.nodes["g/use"].gate.after == ()
    assert plan.nodes["g/use"].gate.group == "g"


def test_a_sub_pipeline_s_retries_are_those_of_its_tasks_without_their_own():
    outer, own = RetryPolicy(3, 0.0, 2.0, 60.0), RetryPolicy(1, 0.0, 2.0, 60.0)
    group = dag_component("comp-g", task("a"), task("b", retry=own))
    loop = dag_component("comp-l", task("c"), n=NUMBER)
    root = dag_component(
        "root",
        task("g", "comp-g", retry=outer),
        task("l", "comp-l", retry=outer, loop=Loop(Fixed([1]), "n")),
    )
    plan = make_plan(pipeline(root, leaf(), group, loop))
    retries = {path: planned.retry for path, planned in all_tasks(plan)}
    assert retries == {"g/a": outer, "g/b": own, "l/c": outer}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (task("t", parameters={}), "Task 't' is not given its input 'n'"),
        (task("t", parameters={"n": FromInput("m")}), "root has no input 'm'. Known: n"),
        (
            task("t", parameters={"n": FromTask("first", "Outptu")}, after=("first",)),
            "t.n reads the output 'Outptu' of 'first'.*Did you mean Output",
        ),
        (
            task("t", parameters={"n": Fixed(1)}, loop=Loop(FromInput("xs"), "n")),
            "The loop 't' is over 'xs', which it is not given",
        ),
        (
            task("t", parameters={"n": Fixed(1)}, artifacts={"data": FromInput("data")}),
            "root has no input artifact 'data'",
        ),
        (
            task("t", parameters={"n": Fixed(1)}, artifacts={"d": FromTask("first", "Output")}),
            "reads the output 'Output' of 'first'.*no such output of that kind",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(wrong, said):
    root = dag_component("root", task("first", "comp-plain"), wrong, n=NUMBER)
    with pytest.raises(InvalidInput) as caught:
        make_plan(pipeline(root, leaf("comp-leaf", n=NUMBER), leaf("comp-plain")))
    whole = f"{caught.value.message} {caught.value.next_step}"
    assert re.search(said, whole), whole


def test_an_artifact_that_is_not_given_is_refused_unless_it_is_optional():
    spec = ArtifactSpec("system.Dataset", "0.0.1")
    reader = Component("comp-leaf", {}, {"data": spec}, {}, {}, BODY)
    with pytest.raises(InvalidInput, match="not given its input artifact 'data'"):
        make_plan(pipeline(dag_component("root", task("t")), reader))
