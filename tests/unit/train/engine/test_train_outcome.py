"""What a run is called at its end, and the one sentence that is said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seamline.domain.states import RunState, TaskState
from seamline.train.engine.outcome import ancestors_of
from seamline.train.plan.load import plan_of
from seamline.train.runs import run_state, show_run


@pytest.fixture
def sketch(sketching: Any) -> Any:
    return sketching.Sketch


@pytest.fixture
def end(puppetry: Any, sketching: Any, stores: Any) -> Any:
    """A run of these nodes in which these tasks fail."""

    def run(nodes: Any, *failing: str) -> tuple[RunState, dict[str, Any]]:
        puppets = puppetry.Puppets(stores, slots=2)
        run_id = puppets.request(sketching.write_ir(nodes))

        def outcome(order: Any) -> Any:
            fails = order.path in failing
            return puppetry.failed() if fails else puppetry.succeeded(count=1, items=[1, 2])

        puppets.finish(outcome)
        return run_state(stores, run_id), show_run(stores, run_id)

    return run


def test_a_broken_chain_is_failed_however_far_it_came(end, sketch):
    state, _ = end((sketch(), sketch(after=(0,)), sketch(after=(1,))), "t2")
    assert state is RunState.FAILED


def test_a_branch_that_came_through_makes_it_partial(end, sketch):
    state, _ = end((sketch(), sketch(after=(0,)), sketch(after=(0,))), "t2")
    assert state is RunState.PARTIALLY_FAILED


def test_one_failed_scenario_of_many_is_partial(end, sketch):
    loop = sketch(after=(0,), inner=(sketch(), sketch(after=(0,))), is_loop=True, count=3)
    state, shown = end((sketch(), loop, sketch(after=(1,))), "t1[1]/t1")
    assert state is RunState.PARTIALLY_FAILED
    assert shown["sentence"] == (
        "t1[1]/t1 failed: ValueError: no wind data. 1 that needed it did not run. "
        "6 of 8 tasks succeeded."
    )


def test_scenarios_that_all_fail_are_no_branch(end, sketch):
    loop = sketch(after=(0,), inner=(sketch(), sketch(after=(0,))), is_loop=True, count=2)
    state, _ = end((sketch(), loop), "t1[0]/t1", "t1[1]/t1")
    assert state is RunState.FAILED


def test_what_is_done_after_failures_is_no_branch(end, sketch):
    clean_up = sketch(after=(0,), is_tolerant=True, inner=(sketch(),))
    state, shown = end((sketch(), clean_up), "t0")
    assert state is RunState.FAILED
    assert {task["name"]: task["state"] for task in shown["tasks"]}["t1/t0"] == "succeeded"


def test_a_condition_that_cannot_be_read_fails_the_run(end, sketch):
    state, shown = end((sketch(), sketch(holds="broken", after=(0,))))
    assert state is RunState.FAILED
    assert shown["sentence"].startswith('t1 failed: InvalidInput: "broken" is neither true')


def test_all_is_well_where_nothing_was_triggered(end, sketch):
    state, shown = end((sketch(holds=False, inner=(sketch(),)), sketch(after=(0,))))
    assert (state, shown["sentence"]) == (RunState.SUCCEEDED, "")


def test_what_comes_before_a_node_is_found_through_groups(sketching, sketch):
    inner = (sketch(), sketch(after=(0,)))
    nodes = (sketch(), sketch(after=(0,), inner=inner), sketch(), sketch(after=(1,), inner=inner))
    plan = plan_of(sketching.write_ir(nodes))
    assert ancestors_of(plan, ["t3/t1"]) == {"t0", "t1", "t1/t0", "t1/t1", "t3/t0"}
    assert ancestors_of(plan, ["t1/t0"]) == {"t0"}
    assert ancestors_of(plan, ["t0", "t2"]) == set()


# -- outputs -----------------------------------------------------------------------------------
def with_outputs(ir: bytes, **sources: list[dict[str, str]]) -> bytes:
    """`sources`: of each output of the pipeline, the one or the several that it may come from."""
    spec = json.loads(ir)
    outputs = {
        name: {"valueFromOneof": {"parameterSelectors": selectors}}
        for name, selectors in sources.items()
    }
    spec["root"]["dag"]["outputs"] = {"parameters": outputs}
    declared = {name: {"parameterType": "NUMBER_INTEGER"} for name in sources}
    spec["root"]["outputDefinitions"] = {"parameters": declared}
    return json.dumps(spec).encode()


def count_of(task: str) -> dict[str, str]:
    return {"producerSubtask": task, "outputParameterKey": "count"}


def test_the_outputs_of_a_run_are_those_of_what_ran(puppetry, sketching, sketch, stores):
    ir = sketching.write_ir((sketch(), sketch(holds=False), sketch(), sketch(holds=False)))
    ir = with_outputs(
        ir,
        plain=[count_of("t0")],
        one_of=[count_of("t1"), count_of("t2")],
        failed=[count_of("t2")],
        none=[count_of("t1"), count_of("t3")],
    )
    puppets = puppetry.Puppets(stores)
    run_id = puppets.request(ir)
    puppets.end("t0", puppetry.succeeded(count=7, items=[]))
    puppets.end("t2", puppetry.succeeded(count=float("nan"), items=[]))
    outputs = show_run(stores, run_id)["outputs"]["parameters"]
    assert outputs == {"plain": 7, "one_of": "NaN", "failed": "NaN", "none": None}
    run_id = puppets.request(ir)
    puppets.end("t0", puppetry.succeeded(count=7, items=[]))
    puppets.end("t2", puppetry.failed())
    assert run_state(stores, run_id) is RunState.PARTIALLY_FAILED
    outputs = show_run(stores, run_id)["outputs"]["parameters"]
    assert outputs == {"plain": 7, "one_of": None, "failed": None, "none": None}
    assert puppets.states(run_id)["t3"] == TaskState.NOT_TRIGGERED
