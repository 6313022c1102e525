"""Runs and their tasks as lists: filtered, sorted and paged in the database; no plan is read."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    false,
    func,
    literal,
    or_,
    select,
)

from seamline.domain.clock import from_iso
from seamline.domain.errors import InvalidInput, nearest, not_found
from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.store.stores import Stores
from seamline.train.options import RunOptions, read_options
from seamline.train.rows import ARTIFACTS, RUNS, TASKS

GOING = [state.value for state in RunState if not is_terminal(state)]
#: How a run that is asked to end shows until it has.
CANCELING = "canceling"


class Storage(StrEnum):
    AVAILABLE = "available"
    ARCHIVED = "archived"
    #: Hidden; its facts and results stay.
    DELETED = "deleted"


class Comparison(StrEnum):
    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    GREATER_THAN = "greater_than"
    GREATER_THAN_EQUALS = "greater_than_equals"
    LESS_THAN = "less_than"
    LESS_THAN_EQUALS = "less_than_equals"
    IN = "in"
    NOT_IN = "not_in"
    IS_SUBSTRING = "is_substring"


@dataclass(frozen=True)
class Condition:
    """Times are compared as ISO text; a part of a text is looked for without regard to case."""

    column: str
    comparison: Comparison
    #: A list for IN and NOT_IN.
    value: Any


@dataclass(frozen=True)
class Order:
    column: str
    is_descending: bool = False


BY_CREATION = Order("created_at")


@dataclass(frozen=True)
class Cursor:
    """The last row of the page before: its value in the order's column, and its id."""

    value: str
    id: str


@dataclass(frozen=True)
class Drawer:
    """An experiment, as runs know it."""

    id: str
    #: Of a Default one: runs of this environment that are filed nowhere are in it, too.
    also_unfiled_of: str | None = None

    def clauses(self) -> list[ColumnElement[bool]]:
        """Any of which makes a run one of its own."""
        found = [RUNS.c.experiment_id == self.id]
        if self.also_unfiled_of is not None:
            unfiled = RUNS.c.experiment_id.is_(None)
            found.append(and_(RUNS.c.environment == self.also_unfiled_of, unfiled))
        return found


@dataclass(frozen=True)
class RunRecord:
    id: str
    display_name: str
    pipeline: str
    pipeline_digest: str
    environment: str
    team: str
    arguments: Mapping[str, Any]
    options: RunOptions
    state: RunState
    storage: Storage
    experiment_id: str | None
    schedule_id: str | None
    scheduled_for: str | None
    reference: str | None
    requested_by: str
    cancel_requested_by: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    error: str | None


@dataclass(frozen=True)
class RunPage:
    runs: Sequence[RunRecord]
    total: int
    #: None: this is the last page.
    next: Cursor | None


@dataclass(frozen=True)
class TaskRecord:
    """A task, or a group of tasks; `name` is its path in the run."""

    name: str
    parent: str | None
    kind: str
    display_name: str
    item_index: int | None
    state: TaskState
    started_at: str | None
    ended_at: str | None
    inputs: Mapping[str, Any]
    #: A `TaskProblem` as JSON.
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class MadeArtifact:
    id: str
    task: str
    output: str


def shown_state() -> ColumnElement[str]:
    """A run's state, or CANCELING between the request and the end."""
    is_canceling = and_(RUNS.c.state.in_(GOING), RUNS.c.cancel_requested_by.is_not(None))
    return case((is_canceling, literal(CANCELING)), else_=RUNS.c.state)


def _columns() -> dict[str, ColumnElement[str]]:
    """What runs can be filtered and sorted by; null sorts as empty text."""
    plain = ("id", "display_name", "pipeline", "environment", "storage", "experiment_id")
    more = (
        "pipeline_digest",
        "schedule_id",
        "requested_by",
        "created_at",
        "scheduled_for",
        "started_at",
        "ended_at",
    )
    found: dict[str, ColumnElement[str]] = {
        name: func.coalesce(RUNS.c[name], "") for name in (*plain, *more)
    }
    return {**found, "state": shown_state()}


def page_runs(
    stores: Stores,
    *,
    environment: str | None = None,
    drawer: Drawer | None = None,
    conditions: Sequence[Condition] = (),
    order: Order = BY_CREATION,
    after: Cursor | None = None,
    limit: int = 20,
) -> RunPage:
    """Runs that are not deleted."""
    columns = _columns()
    query = select(RUNS).where(RUNS.c.storage != Storage.DELETED)
    if environment is not None:
        query = query.where(RUNS.c.environment == environment)
    if drawer is not None:
        query = query.where(or_(*drawer.clauses()))
    for condition in conditions:
        query = query.where(_clause(_column(columns, condition.column), condition))
    sorted_by = _column(columns, order.column)
    with stores.db.read() as connection:
        counted = select(func.count()).select_from(query.subquery())
        total = int(connection.execute(counted).scalar_one())
        rows = _page(connection, query, sorted_by, order, after, limit)
    following = None
    if len(rows) > limit:
        last = rows[limit - 1]
        following = Cursor(last.sorted_by, last.id)
    return RunPage([_run(row) for row in rows[:limit]], total, following)


def _page(
    connection: Connection,
    query: Select[Any],
    sorted_by: ColumnElement[str],
    order: Order,
    after: Cursor | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """One row more than `limit`, when there is one."""
    query = query.add_columns(sorted_by.label("sorted_by"))
    if after is not None:
        same, beyond = sorted_by == after.value, sorted_by > after.value
        further = RUNS.c.id > after.id
        if order.is_descending:
            beyond, further = sorted_by < after.value, RUNS.c.id < after.id
        query = query.where(or_(beyond, and_(same, further)))
    by_id = RUNS.c.id
    if order.is_descending:
        query = query.order_by(sorted_by.desc(), by_id.desc())
    else:
        query = query.order_by(sorted_by, by_id)
    return connection.execute(query.limit(limit + 1)).all()


def _column(columns: Mapping[str, ColumnElement[str]], name: str) -> ColumnElement[str]:
    if name not in columns:
        raise InvalidInput(f"Runs have no {name!r}.", next_step=nearest(name, columns))
    return columns[name]


def _clause(column: ColumnElement[str], condition: Condition) -> ColumnElement[bool]:
    value = condition.value
    match condition.comparison:
        case Comparison.EQUALS:
            return column == str(value)
        case Comparison.NOT_EQUALS:
            return column != str(value)
        case Comparison.GREATER_THAN:
            return column > str(value)
        case Comparison.GREATER_THAN_EQUALS:
            return column >= str(value)
        case Comparison.LESS_THAN:
            return column < str(value)
        case Comparison.LESS_THAN_EQUALS:
            return column <= str(value)
        case Comparison.IN | Comparison.NOT_IN:
            wanted = [str(one) for one in value]
            found = column.in_(wanted) if wanted else false()
            return found if condition.comparison is Comparison.IN else ~found
        case Comparison.IS_SUBSTRING:
            return func.lower(column).contains(str(value).lower(), autoescape=True)


def find_run(stores: Stores, run_id: str) -> RunRecord:
    """NotFound also for one that was deleted."""
    with stores.db.read() as connection:
        row = connection.execute(select(RUNS).where(RUNS.c.id == run_id)).one_or_none()
    if row is None or row.storage == Storage.DELETED:
        raise not_found("run", run_id)
    return _run(row)


def ended_among(stores: Stores, run_ids: Collection[str]) -> set[str]:
    """Those of them that have ended, or that there are not."""
    with stores.db.read() as connection:
        query = select(RUNS.c.id).where(RUNS.c.id.in_(run_ids), RUNS.c.state.in_(GOING))
        return set(run_ids) - set(connection.execute(query).scalars())


def list_task_records(stores: Stores, run_id: str) -> list[TaskRecord]:
    """In the plan's order; what is in a group follows it."""
    with stores.db.read() as connection:
        rows = connection.execute(select(TASKS).where(TASKS.c.run_id == run_id)).all()
    steps = {row.name: (row.parent, row.position) for row in rows}

    def place(name: str) -> list[int]:
        found: list[int] = []
        at: str | None = name
        while at in steps:
            at, position = steps[at]
            found.insert(0, position)
        return found

    return [_task(row) for row in sorted(rows, key=lambda row: place(row.name))]


def list_made_artifacts(stores: Stores, run_id: str) -> list[MadeArtifact]:
    columns = (ARTIFACTS.c.id, ARTIFACTS.c.task, ARTIFACTS.c.output)
    query = select(*columns).where(ARTIFACTS.c.run_id == run_id).order_by(ARTIFACTS.c.id)
    with stores.db.read() as connection:
        return [MadeArtifact(*row) for row in connection.execute(query)]


def newest_run_at(stores: Stores, experiments: Collection[Drawer]) -> dict[str, str]:
    """Experiment's id → when its newest run was created; those without a run are left out."""
    found: dict[str, str] = {}
    with stores.db.read() as connection:
        for drawer in experiments:
            newest = select(RUNS.c.created_at).order_by(RUNS.c.created_at.desc()).limit(1)
            for clause in drawer.clauses():
                at = connection.execute(newest.where(clause)).scalar_one_or_none()
                found[drawer.id] = max(at or "", found.get(drawer.id, ""))
    return {drawer: at for drawer, at in found.items() if at}


def count_going(stores: Stores, schedule_id: str) -> int:
    """How many runs of a schedule have not ended."""
    query = select(func.count()).where(RUNS.c.schedule_id == schedule_id, RUNS.c.state.in_(GOING))
    with stores.db.read() as connection:
        return int(connection.execute(query).scalar_one())


def latest_scheduled(stores: Stores, schedule_id: str) -> tuple[str | None, datetime | None]:
    """Of the run that the schedule requested last: its id, and the time it was due."""
    query = (
        select(RUNS.c.id, RUNS.c.scheduled_for)
        .where(RUNS.c.schedule_id == schedule_id, RUNS.c.scheduled_for.is_not(None))
        .order_by(RUNS.c.created_at.desc(), RUNS.c.scheduled_for.desc())
        .limit(1)
    )
    with stores.db.read() as connection:
        row = connection.execute(query).one_or_none()
    return (row.id, from_iso(row.scheduled_for)) if row else (None, None)


def _run(row: Row[Any]) -> RunRecord:
    names = RunRecord.__dataclass_fields__
    values = {name: value for name, value in row._mapping.items() if name in names}
    return RunRecord(
        **{
            **values,
            "arguments": json.loads(row.arguments),
            "options": read_options(json.loads(row.options)),
            "state": RunState(row.state),
            "storage": Storage(row.storage),
        }
    )


def _task(row: Row[Any]) -> TaskRecord:
    return TaskRecord(
        name=row.name,
        parent=row.parent,
        kind=row.kind,
        display_name=row.display_name,
        item_index=row.item_index,
        state=TaskState(row.state),
        started_at=row.started_at,
        ended_at=row.ended_at,
        inputs=json.loads(row.inputs) if row.inputs else {},
        error=json.loads(row.error) if row.error else None,
    )
