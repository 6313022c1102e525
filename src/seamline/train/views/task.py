"""Some tasks of a run with all that is known of them; and what a run as a whole has put out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from seamline.domain.errors import NotFound
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact, show_artifact
from seamline.train.ir.values import presentable
from seamline.train.plan.inputs import brief
from seamline.train.plan.load import load_plan
from seamline.train.plan.types import Plan, find_node
from seamline.train.record import artifact_of
from seamline.train.rows import ARTIFACTS, ATTEMPTS, TASKS
from seamline.train.runs import find_run_row
from seamline.train.views.run import show_task_row

#: A task's output parameters are not shown when they are longer together, as JSON.
MAX_OUTPUTS = 1 << 20
#: Artifacts of an output that is a list: so many are named, the rest is counted.
MAX_LISTED = 10


def show_tasks(stores: Stores, run_id: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Like the entries of `show_run`, in the order of the names and with long values cut; names
    that have no row are left out. At most some hundred at once."""
    with stores.db.read() as connection:
        run = find_run_row(connection, run_id)
        of_tasks = (TASKS.c.run_id == run_id) & TASKS.c.name.in_(names)
        rows = {row.name: row for row in connection.execute(select(*_columns()).where(of_tasks))}
        made = (ARTIFACTS.c.run_id == run_id) & ARTIFACTS.c.task.in_(names)
        artifacts: dict[str, dict[str, Artifact]] = {}
        for one in connection.execute(select(ARTIFACTS).where(made).order_by(ARTIFACTS.c.id)):
            artifacts.setdefault(one.task, {})[one.output] = artifact_of(one)
        before = (ATTEMPTS.c.run_id == run_id) & ATTEMPTS.c.task.in_(names)
        earlier: dict[str, list[Row[Any]]] = {}
        for one in connection.execute(select(ATTEMPTS).where(before).order_by(ATTEMPTS.c.attempt)):
            earlier.setdefault(one.task, []).append(one)
    plan = load_plan(stores, run.pipeline_digest)
    return [
        _show(plan, rows[name], artifacts.get(name, {}), earlier.get(name, ()))
        for name in names
        if name in rows
    ]


def _columns() -> list[Any]:
    length = func.length(TASKS.c.outputs)
    return [
        *(column for column in TASKS.c if column.name != "outputs"),
        case((length <= MAX_OUTPUTS, TASKS.c.outputs)).label("outputs"),
        length.label("outputs_length"),
    ]


def _show(
    plan: Plan, row: Row[Any], made: dict[str, Artifact], earlier: Sequence[Row[Any]]
) -> dict[str, Any]:
    shown = show_task_row(row, find_node(plan, row.name)[1], made, earlier)
    values = shown["outputs"]["parameters"]
    shown["outputs"] = {
        "parameters": {name: brief(value) for name, value in values.items()},
        "artifacts": shown["outputs"]["artifacts"],
        "is_cut": (row.outputs_length or 0) > MAX_OUTPUTS,
    }
    return shown


def read_packages(stores: Stores, digest: str | None) -> list[str]:
    """The environment of a task as exact `name==version`; empty where it ran in none of ours."""
    if digest is None:
        return []
    try:
        return stores.blobs.get(digest, "packages").decode().splitlines()
    except NotFound:
        return []


def show_outputs(stores: Stores, run_id: str) -> dict[str, Any]:
    """Of the run as a whole: name → value, or → artifacts and how many they are; long ones cut."""
    with stores.db.read() as connection:
        run = find_run_row(connection, run_id)
        known = json.loads(run.outputs) if run.outputs else {"parameters": {}, "artifacts": {}}
        return {
            "parameters": {
                name: brief(presentable(value)) for name, value in known["parameters"].items()
            },
            "artifacts": {
                name: _show_artifacts(connection, ids) for name, ids in known["artifacts"].items()
            },
        }


def _show_artifacts(connection: Connection, ids: str | list[Any] | None) -> dict[str, Any]:
    listed = _flat(ids)
    query = select(ARTIFACTS).where(ARTIFACTS.c.id.in_(listed[:MAX_LISTED]))
    found: dict[str, Artifact] = {row.id: artifact_of(row) for row in connection.execute(query)}
    shown = [show_artifact(found[one]) for one in listed[:MAX_LISTED] if one in found]
    return {"total": len(listed), "first": shown}


def _flat(ids: str | list[Any] | None) -> list[str]:
    """
    >>> _flat([["a"], ["b", "c"]]), _flat("a"), _flat(None)
    (['a', 'b', 'c'], ['a'], [])
    """
    if ids is None:
        return []
    return [ids] if isinstance(ids, str) else [one for each in ids for one in _flat(each)]
