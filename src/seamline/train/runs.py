"""Request, cancel and look at runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from seamline.domain.clock import iso, new_id
from seamline.domain.errors import Conflict, NotFound, Refused, not_found
from seamline.domain.facts import RunRequested
from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.store.stores import Stores
from seamline.train.admission import check_pipeline
from seamline.train.arguments import check_arguments
from seamline.train.artifacts import Artifact
from seamline.train.attempts.machine import Machine
from seamline.train.options import (
    DEFAULT_OPTIONS,
    UNLABELED,
    RunLabel,
    RunOptions,
    options_json,
)
from seamline.train.plan.load import load_plan
from seamline.train.plan.node_rows import node_row
from seamline.train.plan.types import Plan
from seamline.train.record import (
    RUNNABLE,
    artifact_of,
    load_artifacts,
    load_attempts,
    load_tasks,
)
from seamline.train.rows import ARTIFACTS, RUNS, TASKS
from seamline.train.views.run import show_run_row, show_whole_run

MAX_LOG_BYTES = 1 << 20

#: (transaction, digest of a pipeline) → the release that lets it run where it is to run; Refused
#: where none does. Called in the transaction that records what is admitted.
Admit = Callable[[Connection, str], str | None]


def by_no_release(_tx: Connection, _pipeline: str) -> str | None:
    """Where no release is asked: in dataops, and below the floor that knows releases."""
    return None


def request_run(
    stores: Stores,
    ir: bytes,
    *,
    arguments: Mapping[str, Any],
    environment: str,
    by: str,
    caused_by: str | None = None,
    run_id: str | None = None,
    label: RunLabel = UNLABELED,
    options: RunOptions = DEFAULT_OPTIONS,
    reuses_run: str | None = None,
    machine: Machine | None = None,
    admit: Admit = by_no_release,
) -> str:
    """Checks everything, then records the run and its tasks; the engine takes it from there.

    A given `run_id` makes the request idempotent: the same request again is the same run.
    `reuses_run`: a run whose results stand in wherever nothing has changed. `machine`: what the
    tasks will run on, if that is to be checked now.
    """
    plan, notes = check_pipeline(ir, options, machine)
    checked = check_arguments(plan.parameters, arguments)
    digest = str(stores.blobs.put(ir))
    chosen = run_id or new_id(stores.clock)
    with stores.db.transaction() as tx:
        existing = tx.execute(select(RUNS).where(RUNS.c.id == chosen)).one_or_none()
        if existing is not None:
            return _check_same(existing, digest, environment, checked)
        name = plan.pipeline.name
        asked = RunRequested(chosen, environment, name, digest, checked, admit(tx, digest))
        fact = stores.facts.append(tx, asked, by=by, caused_by=caused_by)
        values = {
            "id": chosen,
            "environment": environment,
            "pipeline": name,
            "pipeline_digest": digest,
            "release": asked.release,
            "arguments": json.dumps(checked),
            "requested_by": by,
            "caused_by": caused_by,
            "request_fact": fact,
            "created_at": iso(stores.clock.now()),
            "notes": json.dumps(notes),
            "reuses_run": reuses_run,
            **dataclasses.asdict(label),
        }
        tx.execute(insert(RUNS).values(_run_row_of(values, options)))
        tx.execute(insert(TASKS), _task_rows(chosen, plan))
    return chosen


def _run_row_of(values: dict[str, Any], options: RunOptions) -> dict[str, Any]:
    return {
        **values,
        "display_name": values["display_name"] or values["id"],
        "state": RunState.PENDING,
        "options": options_json(options),
        "fidelity": options.isolation.fidelity,
        "storage": "available",
    }


def _check_same(
    existing: Row[Any], digest: str, environment: str, arguments: Mapping[str, Any]
) -> str:
    same = (existing.pipeline_digest, existing.environment, json.loads(existing.arguments))
    if same != (digest, environment, dict(arguments)):
        raise Conflict(
            f"Run {existing.id} exists, with another pipeline, environment or arguments.",
            next_step="Leave the run id out to get a new one.",
        )
    return str(existing.id)


def _task_rows(run_id: str, plan: Plan) -> list[dict[str, Any]]:
    """Those of the outermost scope: iterations get theirs when they open."""
    return [
        {"run_id": run_id, **node_row("", position, node)}
        for position, node in enumerate(plan.nodes.values())
    ]


def cancel_run(stores: Stores, run_id: str, *, by: str) -> None:
    """Asks the engine to end the run's tasks; wake it after. Refused when the run has ended."""
    with stores.db.transaction() as tx:
        row = find_run_row(tx, run_id)
        if is_terminal(RunState(row.state)):
            raise Refused(f"Run {run_id} has ended already: {row.state}.")
        if row.cancel_requested_by is None:
            tx.execute(update(RUNS).where(RUNS.c.id == run_id).values(cancel_requested_by=by))


def list_runs(
    stores: Stores,
    environment: str | None = None,
    limit: int = 100,
    *,
    pipeline: str | None = None,
    state: RunState | None = None,
    before: str | None = None,
) -> list[dict[str, Any]]:
    """Newest first, with the number of tasks by state. `before`: only runs created before that."""
    query = select(RUNS).order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc()).limit(limit)
    query = query.where(RUNS.c.storage != "deleted")
    wanted = {RUNS.c.environment: environment, RUNS.c.pipeline: pipeline, RUNS.c.state: state}
    for column, value in wanted.items():
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(RUNS.c.created_at < before)
    with stores.db.read() as connection:
        rows = connection.execute(query).all()
        counts = _count_tasks(connection, [row.id for row in rows])
    return [{**show_run_row(row), "tasks": counts.get(row.id, {})} for row in rows]


def runs_of_pipelines(
    stores: Stores, environment: str, digests: Collection[str], state: RunState
) -> list[dict[str, Any]]:
    """Newest first: all runs there, in that state, of pipelines with one of these digests."""
    query = (
        select(RUNS)
        .where(
            RUNS.c.environment == environment,
            RUNS.c.state == state,
            RUNS.c.pipeline_digest.in_(digests),
            RUNS.c.storage != "deleted",
        )
        .order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc())
    )
    with stores.db.read() as connection:
        return [show_run_row(row) for row in connection.execute(query)]


def _count_tasks(connection: Connection, run_ids: list[str]) -> dict[str, dict[str, int]]:
    query = (
        select(TASKS.c.run_id, TASKS.c.state, func.count().label("tasks"))
        .where(TASKS.c.run_id.in_(run_ids), TASKS.c.kind.in_(RUNNABLE))
        .group_by(TASKS.c.run_id, TASKS.c.state)
    )
    counts: dict[str, dict[str, int]] = {}
    for row in connection.execute(query):
        counts.setdefault(row.run_id, {})[row.state] = row.tasks
    return counts


def run_state(stores: Stores, run_id: str) -> RunState:
    """For those who wait: one row, where `show_run` reads everything."""
    with stores.db.read() as connection:
        return RunState(find_run_row(connection, run_id).state)


def show_request(stores: Stores, run_id: str) -> dict[str, Any]:
    """What was requested, and how far it is: one row, where `show_run` reads everything."""
    with stores.db.read() as connection:
        return show_run_row(find_run_row(connection, run_id))


def show_run(stores: Stores, run_id: str, within: str | None = None) -> dict[str, Any]:
    """All there is to know of a run: tasks with inputs, outputs and errors; edges; outputs.

    `within`: only what is inside of that group, loop or iteration ("for-loop-1[3]").
    """
    with stores.db.read() as connection:
        row = find_run_row(connection, run_id)
        rows = load_tasks(connection, run_id)
        artifacts = load_artifacts(connection, run_id)
        earlier = load_attempts(connection, run_id)
    return show_whole_run(
        load_plan(stores, row.pipeline_digest), row, rows, artifacts, earlier, within
    )


def run_output(stores: Stores, run_id: str, name: str) -> Any:
    """A value, an `Artifact` or a list of them, that the pipeline as a whole has returned.

    Raises NotFound for an unknown name, Refused when what makes it has not succeeded.
    """
    with stores.db.read() as connection:
        row = find_run_row(connection, run_id)
        made = load_artifacts(connection, run_id)
    plan = load_plan(stores, row.pipeline_digest)
    known = [*plan.output_parameters, *plan.output_artifacts]
    if name not in known:
        raise not_found(f"output of run {run_id}", name, known)
    outputs = json.loads(row.outputs) if row.outputs else {"parameters": {}, "artifacts": {}}
    if outputs["parameters"].get(name) is not None:
        return outputs["parameters"][name]
    ids = outputs["artifacts"].get(name)
    if ids is not None:
        by_id = {artifact.id: artifact for artifact in made.values()}
        return by_id[ids] if isinstance(ids, str) else [by_id[one] for one in ids]
    raise Refused(
        f"Run {run_id} ({row.state}) has no output {name!r}: what makes it has not succeeded.",
        next_step=f"Look at the run: seamline run show {run_id}",
    )


def find_artifact(stores: Stores, run_id: str, task: str, output: str) -> Artifact:
    """NotFound names the nearest task or output."""
    with stores.db.read() as connection:
        find_task_row(connection, run_id, task)
        query = select(ARTIFACTS).where(ARTIFACTS.c.run_id == run_id, ARTIFACTS.c.task == task)
        made = {row.output: row for row in connection.execute(query)}
    if output not in made:
        raise not_found(f"artifact of task {task!r} of run {run_id}", output, made)
    return artifact_of(made[output])


def find_artifact_by_id(stores: Stores, artifact_id: str) -> Artifact:
    with stores.db.read() as connection:
        row = connection.execute(
            select(ARTIFACTS).where(ARTIFACTS.c.id == artifact_id)
        ).one_or_none()
    if row is None:
        raise not_found("artifact", artifact_id)
    return artifact_of(row)


def read_log(
    stores: Stores,
    run_id: str,
    task: str,
    offset: int = 0,
    limit: int = 65536,
    attempt: int | None = None,
) -> dict[str, Any]:
    """A piece of the log of an attempt at the task (None: the last), from a byte offset; ask on at
    `next_offset`.

    `is_complete`: the attempt has ended and there is nothing behind this piece.
    """
    with stores.db.read() as connection:
        row = find_task_row(connection, run_id, task)
    path = _log_path(stores, row, attempt)
    size, data = 0, b""
    if path is not None and path.exists():
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(min(max(offset, 0), size))
            data = file.read(max(1, min(limit, MAX_LOG_BYTES)))
    start = min(max(offset, 0), size)
    if start + len(data) < size:
        data = _whole_characters(data)
    chosen = row.attempt if attempt is None else attempt
    has_ended = chosen < row.attempt or is_terminal(TaskState(row.state))
    return {
        "run_id": run_id,
        "task": task,
        "kind": row.kind,
        "state": row.state,
        "attempt": chosen,
        "cached_from": {"run_id": row.cached_run_id, "task": row.cached_task}
        if row.cached_run_id
        else None,
        "text": data.decode("utf-8", "replace"),
        "offset": start,
        "next_offset": start + len(data),
        "size_bytes": size,
        "is_complete": has_ended and start + len(data) >= size,
    }


def _log_path(stores: Stores, row: Row[Any], attempt: int | None) -> Path | None:
    """Each attempt's log lies beside the others': runs/<run>/<task>/<attempt>/log.txt."""
    if attempt is not None and not 1 <= attempt <= row.attempt:
        raise NotFound(
            f"There is no attempt {attempt} of {row.name} in run {row.run_id}.",
            next_step=f"Known: 1 to {row.attempt}." if row.attempt else "It has not started.",
        )
    if row.log_path is None:
        return None
    last = stores.root / Path(row.log_path)
    return last if attempt is None else last.parents[1] / str(attempt) / last.name


def _whole_characters(data: bytes) -> bytes:
    """Without the beginning of a character that goes on behind the end.

    >>> _whole_characters("aé".encode()[:2])
    b'a'
    """
    for back in range(1, min(4, len(data))):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if length > back else data
        if byte & 0x80 == 0:
            return data
    return data


def find_run_row(connection: Connection, run_id: str) -> Row[Any]:
    row = connection.execute(select(RUNS).where(RUNS.c.id == run_id)).one_or_none()
    if row is None:
        newest = select(RUNS.c.id).order_by(RUNS.c.created_at.desc()).limit(50)
        raise not_found("run", run_id, connection.execute(newest).scalars())
    return row


def find_task_row(connection: Connection, run_id: str, task: str) -> Row[Any]:
    find_run_row(connection, run_id)
    query = select(TASKS).where(TASKS.c.run_id == run_id)
    row = connection.execute(query.where(TASKS.c.name == task)).one_or_none()
    if row is None:
        names = select(TASKS.c.name).where(TASKS.c.run_id == run_id)
        raise not_found(f"task of run {run_id}", task, connection.execute(names).scalars())
    return row
