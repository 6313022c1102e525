"""Parts of a run, for those who look at one at a time: many rows, few columns of each.

What tasks were called with and what they made is left out: of a large run that is megabytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, select

from seamline.domain.errors import not_found
from seamline.domain.states import TaskState
from seamline.store.stores import Stores
from seamline.train.following import say_item
from seamline.train.node_rows import node_row
from seamline.train.plan import NodeKind, Plan, PlannedGroup, PlannedLoop, find_node
from seamline.train.plans import load_plan
from seamline.train.record import RUNNABLE
from seamline.train.results import UPSTREAM
from seamline.train.rows import RUNS, TASKS
from seamline.train.run_events import sentence_of
from seamline.train.runs import find_run_row, find_task_row
from seamline.train.views import edges

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


def count_tasks(stores: Stores, run_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Run → state → how many of its tasks; iterations that have not begun have none yet."""
    counts: dict[str, dict[str, int]] = {run_id: {} for run_id in run_ids}
    query = (
        select(TASKS.c.run_id, TASKS.c.state, func.count().label("tasks"))
        .where(TASKS.c.run_id.in_(run_ids), TASKS.c.kind.in_(RUNNABLE))
        .group_by(TASKS.c.run_id, TASKS.c.state)
    )
    with stores.db.read() as connection:
        for row in connection.execute(query):
            counts[row.run_id][row.state] = row.tasks
    return counts


def list_pipelines_run(stores: Stores) -> list[str]:
    """The names of all pipelines that have ever run, in order."""
    with stores.db.read() as connection:
        query = select(RUNS.c.pipeline).distinct().order_by(RUNS.c.pipeline)
        return list(connection.execute(query).scalars())


def show_trail(stores: Stores, run_id: str, name: str) -> list[dict[str, Any]]:
    """The node, after the groups, loops and iterations that it is in, from the outside in."""
    names = [name[: match.start()] or name for match in _STEP_ENDS.finditer(name)]
    names += [name[: match.end()] for match in _INDEX.finditer(name)]
    with stores.db.read() as connection:
        find_run_row(connection, run_id)
        found = _rows(connection, run_id, set(names))
        if name not in found:
            find_task_row(connection, run_id, name)  # tells the nearest
    return [_show(found[one]) for one in sorted(found, key=len)]


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
        found = _rows(connection, run_id, planned)
    return {
        "within": within,
        "nodes": [
            _show(found[name]) if name in found else _show_planned(row)
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


# -- loops -------------------------------------------------------------------------------------


def show_loop(stores: Stores, run_id: str, loop: str) -> dict[str, Any]:
    """Every iteration with its item and what it came to; `steps` are the nodes of the body."""
    with stores.db.read() as connection:
        run = find_run_row(connection, run_id)
        row = _rows(connection, run_id, [loop]).get(loop) or find_task_row(connection, run_id, loop)
        plan = load_plan(stores, run.pipeline_digest)
        node = find_node(plan, loop)[1]
        if not isinstance(node, PlannedLoop):
            raise not_found("loop", loop, _loops_of(plan))
        last = last_of(node.body)
        ends = _count_last(connection, run_id, loop, last)
        iterations = _iterations(connection, run_id, loop)
    return {
        **_show(row),
        "parallelism": node.loop.parallelism,
        "steps": [
            {"name": one.name, "kind": one.kind.value, "display_name": one.display_name}
            for one in node.body.nodes.values()
            if not isinstance(one, PlannedGroup)
        ],
        "iterations": [
            {
                "index": one.item_index,
                "item": _item(one.item),
                "state": one.state,
                "outcome": decide_outcome(
                    one.state, len(last), ends.get(one.item_index, Counter())
                ),
                "started_at": one.started_at,
                "ended_at": one.ended_at,
            }
            for one in iterations
        ],
    }


def last_of(body: Plan) -> frozenset[str]:
    """The tasks and loops of a scope that nothing in it waits for."""
    leaves = {name for name, node in body.nodes.items() if not isinstance(node, PlannedGroup)}
    return frozenset(leaves - {source for source, _ in edges(body)})


def decide_outcome(state: str, last: int, ends: Mapping[str, int]) -> str:
    """What an iteration came to. One that succeeded with none of its last tasks triggered was left
    out by a condition; one whose last tasks stand in from the cache did no work.

    `last`: how many last tasks there are. `ends`: how many of them ended without a process.

    >>> decide_outcome("succeeded", 1, {"not_triggered": 1})
    'not_triggered'
    >>> decide_outcome("succeeded", 2, {"not_triggered": 1, "skipped": 1})
    'skipped'
    >>> decide_outcome("succeeded", 2, {"not_triggered": 1}), decide_outcome("failed", 1, {})
    ('succeeded', 'failed')
    """
    left_out, cached = (ends.get(one, 0) for one in (TaskState.NOT_TRIGGERED, TaskState.SKIPPED))
    if state != TaskState.SUCCEEDED or left_out + cached < max(1, last):
        return state
    return TaskState.SKIPPED.value if cached else TaskState.NOT_TRIGGERED.value


def _iterations(connection: Connection, run_id: str, loop: str) -> Sequence[Row[Any]]:
    columns = [TASKS.c[name] for name in ("item_index", "state", "started_at", "ended_at")]
    query = (
        select(*columns, _short_item())
        .where(TASKS.c.run_id == run_id, TASKS.c.parent == loop)
        .where(TASKS.c.kind == NodeKind.ITERATION)
        .order_by(TASKS.c.item_index)
    )
    return connection.execute(query).all()


def _count_last(
    connection: Connection, run_id: str, loop: str, last: Collection[str]
) -> dict[int, Counter[str]]:
    """Iteration → how many of its last tasks ended without a process, by state."""
    without = (TaskState.NOT_TRIGGERED, TaskState.SKIPPED)
    start = f"{loop}["
    query = select(TASKS.c.name, TASKS.c.state).where(
        TASKS.c.run_id == run_id,
        TASKS.c.state.in_(without),
        TASKS.c.name.startswith(start, autoescape=True),
    )
    counts: dict[int, Counter[str]] = {}
    for name, state in connection.execute(query):
        index, _, inner = name[len(start) :].partition("]/")
        if inner in last:
            counts.setdefault(int(index), Counter())[state] += 1
    return counts


def show_steps(
    stores: Stores, run_id: str, loop: str, indexes: Sequence[int], steps: Sequence[str]
) -> list[dict[str, Any]]:
    """Of each iteration: its steps' states, as far as they are known, and what failed in it."""
    paths = {index: f"{loop}[{index}]" for index in indexes}
    with stores.db.read() as connection:
        names = (f"{path}/{step}" for path in paths.values() for step in steps)
        states = dict(_values(connection, run_id, names, TASKS.c.state))
        causes = {
            path: json.loads(error)["cause"] or path
            for path, error in _values(connection, run_id, paths.values(), TASKS.c.error)
            if error
        }
        problems = dict(_values(connection, run_id, set(causes.values()), TASKS.c.error))
    return [
        {
            "index": index,
            "steps": {
                step: states[f"{path}/{step}"] for step in steps if f"{path}/{step}" in states
            },
            "problem": {"task": causes[path], "sentence": sentence_of(problems.get(causes[path]))}
            if path in causes
            else None,
        }
        for index, path in paths.items()
    ]


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
        places = {row.name: iteration_of(row.name) for row in rows}
        wanted = [place for place in places.values() if place]
        items = dict(_values(connection, run_id, wanted, _short_item()))
    return {
        "total": total,
        "first": [
            {
                "name": row.name,
                "sentence": sentence_of(row.error),
                "iteration": places[row.name],
                "item": say_item(_item(items.get(places[row.name]))) if places[row.name] else "",
            }
            for row in rows
        ],
    }


def iteration_of(path: str) -> str:
    """The innermost iteration that a node is in; "" outside of loops.

    >>> iteration_of("a/loop-1[3]/loop-2[0]/fit"), iteration_of("loop-1[3]"), iteration_of("fit")
    ('a/loop-1[3]/loop-2[0]', '', '')
    """
    return path[: path.rfind("]/") + 1]


# -- rows --------------------------------------------------------------------------------------


def _short_item() -> ColumnElement[str]:
    return case((func.length(TASKS.c.item) <= MAX_ITEM, TASKS.c.item)).label("item")


def _item(text: str | None) -> Any:
    return json.loads(text) if text is not None else None


def _rows(connection: Connection, run_id: str, names: Iterable[str]) -> dict[str, Row[Any]]:
    columns = [*(TASKS.c[name] for name in _COLUMNS), _short_item()]
    query = select(*columns, TASKS.c.log_path.is_not(None).label("has_log"))
    query = query.where(TASKS.c.run_id == run_id)
    return {
        row.name: row
        for chunk in _chunks(names)
        for row in connection.execute(query.where(TASKS.c.name.in_(chunk)))
    }


def _values(
    connection: Connection, run_id: str, names: Iterable[str], column: ColumnElement[Any]
) -> Iterator[tuple[str, Any]]:
    query = select(TASKS.c.name, column).where(TASKS.c.run_id == run_id)
    for chunk in _chunks(names):
        yield from (tuple(row) for row in connection.execute(query.where(TASKS.c.name.in_(chunk))))


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    listed = list(names)
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]


def _show(row: Row[Any]) -> dict[str, Any]:
    shown = dict(row._mapping)
    run_id, task = shown.pop("cached_run_id"), shown.pop("cached_task")
    return {
        **shown,
        "item": _item(row.item),
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


def _loops_of(plan: Plan, prefix: str = "") -> Iterator[str]:
    for node in plan.nodes.values():
        if isinstance(node, PlannedLoop):
            yield prefix + node.name
            yield from _loops_of(node.body, f"{prefix}{node.name}/")
