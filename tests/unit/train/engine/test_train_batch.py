"""What a turn writes: merged, in few statements, all of it or nothing; on both databases."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select

from seamline.domain.clock import ManualClock
from seamline.domain.facts import RunEnded, RunStarted
from seamline.domain.states import Fidelity, RunState, TaskState
from seamline.runtime.outcomes import TaskEnd, TaskOutcome
from seamline.runtime.processes import ProcessIdentity
from seamline.store.facts import read_facts
from seamline.store.stores import Stores, open_stores
from seamline.train import record
from seamline.train.artifacts import Artifact
from seamline.train.attempts.order import WorkOrder
from seamline.train.context import RunContext
from seamline.train.engine.batch import Batch
from seamline.train.plan.load import plan_of
from seamline.train.plan.types import all_tasks
from seamline.train.record import RunRow
from seamline.train.results import FAILED, TaskProblem, TaskResult
from seamline.train.rows import RUNS
from seamline.train.run_names import RunNames

START = "2026-01-01T00:00:00.000000Z"
PROCESS = ProcessIdentity(4711, 99, "boot")


@pytest.fixture
def stores(database_url: str | None, tmp_path: Path, clock: ManualClock) -> Iterator[Stores]:
    opened = open_stores(tmp_path / "workspace", clock, database_url=database_url)
    yield opened
    opened.db.close()


@pytest.fixture
def run(stores: Stores) -> RunRow:
    values = {
        "id": "r1",
        "environment": "dataops",
        "pipeline": "p",
        "pipeline_digest": "sha256:0",
        "arguments": "{}",
        "state": RunState.PENDING,
        "requested_by": "ana",
        "request_fact": "f1",
        "display_name": "r1",
        "team": "",
        "options": "{}",
        "notes": "[]",
        "fidelity": Fidelity.FORKED,
        "storage": "available",
        "created_at": START,
    }
    with stores.db.transaction() as tx:
        tx.execute(insert(RUNS).values(values))
        return record.load_runs(tx, [RunState.PENDING])[0]


def task_row(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "parent": None,
        "position": 0,
        "kind": "python",
        "component": "comp-leaf",
        "display_name": name,
        "state": TaskState.PENDING,
        "attempt": 0,
        "failures": 0,
        **more,
    }


def write(stores: Stores, batch: Batch) -> None:
    with stores.db.transaction(is_relaxed=True) as tx:
        batch.flush(tx)


def tasks(stores: Stores) -> dict[str, Any]:
    with stores.db.read() as connection:
        return {row.name: row for row in record.load_tasks(connection, "r1")}


def artifact(name: str = "model", **more: Any) -> Artifact:
    values: dict[str, Any] = {
        "id": f"id-{name}",
        "name": name,
        "schema_type": "system.Model",
        "digest": "sha256:1",
        "size_bytes": 2**40,
        "is_directory": True,
        "is_blob": True,
        "uri": f"runs://r1/train/{name}",
        "metadata": {"loss": float("nan"), "käse": [1, None]},
        **more,
    }
    return Artifact(**values)


def order(sketching: Any, attempt: int = 1) -> WorkOrder:
    plan = plan_of(sketching.write_ir((sketching.Sketch(),)))
    [(_, task)] = all_tasks(plan)
    context = RunContext("r1", "dataops", "p", "ana", "train")
    return WorkOrder(
        context, "train", task, attempt, {}, {}, "", {}, RunNames({}), Fidelity.FORKED, START
    )


def test_nothing_is_written_before_the_flush(stores, run):
    batch = Batch(stores)
    batch.insert_task("r1", task_row("train"))
    batch.update_run("r1", state=RunState.RUNNING)
    batch.add_fact(run, RunStarted("r1"))
    assert tasks(stores) == {}
    write(stores, batch)
    assert set(tasks(stores)) == {"train"}
    with stores.db.read() as connection:
        assert connection.execute(select(RUNS.c.state)).scalar_one() == RunState.RUNNING
        [fact] = read_facts(connection, subject="r1")
    assert (fact.kind, fact.by, fact.caused_by) == ("run.started", "ana", "f1")


def test_changes_of_one_row_are_merged_and_the_last_one_holds(stores, run):
    """Also those of a row that is new in this very turn."""
    batch = Batch(stores)
    batch.update_task("r1", "new", state=TaskState.RUNNING)  # of a row that is not there
    batch.insert_task("r1", task_row("train"))
    batch.insert_task("r1", task_row("other"))
    batch.update_task("r1", "train", state=TaskState.RUNNING, attempt=1)
    batch.update_task("r1", "train", state=TaskState.PENDING, failures=1)
    write(stores, batch)
    row = tasks(stores)["train"]
    assert (row.state, row.attempt, row.failures) == (TaskState.PENDING, 1, 1)
    assert tasks(stores)["other"].attempt == 0
    batch = Batch(stores)
    batch.update_task("r1", "train", state=TaskState.RUNNING, attempt=2, started_at=START)
    batch.update_task("r1", "train", error="x")
    batch.update_task("r1", "train", error=None)
    batch.update_task("r1", "other", error="y")
    write(stores, batch)
    after = tasks(stores)
    assert (after["train"].attempt, after["train"].error, after["train"].failures) == (2, None, 1)
    assert (after["other"].attempt, after["other"].error) == (0, "y")


def test_rows_with_other_columns_do_not_mix(stores, run):
    batch = Batch(stores)
    batch.insert_task("r1", task_row("plain"))
    batch.insert_task("r1", task_row("loop", items=3))
    batch.insert_task("r1", task_row("loop[0]", item_index=0, item='"a"'))
    write(stores, batch)
    found = {name: (row.items, row.item_index, row.item) for name, row in tasks(stores).items()}
    assert found == {
        "plain": (None, None, None),
        "loop": (3, None, None),
        "loop[0]": (None, 0, '"a"'),
    }


def test_an_end_is_a_state_outputs_artifacts_and_a_fact(stores, run, clock):
    batch = Batch(stores)
    batch.insert_task("r1", task_row("train"))
    batch.insert_task("r1", task_row("fit"))
    write(stores, batch)
    clock.advance(1.5)
    outcome = TaskOutcome(
        "r1/train#1",
        TaskEnd.SUCCEEDED,
        0,
        None,
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        wall_s=1.25,
        user_s=0.5,
        sys_s=0.25,
        peak_rss_bytes=2**33,
        process=PROCESS,
    )
    made = {"model": artifact(), "report": artifact("report", is_blob=False)}
    done = TaskResult(
        TaskState.SUCCEEDED,
        {"n": 2, "xs": [1.5]},
        made,
        outcome=outcome,
        packages_digest="sha256:9",
    )
    problem = TaskProblem(FAILED, "ValueError", "no\ndata")
    batch = Batch(stores)
    batch.end_task(run, "train", 1, done)
    batch.end_task(run, "fit", 2, TaskResult(TaskState.FAILED, problem=problem))
    write(stores, batch)
    row, failed = tasks(stores)["train"], tasks(stores)["fit"]
    assert (row.state, row.ended_at) == (TaskState.SUCCEEDED, "2026-01-01T00:00:01.500000Z")
    assert (json.loads(row.outputs), row.packages_digest) == ({"n": 2, "xs": [1.5]}, "sha256:9")
    assert (row.peak_rss_bytes, row.wall_s, row.user_s, row.sys_s) == (2**33, 1.25, 0.5, 0.25)
    assert (row.pid, row.pid_start_time, row.boot_id) == (4711, 99, "boot")
    assert TaskProblem(**json.loads(failed.error)) == problem
    with stores.db.read() as connection:
        facts = read_facts(connection, kinds=["task.ended"])
        kept = record.load_artifacts(connection, "r1")
    assert [(fact.body["task"], fact.body["attempt"], fact.body["reason"]) for fact in facts] == [
        ("train", 1, ""),
        ("fit", 2, "ValueError: no data"),
    ]
    model = kept["train", "model"]
    assert math.isnan(model.metadata["loss"])
    metadata = {"loss": model.metadata["loss"], "käse": [1, None]}
    assert model == artifact(metadata=metadata)
    assert not kept["train", "report"].is_blob


def test_an_attempt_that_is_followed_by_another_is_kept(stores, run, sketching):
    batch = Batch(stores)
    for attempt in (1, 2):
        problem = TaskProblem(FAILED, "ValueError", f"try {attempt}")
        result = TaskResult(TaskState.FAILED, problem=problem)
        batch.attempt_over(order(sketching, attempt), result)
    write(stores, batch)
    with stores.db.read() as connection:
        [first, second] = record.load_attempts(connection, "r1")["train"]
    assert (first.attempt, first.started_at, first.pid) == (1, START, None)
    assert json.loads(second.error)["message"] == "try 2"
    assert first.log_path == "runs/r1/train/1/log.txt"


def test_only_the_end_of_a_run_has_to_survive_a_power_cut(stores, run):
    batch = Batch(stores)
    batch.add_fact(run, RunStarted("r1"))
    batch.end_task(run, "train", 1, TaskResult(TaskState.SUCCEEDED))
    assert not batch.is_final
    batch.add_fact(run, RunEnded("r1", "dataops", "p", RunState.SUCCEEDED, ()))
    assert batch.is_final


def test_facts_come_in_the_order_in_which_they_were_added(stores, run):
    """The end of a run is chained, and what went before it is not: that changes no order."""
    batch = Batch(stores)
    batch.add_fact(run, RunStarted("r1"))
    batch.end_task(run, "a", 1, TaskResult(TaskState.SUCCEEDED))
    batch.add_fact(run, RunEnded("r1", "dataops", "p", RunState.SUCCEEDED, ()))
    batch.end_task(run, "b", 1, TaskResult(TaskState.SUCCEEDED))
    write(stores, batch)
    with stores.db.read() as connection:
        kinds = [fact.kind for fact in read_facts(connection)]
    assert kinds == ["run.started", "task.ended", "run.ended", "task.ended"]


def test_who_cancels_a_run_ends_it(stores, run):
    canceled = RunRow(**{**run.__dict__, "cancel_requested_by": "bob"})
    batch = Batch(stores)
    batch.add_fact(canceled, RunEnded("r1", "dataops", "p", RunState.CANCELED, ()))
    write(stores, batch)
    with stores.db.read() as connection:
        assert [fact.by for fact in read_facts(connection)] == ["bob"]


def test_a_run_can_be_forgotten_before_anything_is_written(stores, run, sketching):
    batch = Batch(stores)
    batch.insert_task("r1", task_row("train"))
    batch.update_task("r1", "known", state=TaskState.RUNNING)
    batch.update_run("r1", state=RunState.RUNNING)
    batch.end_task(run, "train", 1, TaskResult(TaskState.SUCCEEDED, {}, {"model": artifact()}))
    batch.attempt_over(order(sketching), TaskResult(TaskState.FAILED))
    batch.add_fact(run, RunEnded("r1", "dataops", "p", RunState.SUCCEEDED, ()))
    batch.insert_task("r2", task_row("train"))
    batch.forget("r1")
    assert not batch.is_final
    write(stores, batch)
    assert tasks(stores) == {}
    with stores.db.read() as connection:
        assert read_facts(connection) == []
        assert record.load_artifacts(connection, "r1") == {}
        assert record.load_attempts(connection, "r1") == {}
        assert [row.name for row in record.load_tasks(connection, "r2")] == ["train"]
        assert connection.execute(select(RUNS.c.state)).scalar_one() == RunState.PENDING


def test_a_thousand_ends_are_few_statements(stores, run):
    """Counted, not timed: a statement of its own per task is what made a wide run slow."""
    batch = Batch(stores)
    for number in range(1_000):
        batch.insert_task("r1", task_row(f"t{number}"))
    write(stores, batch)
    batch = Batch(stores)
    for number in range(1_000):
        batch.end_task(run, f"t{number}", 1, TaskResult(TaskState.SUCCEEDED))
    statements = []
    event.listen(stores.db.engine, "before_cursor_execute", lambda *given: statements.append(1))
    write(stores, batch)
    assert len(statements) < 20
    assert {row.state for row in tasks(stores).values()} == {TaskState.SUCCEEDED}


def test_all_is_written_or_nothing(stores, run):
    batch = Batch(stores)
    batch.insert_task("r1", task_row("train"))
    write(stores, batch)
    batch = Batch(stores)
    batch.update_run("r1", state=RunState.RUNNING)
    batch.add_fact(run, RunStarted("r1"))
    batch.insert_task("r1", task_row("train"))
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        write(stores, batch)
    with stores.db.read() as connection:
        assert read_facts(connection) == []
        assert connection.execute(select(RUNS.c.state)).scalar_one() == RunState.PENDING


def test_two_threads_write_in_turn(stores, run):
    """The engine is not the only one that writes."""
    with stores.db.transaction() as tx:
        first = Batch(stores)
        for number in range(40):
            first.insert_task("r1", task_row(f"t{number}"))
        first.flush(tx)

    def count_up(name: str) -> None:
        for number in range(20):
            batch = Batch(stores)
            batch.update_task("r1", name, attempt=number + 1)
            write(stores, batch)

    threads = [threading.Thread(target=count_up, args=(f"t{at}",)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [tasks(stores)[f"t{at}"].attempt for at in range(4)] == [20] * 4
