"""What a follower of a run is told: how far it is, and what happened since they last asked.

Bounded, however large the run is: counts, what runs, what failed last, and a page of events.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, select

from seamline.domain.clock import iso
from seamline.domain.digests import digest_of
from seamline.domain.states import TaskState
from seamline.store.schema import FACTS
from seamline.store.stores import Stores
from seamline.train.plan.types import NodeKind
from seamline.train.record import RUNNABLE
from seamline.train.results import UPSTREAM
from seamline.train.rows import RUNS, TASKS
from seamline.train.runs import find_run_row
from seamline.train.views.events import (
    Bookmark,
    before_newest,
    reached,
    read_events,
    sentence_of,
    show_events,
)

#: So many running tasks, waiting retries, failures and nodes are named; the rest is counted.
MOST_RUNNING, MOST_RETRYING, MOST_FAILED, MOST_NODES = 50, 10, 20, 60
#: Of the run's row: nothing that its size depends on.
_TOLD = (
    *("id", "display_name", "pipeline", "environment", "team", "state", "fidelity"),
    *("requested_by", "created_at", "started_at", "ended_at", "cancel_requested_by"),
)
_INDEX = re.compile(r"\[\d+\]")
_ITERATION = re.compile(r"^.*?\[\d+\]")
_LABEL_LENGTH = 60


def stamps_of(stores: Stores, run_ids: Collection[str]) -> dict[str, str]:
    """Run → what changes with each change that a follower would be told of."""
    with stores.db.read() as connection:
        return _stamps(connection, run_ids)


def show_progress(
    stores: Stores,
    run_id: str,
    bookmark: Bookmark | None = None,
    *,
    newest: bool = False,
    limit: int = 200,
) -> dict[str, Any]:
    """The run, and its events since the bookmark: ends of tasks and attempts, in order.

    `newest`: of them only the last, when there are more than `limit`. `has_more`: there are, and
    `cursor` leads to them.
    """
    read = bookmark or Bookmark()
    with stores.db.read() as connection:
        row = find_run_row(connection, run_id)
        stamp = _stamps(connection, [run_id])[run_id]
        taken = before_newest(connection, run_id, limit) if newest else None
        events = read_events(connection, run_id, taken or read, limit)
        page = list(islice(events, limit))
        shown = show_events(connection, run_id, page)
        has_more = next(events, None) is not None
        described = {
            "tasks": _count_tasks(connection, run_id),
            "loops": _loops(connection, run_id),
            "nodes": _nodes(connection, run_id),
            "running": _running(connection, run_id),
            "retrying": _retrying(connection, run_id),
            "failed": _failed(connection, run_id),
        }
        return {
            **{name: getattr(row, name) for name in _TOLD},
            "sentence": row.error or "",
            "options": json.loads(row.options),
            "notes": json.loads(row.notes),
            "now": iso(stores.clock.now()),
            **described,
            "events": shown,
            "has_more": has_more,
            "cursor": str(reached(taken or read, page, stamp)),
        }


def _stamps(connection: Connection, run_ids: Collection[str]) -> dict[str, str]:
    ids = list(run_ids)
    runs = select(RUNS.c.id, RUNS.c.state, RUNS.c.cancel_requested_by).where(RUNS.c.id.in_(ids))
    looks: dict[str, list[Any]] = {row.id: list(row) for row in connection.execute(runs)}
    facts = (
        select(FACTS.c.subject, func.max(FACTS.c.seq))
        .where(FACTS.c.subject.in_(ids))
        .group_by(FACTS.c.subject)
    )
    for subject, seq in connection.execute(facts):
        if subject in looks:
            looks[subject].append(seq)
    going = (
        select(TASKS.c.run_id, TASKS.c.name, TASKS.c.attempt)
        .where(TASKS.c.run_id.in_(ids), TASKS.c.state == TaskState.RUNNING)
        .where(TASKS.c.kind.in_(RUNNABLE))
        .order_by(TASKS.c.run_id, TASKS.c.name)
    )
    for row in connection.execute(going):
        looks[row.run_id].append((row.name, row.attempt))
    return {run_id: digest_of(repr(look).encode())[7:23] for run_id, look in looks.items()}


@dataclass
class _Loop:
    iterations: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    opened: set[str] = field(default_factory=set)


def _count_tasks(connection: Connection, run_id: str) -> dict[str, int]:
    query = (
        select(TASKS.c.state, func.count())
        .where(TASKS.c.run_id == run_id, TASKS.c.kind.in_(RUNNABLE))
        .group_by(TASKS.c.state)
    )
    return {state: int(count) for state, count in connection.execute(query)}


def _loops(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """Iterations and tasks by state, and how many iterations have tasks yet; loops inside of loops
    are counted together ("outer[]/inner")."""
    own = (TASKS.c.run_id == run_id) & TASKS.c.parent.is_not(None)
    query = select(TASKS.c.parent, TASKS.c.state, func.count()).group_by(
        TASKS.c.parent, TASKS.c.state
    )
    loops: dict[str, _Loop] = {}
    for parent, state, count in connection.execute(
        query.where(own, TASKS.c.kind == NodeKind.ITERATION).order_by(TASKS.c.parent)
    ):
        loops.setdefault(_INDEX.sub("[]", parent), _Loop()).iterations[state] += int(count)
    inside = TASKS.c.parent.contains("[", autoescape=True)
    for parent, state, count in connection.execute(
        query.where(own, inside, TASKS.c.kind.in_(RUNNABLE))
    ):
        for index in _INDEX.finditer(parent):
            loop = loops[_INDEX.sub("[]", parent[: index.start()])]
            loop.tasks[state] += int(count)
            loop.opened.add(parent[: index.end()])
    return [
        {
            "name": name,
            "iterations": dict(loop.iterations),
            "opened": len(loop.opened),
            "tasks": dict(loop.tasks),
        }
        for name, loop in loops.items()
    ]


def _nodes(connection: Connection, run_id: str) -> list[dict[str, Any]] | None:
    """Of the outermost scope, in the plan's order; None when there are many."""
    columns = ("name", "parent", "kind", "display_name", "state", "attempt", "items")
    more = ("started_at", "ended_at", "wall_s", "cached_run_id", "fidelity", "error")
    rows = connection.execute(
        select(*(TASKS.c[name] for name in (*columns, *more)))
        .where(TASKS.c.run_id == run_id, ~TASKS.c.name.contains("[", autoescape=True))
        .order_by(TASKS.c.position)
        .limit(MOST_NODES + 1)
    ).all()
    if len(rows) > MOST_NODES:
        return None
    return [{**row._mapping, "error": sentence_of(row.error) or None} for row in rows]


def _running(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """The first that started, first."""
    columns = ("name", "display_name", "attempt", "started_at", "fidelity")
    rows = connection.execute(
        select(*(TASKS.c[name] for name in columns))
        .where(TASKS.c.run_id == run_id, TASKS.c.state == TaskState.RUNNING)
        .where(TASKS.c.kind.in_(RUNNABLE))
        .order_by(TASKS.c.started_at, TASKS.c.name)
        .limit(MOST_RUNNING)
    ).all()
    labels = _labels(connection, run_id, [row.name for row in rows])
    return [{**row._mapping, "item": labels.get(row.name)} for row in rows]


def _retrying(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """Tasks that failed and go again once their time has come."""
    rows = connection.execute(
        select(TASKS.c.name, TASKS.c.attempt, TASKS.c.error)
        .where(TASKS.c.run_id == run_id, TASKS.c.state == TaskState.PENDING)
        .where(TASKS.c.kind.in_(RUNNABLE), TASKS.c.error.is_not(None))
        .order_by(TASKS.c.name)
        .limit(MOST_RETRYING)
    )
    return [
        {"name": row.name, "attempt": row.attempt, "sentence": sentence_of(row.error)}
        for row in rows
    ]


def _failed(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """What failed by itself, the last first; of groups and loops only those outside of loops."""
    failed = (TASKS.c.run_id == run_id) & (TASKS.c.state == TaskState.FAILED)
    query = select(TASKS.c.name, TASKS.c.attempt, TASKS.c.ended_at, TASKS.c.error).where(failed)
    query = query.order_by(TASKS.c.ended_at.desc(), TASKS.c.name)
    tasks = query.where(TASKS.c.kind.in_(RUNNABLE)).limit(MOST_FAILED)
    holders = query.where(
        TASKS.c.kind.in_((NodeKind.DAG, NodeKind.LOOP)),
        ~TASKS.c.name.contains("[", autoescape=True),
    ).limit(MOST_NODES)
    rows = [row for row in connection.execute(holders) if _kind_of(row.error) != UPSTREAM]
    rows += connection.execute(tasks).all()
    labels = _labels(connection, run_id, [row.name for row in rows])
    return [
        {
            "name": row.name,
            "attempt": row.attempt,
            "ended_at": row.ended_at,
            "sentence": sentence_of(row.error),
            "item": labels.get(row.name),
        }
        for row in rows[:MOST_FAILED]
    ]


def _labels(connection: Connection, run_id: str, names: Sequence[str]) -> dict[str, str]:
    """Task → the item of the outermost iteration that it is in, as people read it."""
    places = {name: match[0] for name in names if (match := _ITERATION.match(name))}
    items = select(TASKS.c.name, TASKS.c.item).where(
        TASKS.c.run_id == run_id, TASKS.c.name.in_(sorted(set(places.values())))
    )
    shown = {
        row.name: say_item(json.loads(row.item or "null")) for row in connection.execute(items)
    }
    return {name: shown[place] for name, place in places.items() if place in shown}


def say_item(item: Any) -> str:
    """
    >>> say_item({"origin": "JFK", "days": 3}), say_item("a.csv"), say_item(2.0)
    ('origin=JFK, days=3', 'a.csv', '2.0')
    """
    if isinstance(item, dict):
        text = ", ".join(f"{name}={_plain(value)}" for name, value in item.items())
    else:
        text = _plain(item)
    text = " ".join(text.split())
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}…"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _kind_of(error: str | None) -> str:
    return str(json.loads(error)["kind"]) if error else ""
