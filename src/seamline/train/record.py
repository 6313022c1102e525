"""Runs, tasks and artifacts as they are recorded, for those who go on from there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from seamline.domain.clock import Clock, iso
from seamline.domain.states import Fidelity, RunState, TaskState
from seamline.train.artifacts import Artifact
from seamline.train.options import RunOptions, read_options
from seamline.train.plan.types import NodeKind
from seamline.train.rows import ARTIFACTS, ATTEMPTS, RUNS, TASKS

#: Kinds of nodes that are attempted; the others only hold these.
RUNNABLE = (NodeKind.PYTHON, NodeKind.CONTAINER, NodeKind.IMPORTER)


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
    display_name: str
    team: str
    options: RunOptions
    fidelity: Fidelity
    notes: tuple[str, ...] = ()
    started_at: str | None = None
    scheduled_for: str | None = None
    cancel_requested_by: str | None = None
    #: A run whose results stand in wherever nothing has changed.
    reuses_run: str | None = None
    #: That admitted it; None in dataops.
    release: str | None = None


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
        row.display_name,
        row.team,
        read_options(json.loads(row.options)),
        Fidelity(row.fidelity),
        tuple(json.loads(row.notes)),
        row.started_at,
        row.scheduled_for,
        row.cancel_requested_by,
        row.reuses_run,
        row.release,
    )


def load_tasks(connection: Connection, run_id: str) -> Sequence[Row[Any]]:
    query = select(TASKS).where(TASKS.c.run_id == run_id).order_by(TASKS.c.position)
    return connection.execute(query).all()


def load_artifacts(connection: Connection, run_id: str) -> dict[tuple[str, str], Artifact]:
    query = select(ARTIFACTS).where(ARTIFACTS.c.run_id == run_id)
    return {(row.task, row.output): artifact_of(row) for row in connection.execute(query)}


def load_attempts(connection: Connection, run_id: str) -> dict[str, list[Row[Any]]]:
    """Task → its attempts before the last one, in order."""
    query = select(ATTEMPTS).where(ATTEMPTS.c.run_id == run_id).order_by(ATTEMPTS.c.attempt)
    found: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.task, []).append(row)
    return found


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


def reset_lost_tasks(tx: Connection, run_id: str) -> list[Row[Any]]:
    """RUNNING tasks of an engine that is no more become PENDING; returns what they were."""
    lost = (TASKS.c.run_id == run_id) & (TASKS.c.state == TaskState.RUNNING)
    lost &= TASKS.c.kind.in_(RUNNABLE)
    found = list(tx.execute(select(TASKS).where(lost)))
    tx.execute(update(TASKS).where(lost).values(state=TaskState.PENDING))
    return found


def cancel_open_nodes(tx: Connection, run_id: str, clock: Clock) -> None:
    """Whatever of a canceled run has not ended: its tasks have, these only held them."""
    is_open = TASKS.c.state.in_([TaskState.PENDING, TaskState.RUNNING])
    tx.execute(
        update(TASKS)
        .where(TASKS.c.run_id == run_id, is_open)
        .values(state=TaskState.CANCELED, ended_at=iso(clock.now()))
    )


def seconds_since(clock: Clock, moment: str | None) -> float:
    if moment is None:
        return 0.0
    return (clock.now() - datetime.fromisoformat(moment)).total_seconds()
