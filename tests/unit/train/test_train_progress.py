"""The pure plan: random DAGs of DAGs with random failures end as they should (law 7)."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.train.ir import Component, ContainerExecutor, Dag, DagTask, Pipeline
from seamline.train.lightweight import PythonFunction
from seamline.train.plan import Plan, make_plan
from seamline.train.progress import Progress, decide_run_state

LEAF = Component("leaf", {}, {}, {}, {}, ContainerExecutor("", PythonFunction("", "f", ())))
GOOD = (TaskState.SUCCEEDED, TaskState.SKIPPED)


@dataclasses.dataclass
class Sketch:
    """One task: what it waits for, by index; whether it is tolerant; its sub-tasks, if any."""

    after: list[int]
    is_tolerant: bool
    inner: "list[Sketch] | None"


@st.composite
def sketches(draw: st.DrawFn, depth: int = 2) -> list[Sketch]:
    made = []
    for index in range(draw(st.integers(1, 4))):
        after = draw(st.lists(st.integers(0, index - 1), unique=True)) if index else []
        inner = draw(sketches(depth - 1)) if depth and draw(st.booleans()) else None
        made.append(Sketch(sorted(after), draw(st.booleans()), inner))
    return made


def pipeline_of(sketch: list[Sketch]) -> Pipeline:
    components = {"leaf": LEAF}

    def component(name: str, tasks: list[Sketch]) -> Component:
        dag = {}
        for index, task in enumerate(tasks):
            kind = "leaf"
            if task.inner is not None:
                kind = f"{name}-{index}"
                components[kind] = component(kind, task.inner)
            after = tuple(f"t{i}" for i in task.after)
            dag[f"t{index}"] = DagTask(f"t{index}", kind, {}, {}, after, task.is_tolerant)
        return Component(name, {}, {}, {}, {}, Dag(dag, {}, {}))

    root = component("root", sketch)
    return Pipeline("p", "", root, components)


def expected(tasks: list[Sketch], failing: set[str], prefix: str = "", opened: bool = True):
    """The same rules, said in the plainest way: name → state."""
    states: dict[str, TaskState] = {}
    good: list[bool] = []
    for index, task in enumerate(tasks):
        name = f"{prefix}t{index}"
        runs = opened and (task.is_tolerant or all(good[i] for i in task.after))
        if task.inner is not None:
            mine = expected(task.inner, failing, f"{name}/", runs)
        elif not runs:
            mine = {name: TaskState.UPSTREAM_FAILED}
        else:
            mine = {name: TaskState.FAILED if name in failing else TaskState.SUCCEEDED}
        good.append(all(state in GOOD for state in mine.values()))
        states |= mine
    return states


def has_ended(plan: Plan, states: dict[str, TaskState], name: str) -> bool:
    """Everything that a ready task waits for has ended, at every level."""
    gate = plan.gate_of(name)
    while True:
        for upstream in gate.after:
            for leaf in plan.leaves_of(upstream):
                if not is_terminal(states.get(leaf, TaskState.PENDING)):
                    return False
        if gate.group is None:
            return True
        gate = plan.gate_of(gate.group)


@given(sketch=sketches(), data=st.data())
def test_every_task_ends_in_its_one_right_state(sketch, data):
    plan = make_plan(pipeline_of(sketch))
    failing = data.draw(st.sets(st.sampled_from(sorted(plan.tasks))), label="failing")
    progress, states = Progress(plan), {}
    step = progress.begin()
    ready: list[str] = []
    while True:
        ready += step.ready
        for name, cause in step.upstream_failed.items():
            assert name not in states and states[cause] is TaskState.FAILED
            states[name] = TaskState.UPSTREAM_FAILED
        if not ready:
            break
        name = ready.pop(data.draw(st.integers(0, len(ready) - 1), label="next"))
        assert name not in states and has_ended(plan, states, name)
        states[name] = TaskState.FAILED if name in failing else TaskState.SUCCEEDED
        if data.draw(st.booleans(), label="restart here"):
            progress = Progress(plan)
            resumed = progress.resume(states)
            before = set(ready)
            for other, _ in resumed.upstream_failed.items():
                states[other] = TaskState.UPSTREAM_FAILED
            assert before <= set(resumed.ready)
            ready = list(resumed.ready)
            step = dataclasses.replace(resumed, ready=[], upstream_failed={})
        else:
            step = progress.settle(name, states[name])
    assert progress.is_over
    assert states == expected(sketch, failing)
    assert decide_run_state(plan, states) is run_state_by_hand(plan, states)


def run_state_by_hand(plan: Plan, states: dict[str, TaskState]) -> RunState:
    if all(state in GOOD for state in states.values()):
        return RunState.SUCCEEDED

    def waited_for(name: str) -> set[str]:
        found: set[str] = set()
        gate = plan.gate_of(name)
        while True:
            for upstream in gate.after:
                for leaf in plan.leaves_of(upstream):
                    found |= {leaf} | waited_for(leaf)
            if gate.group is None:
                return found
            gate = plan.gate_of(gate.group)

    failed = [name for name, state in states.items() if state is TaskState.FAILED]
    used_up = set().union(*(waited_for(name) for name in failed))
    if any(state in GOOD and name not in used_up for name, state in states.items()):
        return RunState.PARTIALLY_FAILED
    return RunState.FAILED


def test_a_broken_chain_is_failed_however_far_it_came():
    plan = make_plan(pipeline_of([Sketch([], False, None), Sketch([0], False, None)]))
    states = {"t0": TaskState.SUCCEEDED, "t1": TaskState.FAILED}
    assert decide_run_state(plan, states) is RunState.FAILED


def test_one_failed_scenario_of_many_is_partial():
    load, scenario = Sketch([], False, None), Sketch([0], False, None)
    collect = Sketch([1, 2], False, None)
    plan = make_plan(pipeline_of([load, scenario, scenario, collect]))
    states = {
        "t0": TaskState.SUCCEEDED,
        "t1": TaskState.SUCCEEDED,
        "t2": TaskState.FAILED,
        "t3": TaskState.UPSTREAM_FAILED,
    }
    assert decide_run_state(plan, states) is RunState.PARTIALLY_FAILED


def test_one_ended_task_costs_its_own_edges_only():
    """A fan-in of groups does not square the number of edges."""
    many = [Sketch([], False, None) for _ in range(300)]
    plan = make_plan(pipeline_of([Sketch([], False, many), Sketch([0], False, many)]))
    assert sum(len(plan.gate_of(name).after) for name in [*plan.tasks, *plan.groups]) == 1
    progress = Progress(plan)
    ready = progress.begin().ready
    assert len(ready) == 300
    opened = [progress.settle(name, TaskState.SUCCEEDED).ready for name in ready]
    assert [len(names) for names in opened] == [0] * 299 + [300]
