"""Runs as plain JSON, for the API, the console and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Row

from seamline.domain.errors import SeamlineError
from seamline.domain.states import TaskState
from seamline.train.artifacts import Artifact
from seamline.train.live import LiveRun
from seamline.train.plan import Plan, PlannedTask
from seamline.train.sources import ABSENT, describe
from seamline.train.values import presentable


def show_run_row(row: Row[Any]) -> dict[str, Any]:
    shown = dict(row._mapping)
    return {**shown, "arguments": presentable(json.loads(row.arguments))}


def show_artifact(artifact: Artifact) -> dict[str, Any]:
    return {
        "id": artifact.id,
        "name": artifact.name,
        "type": artifact.schema_type,
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
        "is_directory": artifact.is_directory,
        "uri": artifact.uri,
        "metadata": presentable(dict(artifact.metadata)),
    }


def show_tasks(run: LiveRun, rows: Mapping[str, Row[Any]]) -> list[dict[str, Any]]:
    """In the plan's order."""
    made: dict[str, dict[str, Artifact]] = {name: {} for name in run.plan.tasks}
    for task, output, artifact in run.all_artifacts():
        made[task][output] = artifact
    return [_show_task(run, task, rows[name], made[name]) for name, task in run.plan.tasks.items()]


def _show_task(
    run: LiveRun, task: PlannedTask, row: Row[Any], made: Mapping[str, Artifact]
) -> dict[str, Any]:
    measured = ("peak_rss_bytes", "user_s", "sys_s", "wall_s", "packages_digest", "pid")
    return {
        "name": task.name,
        "group": task.gate.group,
        "kind": row.kind,
        "component": task.component.name,
        "state": row.state,
        "attempt": row.attempt,
        "failures": row.failures,
        "max_retries": task.retry.max_retries if task.retry else 0,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        **{name: getattr(row, name) for name in measured},
        "after": list(task.gate.after),
        "ignores_upstream_failure": task.gate.is_tolerant,
        "inputs": _show_inputs(run, task),
        "outputs": {
            "parameters": presentable(json.loads(row.outputs) if row.outputs else {}),
            "artifacts": {key: show_artifact(artifact) for key, artifact in made.items()},
        },
        "error": json.loads(row.error) if row.error else None,
        "has_log": row.log_path is not None,
    }


def _show_inputs(run: LiveRun, task: PlannedTask) -> dict[str, Any]:
    try:
        values = run.parameters_of(task)
    except SeamlineError:  # One that has the wrong type: the task's error says which.
        values = {}
    artifacts = run.artifacts_of(task)
    return {
        "parameters": {
            key: {"value": presentable(values.get(key)), "from": describe(source)}
            for key, source in task.parameters.items()
        },
        "artifacts": {
            key: {
                "artifact": show_artifact(artifacts[key]) if key in artifacts else None,
                "from": describe(source) if source else "nothing",
            }
            for key, source in task.artifacts.items()
        },
    }


def show_outputs(run: LiveRun) -> dict[str, Any]:
    """Of the whole run; null where what makes it has not succeeded."""
    artifacts = {
        name: run.artifact(source.task, source.key) if source else None
        for name, source in run.plan.output_artifacts.items()
    }
    values = {name: run.evaluate_output(name) for name in run.plan.output_parameters}
    return {
        "parameters": {
            name: None if value is ABSENT else presentable(value) for name, value in values.items()
        },
        "artifacts": {
            name: show_artifact(artifact) if artifact else None
            for name, artifact in artifacts.items()
        },
    }


def explain_run(run: LiveRun) -> str:
    """One sentence: which branch failed and why, what it cost, what was done.

    Empty while nothing failed.
    """
    failed = [name for name in run.plan.tasks if run.states[name] is TaskState.FAILED]
    if not failed:
        return ""
    problems = [f"{name} failed: {run.problems[name].sentence}" for name in failed[:5]]
    states = list(run.states.values())
    left_out = states.count(TaskState.UPSTREAM_FAILED)
    done = states.count(TaskState.SUCCEEDED) + states.count(TaskState.SKIPPED)
    more = f" … and {len(failed) - 5} more." if len(failed) > 5 else ""
    waited = f" {left_out} that needed it did not run." if left_out else ""
    shown = "; ".join(problem.rstrip(".") for problem in problems)
    return f"{shown}.{more}{waited} {done} of {len(states)} tasks succeeded."


def edges(plan: Plan) -> Iterator[tuple[str, str]]:
    """(from, to) between tasks; a group stands for the tasks that nothing in it waits for."""
    for task in plan.tasks.values():
        gate = task.gate
        while not gate.after and gate.group is not None:
            gate = plan.groups[gate.group].gate
        for upstream in gate.after:
            for leaf in _last_of(plan, upstream):
                yield leaf, task.name


def _last_of(plan: Plan, node: str) -> Iterator[str]:
    group = plan.groups.get(node)
    if group is None:
        yield node
        return
    waited_for = {name for member in group.members for name in plan.gate_of(member).after}
    for member in group.members:
        if member not in waited_for:
            yield from _last_of(plan, member)
