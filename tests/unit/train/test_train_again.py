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

OPEN = {TaskState.PENDING, TaskState.RUNNING}
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
        going_on = [p for p, state in self.puppets.states(self.run_id).items() if state in OPEN]
        cancel_run(self.stores, self.run_id, by="bob")
        assert self.puppets.turn() == []
        if self.random.random() < 0.3:
            self.puppets.crash()
        for order in list(self.puppets.orders.values()):
            is_done = self.random.random() < 0.3  # just before it was to be killed
            canceled = TaskResult(TaskState.CANCELED)
            result = self.result_of(order) if is_done else canceled
            assert self.puppets.turn([(order, result)]) == []
        after = self.puppets.states(self.run_id)
        for path in going_on:
            is_done = self.right.fates[path].node.is_task and after[path] == TaskState.SUCCEEDED
            assert is_done or after[path] == TaskState.CANCELED, path

    def succeed(self) -> list[str]:
        """What started, until its end."""
        started: list[str] = []
        self.puppets.turn()
        starts = list(self.puppets.orders.values())
        while self.puppets.orders:
            started += [one.path for one in starts]
            states = self.puppets.states(self.run_id)
            for one in starts:
                for holder in self.right.fates[one.path].lineage():
                    assert states[holder.path] == TaskState.RUNNING, holder.path
            order = self.random.choice(list(self.puppets.orders.values()))
            starts = self.puppets.turn([(order, self.result_of(order))])
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


@pytest.fixture
def puppets(puppetry: Any, stores: Any) -> Any:
    return puppetry.Puppets(stores, slots=4)


@pytest.fixture
def facts_of(stores: Any) -> Any:
    def read(run_id: str, kind: str) -> list[dict[str, Any]]:
        with stores.db.read() as connection:
            return [f.body for f in read_facts(connection, kinds=[kind], subject=run_id)]

    return read


def test_a_run_that_goes_on_or_went_well_is_not_retried(puppets, sketching, puppetry, stores):
    run_id = puppets.request(sketching.write_ir((sketching.Sketch(),)))
    with pytest.raises(Refused, match="has not ended: it is running"):
        retry_run(stores, run_id, by="ana")
    puppets.end("t0", puppetry.succeeded())
    with pytest.raises(Refused, match="has nothing to retry: it succeeded"):
        retry_run(stores, run_id, by="ana")


def test_each_end_of_a_retried_run_is_a_fact(puppets, sketching, puppetry, stores, facts_of):
    sketch = sketching.Sketch
    run_id = puppets.request(sketching.write_ir((sketch(), sketch(), sketch(after=(0, 1)))))
    puppets.end("t0", puppetry.succeeded())
    puppets.end("t1", puppetry.failed())
    assert retry_run(stores, run_id, by="bob") == ["t1", "t2"]
    assert puppetry.paths(puppets.turn()) == ["t1"]
    row = puppets.rows(run_id)["t1"]
    assert (row.attempt, row.failures, row.error) == (2, 0, None)
    puppets.end("t1", puppetry.succeeded())
    puppets.end("t2", puppetry.succeeded())
    ends = facts_of(run_id, "run.ended")
    assert [(end["state"], end["failed_tasks"]) for end in ends] == [
        ("partially_failed", ["t1"]),
        ("succeeded", []),
    ]
    assert len(facts_of(run_id, "run.started")) == 2
    assert facts_of(run_id, "run.retried") == [{"run_id": run_id, "tasks": ["t1", "t2"]}]


def test_a_loop_that_is_expanded_anew_begins_at_its_first_attempts(
    puppets, sketching, puppetry, stores
):
    """Earlier attempts of what is in it would stand in the way of the new ones."""
    sketch = sketching.Sketch
    loop = sketch(inner=(sketch(retries=1),), is_loop=True, count=2)
    around = sketch(after=(0,), is_tolerant=True, inner=(loop,))
    run_id = puppets.request(sketching.write_ir((sketch(), around)))
    for _ in range(2):
        puppets.end("t0", puppetry.failed())
        puppets.end("t1/t0[0]/t0", puppetry.failed("at first"))
        assert puppets.rows(run_id)["t1/t0[0]/t0"].attempt == 2
        puppets.finish(lambda order: puppetry.succeeded())
        assert run_state(stores, run_id) is RunState.FAILED
        again = retry_run(stores, run_id, by="ana")
        assert again == ["t0", "t1/t0[0]/t0", "t1/t0[1]/t0"]
        assert "t1/t0[0]" not in puppets.rows(run_id)
        puppets.turn()


def test_a_run_that_was_canceled_when_all_was_done_ends_well(puppets, sketching, puppetry, stores):
    sketch = sketching.Sketch
    loop = sketch(inner=(sketch(),), is_loop=True, count=1)
    run_id = puppets.request(sketching.write_ir((sketch(inner=(loop,)),)))
    cancel_run(stores, run_id, by="bob")
    puppets.turn()
    puppets.end("t0/t0[0]/t0", puppetry.succeeded())
    assert run_state(stores, run_id) is RunState.CANCELED
    assert puppets.states(run_id)["t0/t0[0]"] == TaskState.CANCELED
    assert retry_run(stores, run_id, by="ana") == []
    puppets.turn()
    assert run_state(stores, run_id) is RunState.SUCCEEDED
    assert set(puppets.states(run_id).values()) == {TaskState.SUCCEEDED}
