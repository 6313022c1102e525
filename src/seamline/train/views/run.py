"""Runs as plain JSON, for the API, the console and the command line; from rows alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from seamline.domain.states import TaskState
from seamline.train.artifacts import Artifact, show_artifact
from seamline.train.ir.values import presentable
from seamline.train.plan.inputs import planned_inputs
from seamline.train.plan.types import Plan, PlannedGroup, PlannedNode, PlannedTask, find_node
from seamline.train.record import RUNNABLE
from seamline.train.results import TaskProblem

_MEASURED = (
    "peak_rss_bytes",
    "user_s",
    "sys_s",
    "wall_s",
    "packages_digest",
    "image",
    "image_digest",
    "pid",
)
#: "for-loop-1[3]" as ("for-loop-1", "3").
_STEP = re.compile(r"([^\[\]]+)\[(\d+)\]")
_NO_INPUTS: dict[str, Any] = {"parameters": {}, "artifacts": {}}


def show_run_row(row: Row[Any]) -> dict[str, Any]:
    shown = dict(row._mapping)
    return {
        **shown,
        "arguments": presentable(json.loads(row.arguments)),
        "options": json.loads(row.options),
        "notes": json.loads(row.notes),
        "outputs": json.loads(row.outputs) if row.outputs else None,
    }


def show_whole_run(
    plan: Plan,
    row: Row[Any],
    rows: Sequence[Row[Any]],
    artifacts: Mapping[tuple[str, str], Artifact],
    earlier: Mapping[str, Sequence[Row[Any]]],
    within: str | None,
) -> dict[str, Any]:
    made: dict[str, dict[str, Artifact]] = {}
    for (task, output), artifact in artifacts.items():
        made.setdefault(task, {})[output] = artifact
    shown = [one for one in rows if within is None or _is_within(one.name, within)]
    nodes = {one.name: find_node(plan, one.name)[1] for one in shown}
    tasks = [
        show_task_row(one, nodes[one.name], made.get(one.name, {}), earlier.get(one.name, ()))
        for one in sorted(shown, key=_place)
    ]
    scope, prefix = _scope_of(plan, within)
    return {
        **show_run_row(row),
        "sentence": row.error or _say_what_failed(rows),
        "tasks": tasks,
        "groups": [
            {"name": one["name"], "group": one["group"], "after": one["after"]}
            for one in tasks
            if one["kind"] == "dag"
        ],
        "edges": [
            {"from": prefix + source, "to": prefix + target} for source, target in edges(scope)
        ],
        "outputs": _show_outputs(plan, row, artifacts),
    }


def _is_within(name: str, within: str) -> bool:
    return name.startswith((f"{within}/", f"{within}["))


def _place(row: Row[Any]) -> tuple[tuple[tuple[str, int], ...], str, int]:
    """Nodes of the outermost scope first, in the plan's order; then its loops' iterations; then
    what is in these."""
    loop = row.parent if row.kind == "iteration" else ""
    scope = loop or row.name
    steps = tuple((name, int(index)) for name, index in _STEP.findall(scope))
    return steps, loop, row.position


def _scope_of(plan: Plan, within: str | None) -> tuple[Plan, str]:
    """The scope that a picture shows, and what its nodes' names begin with."""
    if within is None or not within.endswith("]"):
        return plan, ""
    _, node = find_node(plan, within)
    return (
        (node.body, f"{within}/")
        if not isinstance(node, PlannedTask | PlannedGroup)
        else (
            plan,
            "",
        )
    )


def show_task_row(
    row: Row[Any], node: PlannedNode, made: Mapping[str, Artifact], earlier: Sequence[Row[Any]]
) -> dict[str, Any]:
    task = node if isinstance(node, PlannedTask) else None
    prefix = row.name.removesuffix(node.name) if row.kind != "iteration" else ""
    after = node.gate.after if row.kind != "iteration" else ()
    inputs = json.loads(row.inputs) if row.inputs else None
    return {
        "name": row.name,
        "display_name": row.display_name,
        "group": row.parent,
        "kind": row.kind,
        "component": row.component,
        "state": row.state,
        "fidelity": row.fidelity,
        "attempt": row.attempt,
        "failures": row.failures,
        "max_retries": task.retry.max_retries if task and task.retry else 0,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        **{name: getattr(row, name) for name in _MEASURED},
        "after": [prefix + name for name in after],
        "ignores_upstream_failure": node.gate.is_tolerant,
        "items": row.items,
        "item_index": row.item_index,
        "item": json.loads(row.item) if row.item is not None else None,
        "inputs": inputs or (planned_inputs(task) if task else _NO_INPUTS),
        "outputs": {
            "parameters": presentable(json.loads(row.outputs) if row.outputs else {}),
            "artifacts": {key: show_artifact(artifact) for key, artifact in made.items()},
        },
        "cache_key": row.cache_key,
        "cached_from": {"run_id": row.cached_run_id, "task": row.cached_task}
        if row.cached_run_id
        else None,
        "earlier_attempts": [_show_attempt(one) for one in earlier],
        "error": json.loads(row.error) if row.error else None,
        "has_log": row.log_path is not None,
    }


def _show_attempt(row: Row[Any]) -> dict[str, Any]:
    names = ("attempt", "pid", "started_at", "ended_at")
    return {
        **{name: getattr(row, name) for name in names},
        "error": json.loads(row.error) if row.error else None,
    }


def _show_outputs(
    plan: Plan, row: Row[Any], artifacts: Mapping[tuple[str, str], Artifact]
) -> dict[str, Any]:
    """Of the pipeline; null before the run has ended, and where what makes it did not succeed."""
    known = json.loads(row.outputs) if row.outputs else {"parameters": {}, "artifacts": {}}
    by_id = {artifact.id: artifact for artifact in artifacts.values()}

    def show(ids: Any) -> Any:
        if isinstance(ids, list):
            return [show(one) for one in ids]
        return show_artifact(by_id[ids]) if ids else None

    return {
        "parameters": {name: known["parameters"].get(name) for name in plan.output_parameters},
        "artifacts": {name: show(known["artifacts"].get(name)) for name in plan.output_artifacts},
    }


def _say_what_failed(rows: Sequence[Row[Any]]) -> str:
    """While a run goes on; at its end it is told with all that it cost."""
    failed = [one for one in rows if one.state == TaskState.FAILED and one.kind in RUNNABLE]
    said = [
        f"{one.name} failed: {TaskProblem(**json.loads(one.error)).sentence}"
        for one in failed[:5]
        if one.error
    ]
    more = f" … and {len(failed) - 5} more." if len(failed) > 5 else ""
    return "; ".join(said) + more


def edges(plan: Plan) -> Iterator[tuple[str, str]]:
    """(from, to) between a scope's tasks and loops; a group stands for those that nothing in it
    waits for."""
    for node in plan.nodes.values():
        if isinstance(node, PlannedGroup):
            continue
        gate = node.gate
        while not gate.after and gate.group is not None:
            gate = plan.nodes[gate.group].gate
        for upstream in gate.after:
            for leaf in _last_of(plan, upstream):
                yield leaf, node.name


def _last_of(plan: Plan, name: str) -> Iterator[str]:
    node = plan.nodes[name]
    if not isinstance(node, PlannedGroup):
        yield name
        return
    waited_for = {up for member in node.members for up in plan.nodes[member].gate.after}
    for member in node.members:
        if member not in waited_for:
            yield from _last_of(plan, member)
