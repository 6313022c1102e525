"""What one turn of the engine writes: collected, then written with few statements.

Changes of one row are merged; rows with the same columns go to the database together, since a
statement's price is far above that of one more row in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, update

from seamline.domain.clock import iso
from seamline.domain.fact import Fact
from seamline.domain.facts import RunEnded, TaskEnded
from seamline.domain.states import TaskState
from seamline.runtime.processes import ProcessIdentity
from seamline.store.bulk import insert_rows, update_rows
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact
from seamline.train.attempts.order import WorkOrder
from seamline.train.ir.values import storable
from seamline.train.record import RunRow
from seamline.train.results import TaskProblem, TaskResult
from seamline.train.rows import ARTIFACTS, ATTEMPTS, RUNS, TASKS


class Batch:
    """Nothing is written before `flush`."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._new_tasks: dict[tuple[str, str], dict[str, Any]] = {}
        self._tasks: dict[tuple[str, str], dict[str, Any]] = {}
        self._runs: dict[str, dict[str, Any]] = {}
        self._artifacts: list[dict[str, Any]] = []
        self._attempts: list[dict[str, Any]] = []
        self._facts: list[tuple[Fact, str, str]] = []

    @property
    def now(self) -> str:
        return iso(self._stores.clock.now())

    # -- tasks -----------------------------------------------------------------------------

    def insert_task(self, run_id: str, row: Mapping[str, Any]) -> None:
        self._new_tasks[run_id, row["name"]] = {"run_id": run_id, **row}

    def update_task(self, run_id: str, name: str, **values: Any) -> None:
        new = self._new_tasks.get((run_id, name))
        if new is not None:
            new.update(values)
        else:
            self._tasks.setdefault((run_id, name), {}).update(values)

    def end_node(
        self, run: RunRow, name: str, state: TaskState, problem: TaskProblem | None
    ) -> None:
        """A group, loop or iteration; what is in them has facts of its own."""
        self.update_task(run.id, name, state=state, ended_at=self.now, error=problem_json(problem))

    def end_task(self, run: RunRow, name: str, attempt: int, result: TaskResult) -> None:
        """The moment from which the task has happened: its state, outputs and fact, or nothing."""
        outcome = result.outcome
        measured = (
            {
                "peak_rss_bytes": outcome.peak_rss_bytes,
                "user_s": outcome.user_s,
                "sys_s": outcome.sys_s,
                "wall_s": outcome.wall_s,
                **(process_columns(outcome.process) if outcome.process else {}),
            }
            if outcome
            else {}
        )
        self.update_task(
            run.id,
            name,
            state=result.state,
            ended_at=self.now,
            outputs=json.dumps(dict(result.parameters)),
            error=problem_json(result.problem),
            packages_digest=result.packages_digest,
            image=result.image.reference if result.image else None,
            image_digest=result.image.digest if result.image else None,
            **measured,
        )
        for artifact in result.artifacts.values():
            self._artifacts.append(_artifact_row(run.id, name, self.now, artifact))
        reason = result.problem.sentence if result.problem else ""
        self.add_fact(run, TaskEnded(run.id, name, result.state, attempt, reason))

    def attempt_over(self, order: WorkOrder, result: TaskResult) -> None:
        """An attempt that another one will follow."""
        process = result.outcome.process if result.outcome else None
        self._attempts.append(
            {
                "run_id": order.context.run_id,
                "task": order.path,
                "attempt": order.attempt,
                "pid": None,
                "pid_start_time": None,
                "boot_id": None,
                "started_at": order.started_at,
                "log_path": order.log_path,
                "ended_at": self.now,
                "error": problem_json(result.problem),
                **(process_columns(process) if process else {}),
            }
        )

    # -- runs ------------------------------------------------------------------------------

    def update_run(self, run_id: str, **values: Any) -> None:
        self._runs.setdefault(run_id, {}).update(values)

    def add_fact(self, run: RunRow, fact: Fact) -> None:
        self._facts.append((fact, run.cancel_requested_by or run.requested_by, run.request_fact))

    def forget(self, run_id: str) -> None:
        """All that was to be written of a run."""
        for changes in (self._new_tasks, self._tasks):
            for key in [key for key in changes if key[0] == run_id]:
                del changes[key]
        self._runs.pop(run_id, None)
        for rows in (self._artifacts, self._attempts):
            rows[:] = [row for row in rows if row["run_id"] != run_id]
        self._facts = [one for one in self._facts if one[0].subject != run_id]

    @property
    def is_final(self) -> bool:
        """A run has ended: that is to survive a power cut."""
        return any(isinstance(fact, RunEnded) for fact, _, _ in self._facts)

    # -- writing ---------------------------------------------------------------------------

    def flush(self, tx: Connection) -> None:
        insert_rows(tx, TASKS, list(self._new_tasks.values()))
        update_rows(tx, TASKS, self._tasks)
        for run_id, values in self._runs.items():
            tx.execute(update(RUNS).where(RUNS.c.id == run_id).values(**values))
        insert_rows(tx, ARTIFACTS, self._artifacts)
        insert_rows(tx, ATTEMPTS, self._attempts)
        self._stores.facts.append_all(tx, self._facts)


def process_columns(process: ProcessIdentity) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "pid_start_time": process.start_time,
        "boot_id": process.boot_id,
    }


def problem_json(problem: TaskProblem | None) -> str | None:
    return json.dumps(problem.to_json()) if problem else None


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
        "uri": storable(artifact.uri),
        "metadata": json.dumps(dict(artifact.metadata)),
        "created_at": now,
    }
