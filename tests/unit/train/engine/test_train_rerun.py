"""Re-running from a task: what comes at or after it, against reachability in its plainest form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from seamline.train.engine.rerun import is_at_or_after
from seamline.train.plan.load import plan_of

search = settings(
    deadline=None,
    max_examples=150 if settings.default.derandomize else 5_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@search
@given(data=st.data())
def test_what_is_at_or_after_a_node(data, sketching):
    sketch = data.draw(sketching.sketches(least=2), label="sketch")
    fates = sketching.Expected(sketch, lambda path: False).fates
    start = data.draw(st.sampled_from(sorted(fates)), label="start")
    plan = plan_of(sketching.write_ir(sketch))
    tasks = {path: fate for path, fate in fates.items() if fate.node.is_task}

    def is_reached(fate: Any) -> bool:
        """It is in the start, or waits for something that is in it, or that comes after it."""
        inside = {one.path for one in fates[start].under()}
        return bool(inside & {fate.path, *(one.path for one in fate.waited_for())})

    reached = {path for path, fate in tasks.items() if is_reached(fate)}
    assert {path for path in tasks if is_at_or_after(plan, start, path)} == reached
    event(f"{len(reached)} of {len(tasks)}")


@pytest.fixture
def plan(sketching: Any) -> Any:
    """t0 → t1 (a loop of t0 → t1) → t2 · t3 (a group of t0 → t1), on its own."""
    sketch = sketching.Sketch
    chain = (sketch(), sketch(after=(0,)))
    loop = sketch(after=(0,), inner=chain, is_loop=True, count=2)
    return plan_of(sketching.write_ir((sketch(), loop, sketch(after=(1,)), sketch(inner=chain))))


@pytest.mark.parametrize(
    ("start", "reached"),
    [
        ("t0", ["t0", "t1[0]/t0", "t1[1]/t1", "t2"]),
        ("t1", ["t1[0]/t0", "t1[1]/t1", "t2"]),
        ("t1[1]", ["t1[1]/t0", "t1[1]/t1", "t2"]),
        ("t1/t1", ["t1[0]/t1", "t1[1]/t1", "t2"]),
        ("t1[0]/t1", ["t1[0]/t1", "t2"]),
        ("t2", ["t2"]),
        ("t3", ["t3/t0", "t3/t1"]),
        ("t3/t1", ["t3/t1"]),
    ],
)
def test_a_start_may_name_one_iteration_or_all_of_them(plan, start, reached):
    paths = ["t0", "t1[0]/t0", "t1[0]/t1", "t1[1]/t0", "t1[1]/t1", "t2", "t3/t0", "t3/t1"]
    found = [path for path in paths if is_at_or_after(plan, start, path)]
    assert set(reached) <= set(found)
    if start not in ("t0", "t1"):
        assert found == reached
