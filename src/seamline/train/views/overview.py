"""Parts of a run, for those who look at one at a time: many rows, few columns of each.

What tasks were called with and what they made is left out: of a large run that is megabytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, select

from seamline.domain.errors import not_found
from seamline.domain.states import TaskState
from seamline.store.stores import Stores
from seamline.train.plan.load import load_plan
from seamline.train.plan.node_rows import node_row
from seamline.train.plan.types import MAX_NAME, NodeKind, Plan, PlannedGroup, PlannedLoop, find_node
from seamline.train.record import RUNNABLE
from seamline.train.results import UPSTREAM
from seamline.train.rows import TASKS
from seamline.train.runs import find_run_row, find_task_row
from seamline.train.views.events import sentence_of
from seamline.train.views.following import say_item
from seamline.train.views.run import edges

#: A longer item of a loop is not shown.
MAX_ITEM = 2_000
_COLUMNS = (
    *("name", "parent", "kind", "component", "display_name", "items", "item_index"),
    *("state", "fidelity", "cached_run_id", "cached_task", "attempt", "failures"),
    *("started_at", "ended_at", "wall_s"),
)
_AT_ONCE = 500
_INDEX = re.compile(r"\[\d+\]")
_STEP_ENDS = re.compile(r"\[\d+\]|/|$")


def show_trail(stores: Stores, run_id: str, name: str) -> list[dict[str, Any]]:
    """The node, after the groups, loops and iterations that it is in, from the outside in."""
    if len(name) > MAX_NAME:
        raise not_found(f"task of run {run_id}", f"{name[:60]}…", [])
    names = [name[: match.start()] or name for match in _STEP_ENDS.finditer(name)]
    names += [name[: match.end()] for match in _INDEX.finditer(name)]
    with stores.db.read() as connection:
        find_run_row(connection, run_id)
        found = rows_named(connection, run_id, set(names))
        if name not in found:
            find_task_row(connection, run_id, name)  # tells the nearest
    return [show_row(found[one]) for one in sorted(found, key=len)]


def show_scope(stores: Stores, run_id: str, within: str | None = None) -> dict[str, Any]:
    """The nodes and edges of the outermost scope, of an iteration, or of a group; loops closed.

    Of an iteration that has not begun, its nodes as planned (`is_planned`).
    """
    with stores.db.read() as connection:
        run = find_run_row(connection, run_id)
        plan, prefix, group = _find_scope(load_plan(stores, run.pipeline_digest), within)
        inside = f"{group}/" if group else ""
        planned = {
            prefix + name: node_row(prefix.removesuffix("/"), position, node)
            for position, (name, node) in enumerate(plan.nodes.items())
            if name.startswith(inside)
        }
        found = rows_named(connection, run_id, planned)
    return {
        "within": within,
        "nodes": [
            show_row(found[name]) if name in found else _show_planned(row)
            for name, row in planned.items()
        ],
        "edges": [
            {"from": prefix + source, "to": prefix + target}
            for source, target in edges(plan)
            if source.startswith(inside) and target.startswith(inside)
        ],
    }


def _find_scope(plan: Plan, within: str | None) -> tuple[Plan, str, str]:
    """The scope, what its nodes' names begin with, and the group in it that is meant."""
    if within is None:
        return plan, "", ""
    scope, node = find_node(plan, within)
    if isinstance(node, PlannedLoop) and within.endswith("]"):
        return node.body, f"{within}/", ""
    if not isinstance(node, PlannedGroup):
        raise not_found("group or iteration", within, [])
    return scope, within.removesuffix(node.name), node.name


# -- what failed -------------------------------------------------------------------------------


def show_failures(stores: Stores, run_id: str, limit: int) -> dict[str, Any]:
    """What failed by itself, the first first; `total` counts it all."""
    failed = (TASKS.c.run_id == run_id) & (TASKS.c.state == TaskState.FAILED)
    query = select(TASKS.c.name, TASKS.c.error, TASKS.c.ended_at).where(failed)
    holders = TASKS.c.kind.in_((NodeKind.DAG, NodeKind.LOOP))
    by_time = (TASKS.c.ended_at, TASKS.c.name)
    with stores.db.read() as connection:
        tasks = TASKS.c.kind.in_(RUNNABLE)
        total = connection.execute(select(func.count()).where(failed, tasks)).scalar_one()
        rows = [
            row
            for row in connection.execute(query.where(holders).order_by(*by_time))
            if row.error and json.loads(row.error)["kind"] != UPSTREAM
        ]
        total += len(rows)
        rows += connection.execute(query.where(tasks).order_by(*by_time).limit(limit)).all()
        rows = sorted(rows, key=lambda row: (row.ended_at or "", row.name))[:limit]
        places = {row.name: iterations_of(row.name) for row in rows}
        wanted = {place for each in places.values() for place in each}
        items = dict(values_named(connection, run_id, wanted, short_item()))
    return {
        "total": total,
        "first": [
            {
                "name": row.name,
                "sentence": sentence_of(row.error),
                "iteration": places[row.name][-1] if places[row.name] else None,
                "item": " · ".join(say_item(item_of(items.get(one))) for one in places[row.name]),
            }
            for row in rows
        ],
    }


def iterations_of(path: str) -> list[str]:
    """The iterations that a node is in, from the outside in.

    >>> iterations_of("a/loop-1[3]/loop-2[0]/fit"), iterations_of("loop-1[3]"), iterations_of("fit")
    (['a/loop-1[3]', 'a/loop-1[3]/loop-2[0]'], [], [])
    """
    return [path[: match.end()] for match in _INDEX.finditer(path) if match.end() < len(path)]


# -- rows --------------------------------------------------------------------------------------


def short_item() -> ColumnElement[str]:
    return case((func.length(TASKS.c.item) <= MAX_ITEM, TASKS.c.item)).label("item")


def item_of(text: str | None) -> Any:
    return json.loads(text) if text is not None else None


def rows_named(connection: Connection, run_id: str, names: Iterable[str]) -> dict[str, Row[Any]]:
    has_log = TASKS.c.log_path.is_not(None).label("has_log")
    columns: list[Any] = [*(TASKS.c[name] for name in _COLUMNS), short_item(), has_log]
    query = select(*columns).where(TASKS.c.run_id == run_id)
    return {
        row.name: row
        for chunk in _chunks(names)
        for row in connection.execute(query.where(TASKS.c.name.in_(chunk)))
    }


def values_named(
    connection: Connection, run_id: str, names: Iterable[str], column: ColumnElement[Any]
) -> Iterator[tuple[str, Any]]:
    query = select(TASKS.c.name, column).where(TASKS.c.run_id == run_id)
    for chunk in _chunks(names):
        yield from (tuple(row) for row in connection.execute(query.where(TASKS.c.name.in_(chunk))))


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    listed = list(names)
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]


def show_row(row: Row[Any]) -> dict[str, Any]:
    shown = dict(row._mapping)
    run_id, task = shown.pop("cached_run_id"), shown.pop("cached_task")
    return {
        **shown,
        "item": item_of(row.item),
        "cached_from": {"run_id": run_id, "task": task} if run_id else None,
        "has_log": bool(row.has_log),
        "is_planned": False,
    }


def _show_planned(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of a node that has no row yet."""
    shown = {name: row.get(name) for name in _COLUMNS if not name.startswith("cached_")}
    return {
        **shown,
        "kind": str(row["kind"]),
        "item": None,
        "cached_from": None,
        "has_log": False,
        "is_planned": True,
    }
