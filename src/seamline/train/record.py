"""State changes of runs and tasks as rows and facts, inside the caller's transaction."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from seamline.domain.clock import iso
from seamline.domain.facts import RunEnded, RunStarted, TaskEnded
from seamline.domain.states import RunState, TaskState, check_transition
from seamline.runtime.processes import ProcessIdentity
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact
from seamline.train.results import TaskProblem, TaskResult
from seamline.train.rows import ARTIFACTS, RUNS, TASKS


@dataclasses.dataclass(frozen=True)
class RunRow:
    """What the engine needs to know of a run."""

    id: str
    environment: str
    pipeline: str
    pipeline_digest: str
    arguments: Mapping[str, Any]
    state: RunState
    requested_by: str
    request_fact: str
    created_at: str
    cancel_requested_by: str | None


def load_runs(connection: Connection, states: Sequence[RunState]) -> list[RunRow]:
    """Runs in these states, oldest first."""
    query = select(RUNS).where(RUNS.c.state.in_(states)).order_by(RUNS.c.created_at, RUNS.c.id)
    return [read_run(row) for row in connection.execute(query)]


def read_run(row: Row[Any]) -> RunRow:
    return RunRow(
        row.id,
        row.environment,
        row.pipeline,
        row.pipeline_digest,
        json.loads(row.arguments),
        RunState(row.state),
        row.requested_by,
        row.request_fact,
        row.created_at,
        row.cancel_requested_by,
    )


def load_tasks(connection: Connection, run_id: str) -> Sequence[Row[Any]]:
    query = select(TASKS).where(TASKS.c.run_id == run_id).order_by(TASKS.c.position)
    return connection.execute(query).all()


def load_artifacts(connection: Connection, run_id: str) -> dict[tuple[str, str], Artifact]:
    query = select(ARTIFACTS).where(ARTIFACTS.c.run_id == run_id)
    return {(row.task, row.output): artifact_of(row) for row in connection.execute(query)}


def artifact_of(row: Row[Any]) -> Artifact:
    return Artifact(
        id=row.id,
        name=row.output,
        schema_type=row.schema_type,
        digest=row.digest,
        size_bytes=row.size_bytes,
        is_directory=row.is_directory,
        is_blob=row.is_blob,
        uri=row.uri,
        metadata=json.loads(row.metadata),
    )


def record_run_started(tx: Connection, stores: Stores, run: RunRow) -> None:
    check_transition(RunState.PENDING, RunState.RUNNING)
    now = iso(stores.clock.now())
    tx.execute(
        update(RUNS).where(RUNS.c.id == run.id).values(state=RunState.RUNNING, started_at=now)
    )
    stores.facts.append(tx, RunStarted(run.id), by=run.requested_by, caused_by=run.request_fact)


def record_run_ended(
    tx: Connection, stores: Stores, run: RunRow, state: RunState, failed: Iterable[str], error: str
) -> None:
    now = iso(stores.clock.now())
    values = {"state": state, "ended_at": now, "error": error or None}
    tx.execute(update(RUNS).where(RUNS.c.id == run.id).values(**values))
    stores.facts.append(
        tx,
        RunEnded(run.id, run.environment, run.pipeline, state, tuple(failed)),
        by=run.cancel_requested_by or run.requested_by,
        caused_by=run.request_fact,
    )


def record_task_started(
    tx: Connection, stores: Stores, run: RunRow, task: str, attempt: int, log_path: str | None
) -> None:
    _update_task(
        tx,
        run.id,
        task,
        state=TaskState.RUNNING,
        attempt=attempt,
        started_at=iso(stores.clock.now()),
        log_path=log_path,
        pid=None,
        pid_start_time=None,
        boot_id=None,
    )


def record_task_process(
    tx: Connection, run_id: str, task: str, attempt: int, process: ProcessIdentity
) -> None:
    tx.execute(
        update(TASKS)
        .where(
            TASKS.c.run_id == run_id,
            TASKS.c.name == task,
            TASKS.c.attempt == attempt,
            TASKS.c.state == TaskState.RUNNING,
        )
        .values(**_process_columns(process))
    )


def record_task_again(
    tx: Connection, run: RunRow, task: str, failures: int, problem: TaskProblem | None
) -> None:
    """RUNNING → PENDING: a retry is left, or its process was lost."""
    check_transition(TaskState.RUNNING, TaskState.PENDING)
    values = {"state": TaskState.PENDING, "failures": failures, "error": _problem_json(problem)}
    _update_task(tx, run.id, task, **values)


def record_task_ended(
    tx: Connection, stores: Stores, run: RunRow, task: str, attempt: int, result: TaskResult
) -> None:
    """The moment from which the task has happened: its state, outputs and fact, or nothing."""
    now = iso(stores.clock.now())
    outcome = result.outcome
    measured = (
        {
            "peak_rss_bytes": outcome.peak_rss_bytes,
            "user_s": outcome.user_s,
            "sys_s": outcome.sys_s,
            "wall_s": outcome.wall_s,
            **(_process_columns(outcome.process) if outcome.process else {}),
        }
        if outcome
        else {}
    )
    _update_task(
        tx,
        run.id,
        task,
        state=result.state,
        ended_at=now,
        outputs=json.dumps(dict(result.parameters)),
        error=_problem_json(result.problem),
        packages_digest=result.packages_digest,
        **measured,
    )
    if result.artifacts:
        rows = [_artifact_row(run.id, task, now, a) for a in result.artifacts.values()]
        tx.execute(insert(ARTIFACTS), rows)
    reason = result.problem.sentence if result.problem else ""
    stores.facts.append(
        tx,
        TaskEnded(run.id, task, result.state, attempt, reason),
        by=run.cancel_requested_by or run.requested_by,
        caused_by=run.request_fact,
    )


def reset_lost_tasks(tx: Connection, run_id: str) -> list[Row[Any]]:
    """RUNNING tasks of an engine that is no more become PENDING; returns what they were."""
    lost = (TASKS.c.run_id == run_id) & (TASKS.c.state == TaskState.RUNNING)
    found = list(tx.execute(select(TASKS).where(lost)))
    tx.execute(update(TASKS).where(lost).values(state=TaskState.PENDING))
    return found


def _process_columns(process: ProcessIdentity) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "pid_start_time": process.start_time,
        "boot_id": process.boot_id,
    }


def _update_task(tx: Connection, run_id: str, task: str, **values: Any) -> None:
    where = (TASKS.c.run_id == run_id) & (TASKS.c.name == task)
    tx.execute(update(TASKS).where(where).values(**values))


def _artifact_row(run_id: str, task: str, now: str, artifact: Artifact) -> dict[str, Any]:
    return {
        "id": artifact.id,
        "run_id": run_id,
        "task": task,
        "output": artifact.name,
        "schema_type": artifact.schema_type,
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
        "is_directory": artifact.is_directory,
        "is_blob": artifact.is_blob,
        "uri": artifact.uri,
        "metadata": json.dumps(dict(artifact.metadata)),
        "created_at": now,
    }


def _problem_json(problem: TaskProblem | None) -> str | None:
    return json.dumps(dataclasses.asdict(problem)) if problem else None
