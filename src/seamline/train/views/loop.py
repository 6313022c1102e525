"""A loop of a run: every iteration with its item and what it came to, and the steps of some."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from seamline.domain.errors import not_found
from seamline.domain.states import TaskState
from seamline.store.stores import Stores
from seamline.train.plan.load import load_plan
from seamline.train.plan.types import NodeKind, Plan, PlannedGroup, PlannedLoop, find_node
from seamline.train.rows import TASKS
from seamline.train.runs import find_run_row, find_task_row
from seamline.train.views.events import sentence_of
from seamline.train.views.overview import item_of, rows_named, short_item, show_row, values_named
from seamline.train.views.run import edges


def show_loop(stores: Stores, run_id: str, loop: str) -> dict[str, Any]:
    """Every iteration with its item and what it came to; `steps` are the nodes of the body."""
    with stores.db.read() as connection:
        run = find_run_row(connection, run_id)
        row = rows_named(connection, run_id, [loop]).get(loop) or find_task_row(
            connection, run_id, loop
        )
        plan = load_plan(stores, run.pipeline_digest)
        node = find_node(plan, loop)[1]
        if not isinstance(node, PlannedLoop):
            raise not_found("loop", loop, _loops_of(plan))
        last = last_of(node.body)
        ends = _count_last(connection, run_id, loop, last)
        iterations = _iterations(connection, run_id, loop)
    return {
        **show_row(row),
        "parallelism": node.loop.parallelism,
        "steps": [
            {"name": one.name, "kind": one.kind.value, "display_name": one.display_name}
            for one in node.body.nodes.values()
            if not isinstance(one, PlannedGroup)
        ],
        "iterations": [
            {
                "index": one.item_index,
                "item": item_of(one.item),
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
    plain = ("item_index", "state", "started_at", "ended_at")
    columns = [*(TASKS.c[name] for name in plain), short_item()]
    query = (
        select(*columns)
        .where(TASKS.c.run_id == run_id, TASKS.c.parent == loop)
        .where(TASKS.c.kind == NodeKind.ITERATION)
        .order_by(TASKS.c.item_index)
    )
    return connection.execute(query).all()


def _count_last(
    connection: Connection, run_id: str, loop: str, last: Collection[str]
) -> dict[int, Counter[str]]:
    """Iteration → how many of its last tasks ended without a process, by state."""
    if not last:
        return {}
    without = (TaskState.NOT_TRIGGERED, TaskState.SKIPPED)
    start = f"{loop}["
    query = select(TASKS.c.name, TASKS.c.state).where(
        TASKS.c.run_id == run_id,
        TASKS.c.state.in_(without),
        TASKS.c.name.startswith(start, autoescape=True),
        or_(*(TASKS.c.name.endswith(f"]/{one}", autoescape=True) for one in sorted(last))),
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
        states = dict(values_named(connection, run_id, names, TASKS.c.state))
        causes = {
            path: json.loads(error)["cause"] or path
            for path, error in values_named(connection, run_id, paths.values(), TASKS.c.error)
            if error
        }
        problems = dict(values_named(connection, run_id, set(causes.values()), TASKS.c.error))
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


def _loops_of(plan: Plan, prefix: str = "") -> Iterator[str]:
    for node in plan.nodes.values():
        if isinstance(node, PlannedLoop):
            yield prefix + node.name
            yield from _loops_of(node.body, f"{prefix}{node.name}/")
