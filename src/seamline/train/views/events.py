"""What happened in a run, in order, and how far somebody has read of it."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from seamline.domain.errors import InvalidInput
from seamline.domain.facts import RunEnded, RunRetried, RunStarted, TaskEnded
from seamline.domain.states import TaskState
from seamline.store.facts import RecordedFact, read_facts
from seamline.train.results import TaskProblem
from seamline.train.rows import ATTEMPTS, TASKS

_KINDS = (RunStarted.kind, RunRetried.kind, TaskEnded.kind, RunEnded.kind)


@dataclass(frozen=True)
class Bookmark:
    """How far somebody has read, and how the run looked then."""

    #: `seq` of the last fact.
    fact: int = 0
    #: How many of the attempts that others followed.
    attempts: int = 0
    stamp: str = ""

    def __str__(self) -> str:
        return f"{self.fact}.{self.attempts}.{self.stamp}"


def read_bookmark(text: str) -> Bookmark:
    """
    >>> read_bookmark("12.1.ab") == Bookmark(12, 1, "ab")
    True
    """
    match = re.fullmatch(r"(\d{1,15})\.(\d{1,9})\.([0-9a-f]{0,64})", text)
    if match is None:
        raise InvalidInput(
            f"{text!r} is no cursor.", next_step="Send the last answer's, or none for all."
        )
    return Bookmark(int(match[1]), int(match[2]), match[3])


@dataclass(frozen=True)
class Event:
    at: str
    source: RecordedFact | Row[Any]


def read_events(
    connection: Connection, run_id: str, after: Bookmark, limit: int
) -> Iterator[Event]:
    """Of both sources, by time; one more than `limit` where there are more."""
    facts = read_facts(connection, kinds=_KINDS, subject=run_id, after=after.fact, limit=limit + 1)
    attempts = connection.execute(
        select(ATTEMPTS)
        .where(ATTEMPTS.c.run_id == run_id)
        .order_by(ATTEMPTS.c.ended_at, ATTEMPTS.c.task, ATTEMPTS.c.attempt)
        .offset(after.attempts)
        .limit(limit + 1)
    ).all()
    return heapq.merge(
        (Event(fact.at, fact) for fact in facts),
        (Event(row.ended_at, row) for row in attempts),
        key=lambda event: event.at,
    )


def before_newest(connection: Connection, run_id: str, limit: int) -> Bookmark:
    """Behind all but the last events."""
    last = read_facts(connection, kinds=_KINDS, subject=run_id, limit=limit + 1, newest_first=True)
    count = select(func.count()).select_from(ATTEMPTS).where(ATTEMPTS.c.run_id == run_id)
    attempts = int(connection.execute(count).scalar_one())
    fact = last[-1].seq if len(last) > limit else 0
    return Bookmark(fact, attempts)


def reached(before: Bookmark, page: Iterable[Event], stamp: str) -> Bookmark:
    fact, attempts = before.fact, before.attempts
    for event in page:
        if isinstance(event.source, RecordedFact):
            fact = max(fact, event.source.seq)
        else:
            attempts += 1
    return Bookmark(fact, attempts, stamp)


def show_events(connection: Connection, run_id: str, page: Sequence[Event]) -> list[dict[str, Any]]:
    names = {
        event.source.body["task"]
        for event in page
        if isinstance(event.source, RecordedFact) and event.source.kind == TaskEnded.kind
    }
    rows = {row.name: row for row in _rows_named(connection, run_id, names)}
    return [
        _show_fact(event.source, rows)
        if isinstance(event.source, RecordedFact)
        else _show_attempt(event.source)
        for event in page
    ]


def _rows_named(connection: Connection, run_id: str, names: Collection[str]) -> Iterator[Row[Any]]:
    columns = ("name", "kind", "state", "attempt", "wall_s", "cached_run_id")
    query = select(*(TASKS.c[name] for name in columns)).where(TASKS.c.run_id == run_id)
    listed = sorted(names)
    for start in range(0, len(listed), 500):
        yield from connection.execute(query.where(TASKS.c.name.in_(listed[start : start + 500])))


def _show_fact(fact: RecordedFact, rows: Mapping[str, Row[Any]]) -> dict[str, Any]:
    if fact.kind != TaskEnded.kind:
        state = {RunStarted.kind: "running", RunRetried.kind: "retried"}.get(fact.kind)
        return _event(fact.at, None, state or fact.body["state"])
    body, row = fact.body, rows.get(fact.body["task"])
    # A task that was done again since has other figures now than it had then.
    is_same = row is not None and (row.state, row.attempt) == (body["state"], body["attempt"])
    return _event(
        fact.at,
        body["task"],
        body["state"],
        attempt=body["attempt"],
        wall_s=row.wall_s if row is not None and is_same else None,
        cached_from=row.cached_run_id if row is not None and is_same else None,
        sentence=body["reason"],
    )


def _show_attempt(row: Row[Any]) -> dict[str, Any]:
    return _event(
        row.ended_at,
        row.task,
        TaskState.FAILED.value,
        attempt=row.attempt,
        sentence=sentence_of(row.error),
        goes_again=True,
    )


def _event(at: str, task: str | None, state: str, **more: Any) -> dict[str, Any]:
    """`task`: None for what happened to the run itself."""
    plain = {"attempt": 0, "wall_s": None, "cached_from": None, "sentence": "", "goes_again": False}
    return {"at": at, "task": task, "state": state, **plain, **more}


def sentence_of(error: str | None) -> str:
    """Of a problem as a row keeps it."""
    return TaskProblem(**json.loads(error)).sentence if error else ""
