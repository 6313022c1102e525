"""What the engine decides in a turn: retries, losses, cancelling, limits of time and of slots; and
that the trouble of one run never holds up the others (law 7).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from seamline.domain.clock import ManualClock
from seamline.domain.states import Fidelity, RunState, TaskState
from seamline.store.facts import read_facts
from seamline.store.stores import Stores, open_stores
from seamline.train.again import retry_run
from seamline.train.ir.types import RetryPolicy
from seamline.train.options import Isolation, RunLabel, RunOptions
from seamline.train.results import TaskResult
from seamline.train.rows import TASKS
from seamline.train.runs import cancel_run, run_state, show_request, show_run


@pytest.fixture
def sketch(sketching: Any) -> Any:
    return sketching.Sketch


class OwnTime(ManualClock):
    """A millisecond later each time it is looked at, so that ids have an order; else it is moved:
    no pause passes while a slow disk writes."""

    def now(self) -> datetime:
        self.advance(0.001)
        return self.at


@pytest.fixture
def clock() -> OwnTime:
    return OwnTime()


@pytest.fixture
def stores(tmp_path: Path, clock: OwnTime) -> Iterator[Stores]:
    opened = open_stores(tmp_path / "workspace", clock)
    yield opened
    opened.db.close()


@pytest.fixture
def puppets(puppetry: Any, stores: Any) -> Any:
    return puppetry.Puppets(stores, slots=4)


def with_limit(ir: bytes, seconds: float) -> bytes:
    """The pipeline with a time limit, as the client sends it with its platform document."""
    config = {"pipelineConfig": {"activeDeadlineSeconds": seconds}}
    platform = {"platforms": {"kubernetes": config}}
    return json.dumps({"pipeline_spec": json.loads(ir), "platform_spec": platform}).encode()


def with_retry(ir: bytes, **policy: Any) -> bytes:
    spec = json.loads(ir)
    spec["root"]["dag"]["tasks"]["t0"]["retryPolicy"] = policy
    return json.dumps(spec).encode()


def errors(stores: Any, run_id: str) -> dict[str, Any]:
    shown = show_run(stores, run_id)["tasks"]
    return {task["name"]: task["error"]["type"] for task in shown if task["error"]}


# -- retries -----------------------------------------------------------------------------------
def test_an_attempt_that_fails_is_followed_by_others_after_a_pause(
    puppets, sketch, sketching, puppetry, stores
):
    ir = with_retry(
        sketching.write_ir((sketch(), sketch(after=(0,)))),
        maxRetryCount=2,
        backoffDuration="50s",
        backoffFactor=2.0,
    )
    run_id = puppets.request(ir)
    for pause_s in (50, 100):
        before = puppets.monotonic()
        assert puppets.end("t0", puppetry.failed("at first")) == []
        row = puppets.rows(run_id)["t0"]
        assert row.state == TaskState.PENDING
        assert "at first" in row.error
        assert puppets.steering.next_due() >= before + pause_s
        wait_until_due(puppets)
        assert puppetry.paths(puppets.turn()) == ["t0"]
        assert puppets.rows(run_id)["t0"].error is None
    row = puppets.rows(run_id)["t0"]
    assert (row.attempt, row.failures) == (3, 2)
    puppets.end("t0", puppetry.failed("at last"))
    assert run_state(stores, run_id) is RunState.FAILED
    [task, _] = show_run(stores, run_id)["tasks"]
    said = [attempt["error"]["message"] for attempt in task["earlier_attempts"]]
    assert said == ["at first"] * 2
    assert task["error"]["message"] == "at last"


def wait_until_due(puppets: Any) -> None:
    clock = puppets.stores.clock
    clock.advance(max(0.0, puppets.steering.next_due() - clock.at.timestamp()))


def test_what_a_retry_has_used_up_counts_after_a_kill(puppets, sketch, sketching, puppetry, stores):
    run_id = puppets.request(sketching.write_ir((sketch(retries=1),)))
    puppets.end("t0", puppetry.failed())
    puppets.crash()
    row = puppets.rows(run_id)["t0"]
    assert (row.state, row.attempt, row.failures) == (TaskState.RUNNING, 3, 1)
    puppets.end("t0", puppetry.failed())
    assert run_state(stores, run_id) is RunState.FAILED


def test_a_pause_never_overflows():
    steep = RetryPolicy(10, 1.0, 1e300, 60.0)
    assert [steep.delay_s(failures) for failures in (0, 1, 2, 10_000)] == [1.0, 60.0, 60.0, 60.0]
    assert RetryPolicy(2_000, 0.0, 2.0, 60.0).delay_s(1_999) == 0.0


# -- losses ------------------------------------------------------------------------------------
def test_a_task_whose_process_is_lost_again_and_again_is_given_up(
    puppets, sketch, sketching, puppetry, stores
):
    """Its own retries are for its own failures."""
    run_id = puppets.request(sketching.write_ir((sketch(retries=5),)))
    for attempt in (2, 3):
        assert puppetry.paths(puppets.end("t0", puppetry.lost())) == ["t0"]
        row = puppets.rows(run_id)["t0"]
        assert (row.attempt, row.failures) == (attempt, 0)
    puppets.end("t0", puppetry.lost())
    assert run_state(stores, run_id) is RunState.FAILED
    assert errors(stores, run_id) == {"t0": "Lost"}


def test_what_ended_in_an_engine_before_is_heard_no_more(
    puppets, sketch, sketching, puppetry, stores
):
    run_id = puppets.request(sketching.write_ir((sketch(),)))
    [stale] = puppets.orders.values()
    puppets.crash()
    puppets.turn([(stale, puppetry.failed())])
    assert puppets.states(run_id) == {"t0": TaskState.RUNNING}


# -- canceling ---------------------------------------------------------------------------------
def test_canceling_ends_what_waits_and_what_runs(puppets, sketch, sketching, puppetry, stores):
    tolerant = sketch(after=(0,), is_tolerant=True)
    loop = sketch(inner=(sketch(),), is_loop=True, count=2, parallelism=1)
    run_id = puppets.request(sketching.write_ir((sketch(retries=3), tolerant, loop)))
    assert puppets.running == ["t0", "t2[0]/t0"]
    cancel_run(stores, run_id, by="bob")
    assert puppets.turn() == []
    assert sorted(puppetry.paths(puppets.killed)) == ["t0", "t2[0]/t0"]
    assert run_state(stores, run_id) is RunState.RUNNING
    puppets.end("t0", TaskResult(TaskState.CANCELED))
    puppets.end("t2[0]/t0", puppetry.succeeded(count=1, items=[]))
    assert run_state(stores, run_id) is RunState.CANCELED
    states = puppets.states(run_id)
    assert states.pop("t2[0]/t0") == TaskState.SUCCEEDED
    assert set(states.values()) == {TaskState.CANCELED}
    assert puppets.steering.turns.counts().by_team == {}


def test_a_run_that_is_canceled_before_it_begins_never_runs(
    puppets, sketch, sketching, puppetry, stores
):
    occupied = puppetry.Puppets(stores, slots=4)  # an engine that looks later
    run_id = puppetry.request_only(stores, sketching.write_ir((sketch(), sketch(holds=False))))
    cancel_run(stores, run_id, by="bob")
    assert occupied.turn() == []
    assert run_state(stores, run_id) is RunState.CANCELED
    assert set(occupied.states(run_id).values()) == {TaskState.CANCELED}


def test_what_waits_for_its_next_attempt_does_not_come_back_after_canceling(
    puppets, sketch, sketching, puppetry, stores
):
    """However long it takes until what runs beside it is dead."""
    ir = sketching.write_ir((sketch(), sketch()))
    ir = with_retry(ir, maxRetryCount=1, backoffDuration="20s")
    run_id = puppets.request(ir)
    puppets.end("t0", puppetry.failed())
    cancel_run(stores, run_id, by="bob")
    puppets.turn()
    wait_until_due(puppets)
    assert puppets.turn() == []
    puppets.end("t1", TaskResult(TaskState.CANCELED))
    assert puppets.states(run_id) == {"t0": TaskState.CANCELED, "t1": TaskState.CANCELED}
    assert run_state(stores, run_id) is RunState.CANCELED


def test_an_engine_that_is_killed_while_it_cancels_leaves_the_same(
    puppets, sketch, sketching, puppetry, stores
):
    group = sketch(after=(0,), inner=(sketch(), sketch(after=(0,))))
    run_id = puppets.request(sketching.write_ir((sketch(), group)))
    cancel_run(stores, run_id, by="bob")
    puppets.turn()
    puppets.crash()
    assert set(puppets.states(run_id).values()) == {TaskState.CANCELED}
    assert run_state(stores, run_id) is RunState.CANCELED


# -- time limits -------------------------------------------------------------------------------
def test_a_run_that_takes_too_long_is_cut_short_and_its_exit_handler_still_runs(
    puppets, sketch, sketching, puppetry, stores
):
    """`t0` runs, `t1` follows, `t2` waits for its next attempt, `t3` is what comes in the end."""
    work = sketch(inner=(sketch(), sketch(after=(0,))))
    exit_task = sketch(after=(0, 1), is_tolerant=True)
    nodes = (work, sketch(retries=1), exit_task, sketch(after=(2,)))
    ir = json.loads(sketching.write_ir(nodes))
    ir["root"]["dag"]["tasks"]["t1"]["retryPolicy"]["backoffDuration"] = "3600s"
    run_id = puppets.request(with_limit(json.dumps(ir).encode(), 50))
    puppets.end("t1", puppetry.failed())
    wait_until_due(puppets)
    assert puppets.turn() == []
    assert puppetry.paths(puppets.killed) == ["t0/t0"]
    assert puppets.states(run_id) == {
        "t0": "running",
        "t0/t0": "running",
        "t0/t1": "pending",
        "t1": "failed",
        "t2": "pending",
        "t3": "pending",
    }
    starts = puppets.end("t0/t0", TaskResult(TaskState.CANCELED))
    assert puppetry.paths(starts) == ["t2"]
    puppets.end("t2", puppetry.succeeded())
    assert puppets.states(run_id) == {
        "t0": "failed",
        "t0/t0": "failed",
        "t0/t1": "upstream_failed",
        "t1": "failed",
        "t2": "succeeded",
        "t3": "failed",
    }
    assert errors(stores, run_id)["t0/t0"] == errors(stores, run_id)["t3"] == "RunTimedOut"
    sentence = show_run(stores, run_id)["sentence"]
    assert "The run took longer than its 50 s (activeDeadlineSeconds)." in sentence
    assert run_state(stores, run_id) is RunState.FAILED
    assert_each_task_ended_once(stores, run_id)


def assert_each_task_ended_once(stores: Any, run_id: str) -> None:
    with stores.db.read() as connection:
        facts = read_facts(connection, kinds=["task.ended"], subject=run_id)
    ended = [fact.body["task"] for fact in facts]
    assert sorted(ended) == sorted(set(ended))


def test_what_is_done_when_it_is_cut_short_is_done(puppets, sketch, sketching, puppetry, stores):
    ir = sketching.write_ir((sketch(retries=1), sketch(after=(0,)), sketch(retries=1)))
    run_id = puppets.request(with_limit(ir, 20))
    wait_until_due(puppets)
    puppets.turn()
    assert puppets.end("t0", puppetry.succeeded(count=0, items=[])) == []
    assert puppets.end("t2", puppetry.failed("by itself")) == []
    assert puppets.states(run_id) == {"t0": "succeeded", "t1": "failed", "t2": "failed"}
    assert_each_task_ended_once(stores, run_id)


def test_a_time_limit_holds_across_kills(puppets, sketch, sketching, puppetry, stores):
    ir = sketching.write_ir((sketch(), sketch(after=(0,)), sketch(after=(1,), is_tolerant=True)))
    run_id = puppets.request(with_limit(ir, 20))
    wait_until_due(puppets)
    puppets.crash()
    assert puppets.running == ["t2"]
    puppets.crash()
    assert puppets.running == ["t2"]
    puppets.end("t2", puppetry.succeeded())
    assert puppets.states(run_id) == {"t0": "failed", "t1": "upstream_failed", "t2": "succeeded"}
    assert_each_task_ended_once(stores, run_id)


def test_loops_are_cut_short_with_all_their_items(puppets, sketch, sketching, puppetry, stores):
    body = (sketch(), sketch(after=(0,)))
    loop = sketch(inner=body, is_loop=True, count=3, parallelism=1)
    run_id = puppets.request(with_limit(sketching.write_ir((loop,)), 20))
    wait_until_due(puppets)
    puppets.turn()
    puppets.end("t0[0]/t0", TaskResult(TaskState.CANCELED))
    assert run_state(stores, run_id) is RunState.FAILED
    states = puppets.states(run_id)
    assert [states[f"t0[{index}]"] for index in range(3)] == ["failed"] * 3
    assert states["t0[2]/t1"] == "upstream_failed"
    assert_each_task_ended_once(stores, run_id)


def test_a_retried_run_has_all_its_time_again(puppets, sketch, sketching, puppetry, stores):
    run_id = puppets.request(with_limit(sketching.write_ir((sketch(),)), 50))
    wait_until_due(puppets)
    puppets.turn()
    puppets.end("t0", TaskResult(TaskState.CANCELED))
    retry_run(stores, run_id, by="ana")
    assert puppetry.paths(puppets.turn()) == ["t0"]
    assert puppets.steering.next_due() > puppets.monotonic()
    puppets.end("t0", puppetry.succeeded())
    assert run_state(stores, run_id) is RunState.SUCCEEDED


def test_no_time_limit_is_too_long_to_wait_for(puppets, sketch, sketching):
    """A queue cannot be waited on for longer than 292 years."""
    puppets.request(with_limit(sketching.write_ir((sketch(),)), 10**15))
    assert puppets.steering.next_due() - puppets.monotonic() < threading.TIMEOUT_MAX


# -- slots -------------------------------------------------------------------------------------
def test_a_run_takes_no_more_slots_than_it_asked_for(puppetry, sketch, sketching, stores):
    puppets = puppetry.Puppets(stores, slots=4)
    ir = sketching.write_ir((sketch(), sketch(), sketch()))
    narrow = puppets.request(ir, RunOptions(slots=1))
    assert puppets.running == ["t0"]
    wide = puppets.request(ir)
    taken = [order.context.run_id for order in puppets.orders.values()]
    assert (taken.count(narrow), taken.count(wide)) == (1, 3)


def test_a_team_takes_no_more_slots_than_it_has(puppetry, sketch, sketching, stores):
    puppets = puppetry.Puppets(stores, slots=4, team_slots={"small": 1}.get)
    ir = sketching.write_ir((sketch(), sketch(), sketch()))
    for _ in range(2):
        puppets.request(ir, label=RunLabel(team="small"))
    assert len(puppets.orders) == 1
    puppets.request(ir, label=RunLabel(team="large"))
    assert len(puppets.orders) == 4
    [order] = [one for one in puppets.orders.values() if one.path == "t0"][:1]
    started = puppets.turn([(order, puppetry.succeeded())])
    assert len(started) == 1


# -- what a run is called at its end -----------------------------------------------------------
def test_a_run_is_as_near_to_production_as_the_weakest_of_its_tasks(
    puppets, sketch, sketching, puppetry, stores
):
    run_id = puppets.request(
        sketching.write_ir((sketch(), sketch(after=(0,)))), RunOptions(isolation=Isolation.REUSE)
    )
    puppets.end("t0", puppetry.succeeded())
    with stores.db.transaction() as tx:  # As after an upgrade, which found the first one done.
        tx.execute(update(TASKS).where(TASKS.c.name == "t0").values(fidelity=Fidelity.IN_PROCESS))
    puppets.crash()
    puppets.end("t1", puppetry.succeeded())
    assert puppets.rows(run_id)["t1"].fidelity == Fidelity.REUSED
    assert show_request(stores, run_id)["fidelity"] == Fidelity.IN_PROCESS


def test_the_sentence_of_a_run_names_five_failures_at_most(
    puppets, sketch, sketching, puppetry, stores
):
    nodes = (*[sketch() for _ in range(7)], sketch(after=(0,)))
    run_id = puppets.request(sketching.write_ir(nodes))
    puppets.finish(lambda order: puppetry.failed("no data"))
    sentence = show_run(stores, run_id)["sentence"]
    assert sentence.count("ValueError: no data") == 5
    assert sentence.endswith(" … and 2 more. 1 that needed it did not run. 0 of 8 tasks succeeded.")


# -- one run's trouble -------------------------------------------------------------------------
def test_a_text_that_no_database_can_hold_is_written_in_another_way(
    puppets, sketch, sketching, puppetry, stores
):
    """File names in messages are the usual reason: bytes that are no UTF-8."""
    run_id = puppets.request(sketching.write_ir((sketch(),)))
    puppets.end("t0", puppetry.failed("cannot read \udcff.csv\0"))
    sentence = show_run(stores, run_id)["sentence"]
    assert "cannot read \\udcff.csv\\x00" in sentence
    sentence.encode()


def test_a_value_that_nests_too_deeply_fails_the_task_that_is_given_it(
    puppets, sketch, sketching, puppetry, stores
):
    loop = sketch(inner=(sketch(),), is_loop=True, over=0, after=(0,))
    run_id = puppets.request(sketching.write_ir((sketch(), loop)))
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    puppets.end("t0", puppetry.succeeded(count=1, items=deep))
    assert puppets.states(run_id) == {"t0": "succeeded", "t1": "failed"}
    assert "nests deeper than" in error_of(puppets, run_id, "t1")


def error_of(puppets: Any, run_id: str, task: str) -> str:
    return str(json.loads(puppets.rows(run_id)[task].error)["message"])


def test_a_run_whose_rows_are_damaged_fails_alone(
    puppets, sketch, sketching, puppetry, stores, caplog
):
    """What nobody foresaw in one run ends that run, and nothing else."""
    whole = puppets.request(sketching.write_ir((sketch(), sketch(after=(0,)))))
    damaged = puppets.request(sketching.write_ir((sketch(), sketch(inner=(sketch(),)))))
    with stores.db.transaction() as tx:
        tx.execute(delete(TASKS).where(TASKS.c.run_id == damaged, TASKS.c.name == "t1"))
    puppets.crash()
    assert "cannot go on" in caplog.text
    assert run_state(stores, damaged) is RunState.FAILED
    shown = show_request(stores, damaged)
    assert shown["error"] == "The engine cannot go on with this run: KeyError: 't1'"
    assert set(puppets.states(damaged).values()) == {TaskState.CANCELED}
    puppets.finish(lambda order: puppetry.succeeded())
    assert run_state(stores, whole) is RunState.SUCCEEDED
    with stores.db.read() as connection:
        [ended] = read_facts(connection, kinds=["run.ended"], subject=damaged)
    assert ended.body["state"] == "failed"


def test_what_runs_of_a_run_that_cannot_go_on_is_ended_and_gives_its_slot_back(
    puppetry, sketch, sketching, stores
):
    puppets = puppetry.Puppets(stores, slots=2)
    ir = with_cache(sketching.write_ir((sketch(), sketch(), sketch(after=(1,)))))
    puppets.request(ir)
    puppets.finish(lambda order: puppetry.succeeded(count=1, items=[]))
    with stores.db.transaction() as tx:  # A result that could stand in, if it could be read.
        tx.execute(update(TASKS).where(TASKS.c.name != "t2").values(cache_key=None))
        tx.execute(update(TASKS).where(TASKS.c.name == "t2").values(outputs="{"))
    broken = puppets.request(ir)
    assert puppets.running == ["t0", "t1"]
    puppets.end("t1", puppetry.succeeded(count=1, items=[]))
    assert run_state(stores, broken) is RunState.FAILED
    assert puppetry.paths(puppets.killed) == ["t0"]
    assert puppets.end("t0", TaskResult(TaskState.CANCELED)) == []
    other = puppets.request(sketching.write_ir((sketch(), sketch())))
    assert puppets.running == ["t0", "t1"]
    puppets.finish(lambda order: puppetry.succeeded())
    assert run_state(stores, other) is RunState.SUCCEEDED


def with_cache(ir: bytes) -> bytes:
    spec = json.loads(ir)
    for task in spec["root"]["dag"]["tasks"].values():
        task["cachingOptions"] = {"enableCache": True}
    return json.dumps(spec).encode()
