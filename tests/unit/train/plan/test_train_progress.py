"""The rules of one scope by hand: what opens, what ends, and by whose fault.

Random pipelines are in test_train_live.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from seamline.domain.errors import InvalidInput
from seamline.domain.states import TaskState
from seamline.train.plan.load import plan_of
from seamline.train.plan.progress import Ended, Progress
from seamline.train.plan.types import Plan

GOOD, FAILED = TaskState.SUCCEEDED, TaskState.FAILED
SPOILED, LEFT_OUT = TaskState.UPSTREAM_FAILED, TaskState.NOT_TRIGGERED


@pytest.fixture
def sketch(sketching: Any) -> Any:
    return sketching.Sketch


@pytest.fixture
def plan(sketching: Any) -> Any:
    def make(*nodes: Any) -> Plan:
        return plan_of(sketching.write_ir(nodes))

    return make


def progress_of(plan: Plan, conditions: Any = None) -> Progress:
    """`conditions`: by node; what is not there holds."""
    known = conditions or {}

    def is_triggered(name: str) -> bool:
        if isinstance(known.get(name), Exception):
            raise known[name]
        return bool(known.get(name, True))

    return Progress(plan, is_triggered, lambda name: f"loop[0]/{name}")


def states(step: Any) -> dict[str, TaskState]:
    return {name: end.state for name, end in step.ended.items()}


def test_what_waits_for_nothing_begins(plan, sketch):
    progress = progress_of(plan(sketch(), sketch(after=(0,)), sketch()))
    assert progress.begin().ready == ["t0", "t2"]
    assert [name for name in ("t0", "t1", "t2") if progress.is_due(name)] == ["t0", "t2"]
    assert progress.settle("t0", GOOD).ready == ["t1"]
    assert not progress.is_due("t0")
    assert progress.settle("t0", FAILED).ready == [], "it has ended: that stays"
    assert progress.cause == ""


def test_a_failure_reaches_what_waits_for_it_and_names_itself(plan, sketch):
    progress = progress_of(
        plan(sketch(), sketch(after=(0,)), sketch(after=(1,)), sketch(after=(2,), is_tolerant=True))
    )
    progress.begin()
    step = progress.settle("t0", FAILED)
    assert step.ready == ["t3"]
    assert step.ended == {"t1": Ended(SPOILED, "loop[0]/t0"), "t2": Ended(SPOILED, "loop[0]/t0")}
    assert progress.cause == "loop[0]/t0"
    progress.settle("t3", GOOD)
    assert progress.is_over


def test_a_loop_hands_the_failure_of_an_iteration_on(plan, sketch):
    progress = progress_of(plan(sketch(), sketch(after=(0,))))
    progress.begin()
    step = progress.settle("t0", FAILED, cause="t0[3]/train")
    assert step.ended == {"t1": Ended(SPOILED, "t0[3]/train")}


def test_the_first_failure_is_the_cause(plan, sketch):
    progress = progress_of(plan(sketch(), sketch(), sketch(after=(0, 1))))
    progress.begin()
    progress.settle("t1", FAILED)
    step = progress.settle("t0", FAILED)
    assert step.ended["t2"].cause == progress.cause == "loop[0]/t1"


@pytest.mark.parametrize(("is_tolerant", "end"), [(False, LEFT_OUT), (True, None)])
def test_what_was_not_triggered_is_no_failure(plan, sketch, is_tolerant, end):
    nodes = (sketch(holds=False), sketch(after=(0,), is_tolerant=is_tolerant))
    progress = progress_of(plan(*nodes), {"t0": False})
    step = progress.begin()
    assert states(step) == {"t0": LEFT_OUT} | ({"t1": end} if end else {})
    assert step.ready == ([] if end else ["t1"])
    assert progress.cause == ""


def test_a_failure_weighs_more_than_a_condition(plan, sketch):
    progress = progress_of(plan(sketch(holds=False), sketch(), sketch(after=(0, 1))), {"t0": False})
    progress.begin()
    assert states(progress.settle("t1", FAILED)) == {"t2": SPOILED}


def test_a_condition_that_cannot_be_read_is_a_failure_of_its_own(plan, sketch):
    error = InvalidInput("neither true nor false")
    nodes = (sketch(holds=False, inner=(sketch(),)), sketch(after=(0,)))
    progress = progress_of(plan(*nodes), {"t0": error})
    step = progress.begin()
    assert step.ended == {
        "t0": Ended(FAILED, "loop[0]/t0", error),
        "t0/t0": Ended(SPOILED, "loop[0]/t0"),
        "t1": Ended(SPOILED, "loop[0]/t0"),
    }
    assert progress.is_over


def test_a_group_ends_as_its_members_do(plan, sketch):
    group = sketch(inner=(sketch(), sketch(), sketch(holds=False)))
    progress = progress_of(plan(group, sketch(after=(0,))), {"t0/t2": False})
    step = progress.begin()
    assert (step.ready, states(step)) == (["t0/t0", "t0/t1"], {"t0/t2": LEFT_OUT})
    assert progress.settle("t0/t0", GOOD).ready == []
    step = progress.settle("t0/t1", GOOD)
    assert (step.ready, states(step)) == (["t1"], {"t0": GOOD})


def test_a_group_of_which_nothing_was_triggered_has_succeeded(plan, sketch):
    group = sketch(inner=(sketch(holds=False),))
    progress = progress_of(plan(group, sketch(after=(0,))), {"t0/t0": False})
    step = progress.begin()
    assert (step.ready, states(step)) == (["t1"], {"t0/t0": LEFT_OUT, "t0": GOOD})


@pytest.mark.parametrize(("holds", "end"), [(False, LEFT_OUT), (None, GOOD)])
def test_a_group_of_nothing_ends_at_once(plan, sketch, holds, end):
    nodes = (sketch(inner=(), holds=holds), sketch(after=(0,)))
    step = progress_of(plan(*nodes), {"t0": holds is None}).begin()
    assert states(step)["t0"] is end
    assert step.ready == ([] if end is LEFT_OUT else ["t1"])


def test_a_group_that_does_not_open_takes_all_that_is_in_it_with_it(plan, sketch):
    """Also what would run after failures: it is the group's own upstream that failed."""
    inner = (sketch(), sketch(after=(0,), is_tolerant=True), sketch(inner=(sketch(),)))
    progress = progress_of(plan(sketch(), sketch(after=(0,), inner=inner)))
    progress.begin()
    ended = states(progress.settle("t0", FAILED))
    assert set(ended.values()) == {SPOILED}
    assert set(ended) == {"t1", "t1/t0", "t1/t1", "t1/t2", "t1/t2/t0"}


def test_a_condition_is_asked_once_and_only_when_all_before_it_has_ended(plan, sketch):
    asked: list[str] = []

    def is_triggered(name: str) -> bool:
        asked.append(name)
        return True

    nodes = (sketch(), sketch(after=(0,), holds=True), sketch(after=(0,), holds=True))
    progress = Progress(plan(*nodes), is_triggered, str)
    progress.begin()
    assert asked == []
    assert progress.settle("t0", GOOD).ready == ["t1", "t2"]
    progress.settle("t1", GOOD)
    assert asked == ["t1", "t2"]


def test_a_halted_scope_opens_nothing_but_what_runs_after_failures(plan, sketch):
    nodes = (
        sketch(),
        sketch(after=(0,)),
        sketch(after=(0,), is_tolerant=True, inner=(sketch(),)),
        sketch(),
    )
    progress = progress_of(plan(*nodes))
    progress.begin()
    assert progress.halt("elsewhere") == ["t0", "t3"]
    step = progress.settle("t0", GOOD)
    assert step.ended == {"t1": Ended(SPOILED, "elsewhere")}
    assert step.ready == ["t2/t0"]
    assert progress.is_exempt("t2/t0")
    assert not progress.is_exempt("t0")


def test_a_group_that_was_halted_has_not_failed_by_itself(plan, sketch):
    group = sketch(inner=(sketch(), sketch()))
    progress = progress_of(plan(group, group))
    progress.begin()
    progress.halt("elsewhere")
    for name in ("t0/t0", "t0/t1", "t1/t0"):
        progress_step = progress.settle(name, SPOILED, "elsewhere")
    assert progress_step.ended == {}
    assert progress.settle("t1/t1", FAILED).ended == {"t1": Ended(FAILED, "loop[0]/t1/t1")}


@pytest.mark.parametrize("cut", range(6))
def test_an_engine_that_goes_on_knows_what_the_one_before_knew(plan, sketch, cut):
    nodes = (sketch(), sketch(inner=(sketch(after=()), sketch(after=(0,)))), sketch(after=(0, 1)))
    made = plan(*nodes, sketch(after=(2,)))
    order = ["t0", "t1/t0", "t1/t1", "t2", "t3"]
    first = progress_of(made)
    ready, ended = set(first.begin().ready), {}
    for name in order[:cut]:
        step = first.settle(name, GOOD)
        ended |= {name: Ended(GOOD), **step.ended}
        ready = (ready | set(step.ready)) - {name}
    second = progress_of(made)
    step = second.resume(ended)
    assert set(step.ready) == ready
    assert step.ended == {}
    assert second.is_over == first.is_over == (cut == len(order))


def test_what_follows_from_recorded_ends_is_told_again_where_it_was_not_recorded(plan, sketch):
    """Killed between the end of a task and what follows from it: that is decided anew."""
    made = plan(sketch(), sketch(after=(0,)), sketch(after=(1,)))
    step = progress_of(made).resume({"t0": Ended(FAILED, "loop[0]/t0")})
    assert states(step) == {"t1": SPOILED, "t2": SPOILED}


def test_one_ended_task_costs_its_own_edges_only(plan, sketch):
    """A fan-in of groups does not square the number of edges."""
    many = tuple(sketch() for _ in range(300))
    made = plan(sketch(inner=many), sketch(after=(0,), inner=many))
    assert sum(len(node.gate.after) for node in made.nodes.values()) == 1
    progress = progress_of(made)
    ready = progress.begin().ready
    assert len(ready) == 300
    opened = [len(progress.settle(name, GOOD).ready) for name in ready]
    assert opened == [0] * 299 + [300]


def test_a_long_chain_needs_no_deep_stack(plan, sketch):
    made = plan(sketch(holds=False), *[sketch(after=(at,)) for at in range(3_000)])
    step = progress_of(made, {"t0": False}).begin()
    assert len(step.ended) == 3_001
