"""A run as this API shows it: its state in the protocol's words, and its tasks one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from seamline.app.references import split_reference
from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.protocols.kfp_api.catalogue import pipeline_id, read_spec, version_id
from seamline.protocols.kfp_api.status import (
    CANCELED,
    FAILED_PRECONDITION,
    INTERNAL,
    UNKNOWN,
    status_of,
)
from seamline.store.stores import Stores
from seamline.train.experiments import default_id
from seamline.train.results import ERRORED, UPSTREAM
from seamline.train.views.listing import (
    CANCELING,
    MadeArtifact,
    RunRecord,
    TaskRecord,
    list_made_artifacts,
    list_task_records,
)

#: A canceled run is FAILED here: the client's wait_for_run_completion knows no other end but
#: succeeded, failed, skipped and error, and would ask for ever. Its error says who canceled it.
RUN_STATES = {
    RunState.PENDING: "PENDING",
    RunState.RUNNING: "RUNNING",
    RunState.SUCCEEDED: "SUCCEEDED",
    RunState.PARTIALLY_FAILED: "FAILED",
    RunState.FAILED: "FAILED",
    RunState.CANCELED: "FAILED",
}
#: What did not run is SKIPPED; the error of a task that another one's failure reached says so.
TASK_STATES = {
    TaskState.PENDING: "PENDING",
    TaskState.RUNNING: "RUNNING",
    TaskState.SUCCEEDED: "SUCCEEDED",
    TaskState.SKIPPED: "SKIPPED",
    TaskState.FAILED: "FAILED",
    TaskState.UPSTREAM_FAILED: "SKIPPED",
    TaskState.NOT_TRIGGERED: "SKIPPED",
    TaskState.CANCELED: "CANCELED",
}
_PROBLEM_CODES = {ERRORED: INTERNAL, UPSTREAM: FAILED_PRECONDITION}


def stored_states(shown: str) -> list[str]:
    """Which of our states a filter on the protocol's state means.

    >>> stored_states("FAILED"), stored_states("CANCELING")
    (['partially_failed', 'failed', 'canceled'], ['canceling'])
    """
    if shown.upper() == "CANCELED":
        return [RunState.CANCELED.value]
    if shown.upper() == "CANCELING":
        return [CANCELING]
    return [ours.value for ours, theirs in RUN_STATES.items() if theirs == shown.upper()]


def show_run(run: RunRecord) -> dict[str, Any]:
    """Without what has to be read elsewhere: specification and tasks."""
    shown = {
        "run_id": run.id,
        "experiment_id": run.experiment_id or default_id(run.environment),
        "display_name": run.display_name,
        "storage_state": run.storage.upper(),
        "runtime_config": {"parameters": dict(run.arguments)},
        "created_at": run.created_at,
        "scheduled_at": run.scheduled_for or run.created_at,
        "state": _state(run),
        "state_history": _history(run),
    }
    more = {
        "finished_at": run.ended_at,
        "error": _error(run),
        "recurring_run_id": run.schedule_id,
        "pipeline_version_reference": _reference(run),
    }
    return {**shown, **{name: value for name, value in more.items() if value is not None}}


def show_whole_run(stores: Stores, run: RunRecord) -> dict[str, Any]:
    shown = show_run(run)
    if "pipeline_version_reference" not in shown:
        shown["pipeline_spec"] = read_spec(stores, run.pipeline_digest)
    tasks = list_task_records(stores, run.id)
    artifacts = list_made_artifacts(stores, run.id)
    return {**shown, "run_details": {"task_details": show_tasks(run, tasks, artifacts)}}


def _state(run: RunRecord) -> str:
    if run.cancel_requested_by is not None and not is_terminal(run.state):
        return "CANCELING"
    return RUN_STATES[run.state]


def _error(run: RunRecord) -> dict[str, Any] | None:
    if run.state is RunState.CANCELED:
        return status_of(CANCELED, f"canceled by {run.cancel_requested_by}")
    if RUN_STATES[run.state] == "FAILED":
        return status_of(UNKNOWN, run.error or "The run failed.")
    return None


def _history(run: RunRecord) -> list[dict[str, Any]]:
    """Here a canceled run is CANCELED: nobody waits for the history."""
    passed = [("PENDING", run.created_at), ("RUNNING", run.started_at)]
    if is_terminal(run.state):
        is_canceled = run.state is RunState.CANCELED
        passed.append(("CANCELED" if is_canceled else RUN_STATES[run.state], run.ended_at))
    return [{"update_time": at, "state": state} for state, at in passed if at is not None]


def _reference(run: RunRecord) -> dict[str, Any] | None:
    """For a run of what is in the catalogue."""
    if run.reference is None:
        return None
    package, _ = split_reference(run.reference)
    return {
        "pipeline_id": pipeline_id(package),
        "pipeline_version_id": version_id(package, run.pipeline_digest),
    }


def task_id(run_id: str, task: str) -> str:
    return str(uuid5(UUID(run_id), task))


def show_tasks(
    run: RunRecord, tasks: Sequence[TaskRecord], artifacts: Sequence[MadeArtifact]
) -> list[dict[str, Any]]:
    """Groups (a sub-pipeline, a loop, one of its iterations) are tasks that have children."""
    known = {task.name for task in tasks}
    children: dict[str, list[str]] = {}
    for task in tasks:
        if task.parent in known:
            children.setdefault(task.parent or "", []).append(task.name)
    made: dict[str, dict[str, list[str]]] = {}
    for artifact in artifacts:
        made.setdefault(artifact.task, {}).setdefault(artifact.output, []).append(artifact.id)
    return [
        _show_task(run, task, task.parent in known, children.get(task.name, []), made)
        for task in tasks
    ]


def _show_task(
    run: RunRecord,
    task: TaskRecord,
    has_parent: bool,
    children: Sequence[str],
    made: Mapping[str, Mapping[str, Sequence[str]]],
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "run_id": run.id,
        "task_id": task_id(run.id, task.name),
        "display_name": task.display_name,
        "create_time": run.created_at,
        "state": TASK_STATES[task.state],
        "inputs": _artifact_lists(_ids_read(task)),
        "outputs": _artifact_lists(made.get(task.name, {})),
        "child_tasks": [{"task_id": task_id(run.id, child)} for child in children],
    }
    more = {
        "start_time": task.started_at,
        "end_time": task.ended_at,
        "parent_task_id": task_id(run.id, task.parent or "") if has_parent else None,
        "error": _problem(task.error),
    }
    return {**shown, **{name: value for name, value in more.items() if value is not None}}


def _ids_read(task: TaskRecord) -> dict[str, list[str]]:
    """Input → the artifacts that it was called with: one, or a list."""
    found = {}
    for name, given in task.inputs.get("artifacts", {}).items():
        several = given.get("artifacts") or [given.get("artifact")]
        if ids := [one["id"] for one in several if one]:
            found[name] = ids
    return found


def _artifact_lists(found: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {name: {"artifact_ids": list(ids)} for name, ids in found.items()}


def _problem(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if error is None:
        return None
    kind = str(error.get("kind", ""))
    message = str(error.get("message", ""))
    said = message if kind == UPSTREAM else f"{error.get('type', '')}: {message}"
    return status_of(_PROBLEM_CODES.get(kind, UNKNOWN), said)
