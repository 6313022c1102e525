"""Retry: exactly what did not end well and what comes after it is done again, whatever happened."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from seamline.domain.errors import Refused
from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.store.facts import read_facts
from seamline.train.again import retry_run
from seamline.train.results import TaskResult
from seamline.train.runs import cancel_run, run_state

BAD = {TaskState.FAILED, TaskState.UPSTREAM_FAILED, TaskState.CANCELED}
search = settings(
    deadline=None,
    max_examples=60 if settings.default.derandomize else 2_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Tried:
    """A random run that ends somehow, is retried, and does not fail any more."""

    def __init__(self, data: st.DataObject, sketching: Any, puppetry: Any, stores: Any) -> None:
        self.sketch = data.draw(sketching.sketches(), label="sketch")
        self.seed = data.draw(st.integers(0, 2**16), label="seed")
        self.rate = data.draw(st.sampled_from([0.0, 0.1, 0.4]), label="failures")
        self.cancel_at = data.draw(st.none() | st.integers(0, 8), label="cancel at")
        self.random = random.Random(self.seed)
        self.stores, self.puppetry = stores, puppetry
        self.right = sketching.Expected(self.sketch, lambda path: False)
        self.puppets = puppetry.Puppets(stores, slots=2)
        self.puppets.forget_all()
        self.run_id = self.puppets.request(sketching.write_ir(self.sketch))

    def fails(self, path: str) -> bool:
        return random.Random(f"{self.seed} {path}").random() < self.rate

    def result_of(self, order: Any) -> TaskResult:
        count = self.right.fates[order.path].node.count
        return self.puppetry.succeeded(count=count, items=list(range(count)))

    def fail(self) -> None:
        """To its end, or until it is canceled."""
        turns = 0
        while self.puppets.orders:
            if turns == self.cancel_at:
                self.cancel()
                return
            if self.random.random() < 0.1:
                self.puppets.crash()
                continue
            turns += 1
            order = self.random.choice(list(self.puppets.orders.values()))
            fails = self.fails(order.path)
            self.puppets.turn([(order, self.puppetry.failed() if fails else self.result_of(order))])

    def cancel(self) -> None:
        cancel_run(self.stores, self.run_id, by="bob")
        self.puppets.turn()
        if self.random.random() < 0.3:
            self.puppets.crash()
        for order in list(self.puppets.orders.values()):
            is_done = self.random.random() < 0.3  # just before it was to be killed
            canceled = TaskResult(TaskState.CANCELED)
            self.puppets.turn([(order, self.result_of(order) if is_done else canceled)])

    def succeed(self) -> list[str]:
        """What started, until its end."""
        self.puppets.turn()
        started = list(self.puppets.running)
        while self.puppets.orders:
            order = self.random.choice(list(self.puppets.orders.values()))
            starts = self.puppets.turn([(order, self.result_of(order))])
            started += [one.path for one in starts]
        return started


@search
@given(data=st.data())
def test_what_did_not_end_well_and_all_after_it_is_done_again(
    data, sketching, puppetry, shared_stores
):
    run = Tried(data, sketching, puppetry, shared_stores)
    run.fail()
    state, before = run_state(shared_stores, run.run_id), run.puppets.states(run.run_id)
    assert all(is_terminal(TaskState(one)) for one in before.values()), before
    assume(state is not RunState.SUCCEEDED)
    retried = retry_run(shared_stores, run.run_id, by="ana")

    def is_redone(fate: Any) -> bool:
        """It has not ended well, or something that it waits for has not."""
        those = [fate, *fate.waited_for()]
        return any(before.get(one.path, TaskState.CANCELED) in BAD for one in those)

    tasks = {path: fate for path, fate in run.right.fates.items() if fate.node.is_task}
    redone = {path for path, fate in tasks.items() if is_redone(fate)}
    assert sorted(retried) == sorted(redone & set(before))
    started = run.succeed()
    assert sorted(started) == sorted(path for path in redone if tasks[path].has_run)
    assert run.puppets.states(run.run_id) == run.right.states
    assert run_state(shared_stores, run.run_id) is run.right.run_state()
    event(f"{state}: {len(started)} of {len(tasks)}")
