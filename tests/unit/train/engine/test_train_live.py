"""Random pipelines, carried out by the engine's rules with an engine that is killed at any turn:
every node ends in its one right state, and nothing starts before its time (laws 7 and 8).
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from seamline.domain.states import RunState, TaskState, check_transition, is_terminal
from seamline.store.facts import read_facts
from seamline.train.options import DEFAULT_OPTIONS, FailurePolicy, RunOptions
from seamline.train.plan.progress import is_inside
from seamline.train.runs import run_state

FAST = RunOptions(failure_policy=FailurePolicy.FAST)
SLOTS = 3
soaks = not settings.default.derandomize
#: The fixtures are of the session or the module: nothing has to be made anew for an example.
search = settings(
    deadline=None,
    max_examples=2_000 if soaks else 120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Watched:
    """A random run at work; each turn is checked against the rows."""

    def __init__(
        self, data: st.DataObject, sketching: Any, puppetry: Any, stores: Any, options: RunOptions
    ) -> None:
        self.sketch = data.draw(sketching.sketches(), label="sketch")
        self.seed = data.draw(st.integers(0, 2**16), label="seed")
        self.rate = data.draw(st.sampled_from([0.0, 0.1, 0.4]), label="failures")
        self.kills = data.draw(st.sampled_from([0.0, 0.2]), label="kills")
        self.is_fast = options.failure_policy is FailurePolicy.FAST
        self.stores, self.puppetry = stores, puppetry
        self.random = random.Random(self.seed)
        self.expected = sketching.Expected(self.sketch, self.fails)
        self.puppets = puppetry.Puppets(stores, slots=SLOTS)
        self.puppets.forget_all()
        self.before: dict[str, str] = {}
        self.started: list[str] = []
        self.run_id = self.puppets.request(sketching.write_ir(self.sketch), options)
        self.look(list(self.puppets.orders.values()))

    def fails(self, path: str) -> bool:
        """The same each time that it is asked, in any order."""
        return random.Random(f"{self.seed} {path}").random() < self.rate

    def result_of(self, order: Any) -> Any:
        if self.fails(order.path):
            return self.puppetry.failed()
        count = self.expected.fates[order.path].node.count
        return self.puppetry.succeeded(count=count, items=list(range(count)))

    def go(self) -> None:
        for _ in range(1_000):
            if not self.puppets.orders:
                return
            if self.random.random() < self.kills:
                self.kill()
            else:
                order = self.random.choice(list(self.puppets.orders.values()))
                self.look(self.puppets.turn([(order, self.result_of(order))]))
        raise AssertionError("it does not end")

    def kill(self) -> None:
        self.puppets.crash()
        self.before |= {
            path: TaskState.PENDING
            for path, state in self.before.items()
            if state == TaskState.RUNNING and self.is_task(path)
        }
        self.look(list(self.puppets.orders.values()))

    def is_task(self, path: str) -> bool:
        return bool(self.expected.fates[path].node.is_task)

    # -- after each turn -------------------------------------------------------------------

    def look(self, starts: list[Any]) -> None:
        rows = self.puppets.rows(self.run_id)
        states = {path: row.state for path, row in rows.items()}
        assert len(self.puppets.orders) <= SLOTS
        assert len({order.key for order in starts}) == len(starts)
        for path, state in states.items():
            self.check_step(path, self.before.get(path, TaskState.PENDING), state)
        for order in starts:
            assert self.before.get(order.path, TaskState.PENDING) == TaskState.PENDING
            self.check_start(order.path, states)
        for path, row in rows.items():
            if row.kind == "loop" and row.items is not None:
                self.check_loop(path, row.items, states)
        self.before = states
        self.started += [order.path for order in starts]

    def check_step(self, path: str, before: str, after: str) -> None:
        """Along the table; what only holds others may go through RUNNING unseen."""
        if before == after:
            return
        if self.is_task(path):
            check_transition(TaskState(before), TaskState(after))
        else:
            assert not is_terminal(TaskState(before)), f"{path} was {before}, is {after}"

    def check_start(self, path: str, states: dict[str, str]) -> None:
        """All that it waits for, and all that is in that, has ended."""
        fate = self.expected.fates[path]
        for one in fate.waited_for():
            # Inside an iteration that never opened there is nothing.
            state = TaskState(states.get(one.path, TaskState.UPSTREAM_FAILED))
            assert is_terminal(state), f"{path} began before {one.path}"
        for holder in fate.lineage():
            assert states[holder.path] == TaskState.RUNNING, f"{path} runs in {holder.path}"
        if self.is_fast and TaskState.FAILED in states.values():
            assert fate.is_tolerant, f"{path} began after a failure"

    def check_loop(self, path: str, items: int, states: dict[str, str]) -> None:
        """Each iteration has a row as soon as the loop has one, and few are open at once."""
        iterations = [f"{path}[{index}]" for index in range(items)]
        assert set(iterations) <= set(states) and f"{path}[{items}]" not in states
        limit = self.expected.fates[path].node.parallelism
        is_open = [
            one
            for one in iterations
            if not is_terminal(TaskState(states[one])) and f"{one}/t0" in states
        ]
        assert not limit or len(is_open) <= limit
        if is_terminal(TaskState(states[path])):
            assert all(is_terminal(TaskState(states[one])) for one in iterations)


@search
@given(data=st.data())
def test_every_node_ends_in_its_one_right_state(data, sketching, puppetry, shared_stores):
    run = Watched(data, sketching, puppetry, shared_stores, DEFAULT_OPTIONS)
    run.go()
    assert run.puppets.states(run.run_id) == run.expected.states
    assert run_state(shared_stores, run.run_id) is run.expected.run_state()
    ran = {path for path, fate in run.expected.fates.items() if fate.has_run}
    assert set(run.started) == ran
    if not run.kills:
        assert len(run.started) == len(ran), "nothing starts twice"
    assert task_ends(run) == {path: 1 for path in run.expected.fates if run.is_task(path)}
    event(f"{run.expected.run_state()}, {len(run.before) // 10}0 nodes")


@search
@given(data=st.data())
def test_nothing_starts_after_a_failure_in_a_fast_run(data, sketching, puppetry, shared_stores):
    """But what runs after failures, too. What was done is what would have been done anyway."""
    run = Watched(data, sketching, puppetry, shared_stores, FAST)
    run.go()
    fates, states = run.expected.fates, run.puppets.states(run.run_id)
    assert set(run.started) <= {path for path, fate in fates.items() if fate.has_run}
    for path, state in states.items():
        inside = {other for name, other in states.items() if is_inside(name, path)}
        if TaskState.FAILED in inside:
            assert state == TaskState.FAILED, path
        elif TaskState.UPSTREAM_FAILED in inside:
            assert state != TaskState.SUCCEEDED, path
        assert is_terminal(TaskState(state)), f"{path} is {state}"
        if state == TaskState.SUCCEEDED and run.is_task(path):
            assert fates[path].state is TaskState.SUCCEEDED
    assert set(task_ends(run).values()) <= {1}
    has_failed = run.expected.run_state() is not RunState.SUCCEEDED
    assert (run_state(shared_stores, run.run_id) is not RunState.SUCCEEDED) is has_failed
    if not has_failed:
        assert run.puppets.states(run.run_id) == run.expected.states
    event(f"{len(run.started)} of {sum(fate.has_run for fate in fates.values())} ran")


def task_ends(run: Watched) -> Counter[str]:
    with run.stores.db.read() as connection:
        facts = read_facts(connection, kinds=["task.ended"], subject=run.run_id)
    return Counter(fact.body["task"] for fact in facts)
