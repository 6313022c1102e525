"""Schedules as rows and facts: create, find, pause, resume, delete, and how far they have come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from seamline.domain.clock import from_iso, iso, new_id
from seamline.domain.errors import Conflict, InvalidInput, not_found
from seamline.domain.facts import ScheduleChanged, ScheduleCreated, ScheduleSkipped
from seamline.store.stores import Stores
from seamline.train.options import DEFAULT_OPTIONS, RunOptions, options_json, read_options
from seamline.train.schedule.due import Decision, MissedPolicy, Timing
from seamline.train.schedule.rhythm import read_rhythm
from seamline.train.schedule.rows import SCHEDULES

MAX_CONCURRENCY = 100
MAX_NAME = 200


@dataclass(frozen=True)
class PipelineChoice:
    """A digest pins it; a package with a tag follows the tag; a package alone its latest version.

    A package beside a digest is what the pinned version was published as.
    """

    package: str | None = None
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        """
        >>> str(PipelineChoice("training", "stable")), str(PipelineChoice("training"))
        ('training@stable', 'training')
        """
        if self.digest is not None:
            return f"{self.package}@{self.digest}" if self.package else self.digest
        return f"{self.package}@{self.tag}" if self.tag else str(self.package)


@dataclass(frozen=True)
class NewSchedule:
    name: str
    environment: str
    pipeline: PipelineChoice
    cron: str | None = None
    interval_s: int | None = None
    time_zone: str = ""
    #: Due times lie after the one, and not after the other.
    start_at: datetime | None = None
    end_at: datetime | None = None
    missed: MissedPolicy = MissedPolicy.ALL
    #: Of its runs, so many go at the same time at the most.
    max_concurrency: int = 1
    is_paused: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: RunOptions = DEFAULT_OPTIONS
    experiment_id: str | None = None
    description: str = ""


@dataclass(frozen=True)
class Schedule:
    id: str
    name: str
    environment: str
    pipeline: PipelineChoice
    cron: str | None
    interval_s: int | None
    time_zone: str
    start_at: str | None
    end_at: str | None
    missed: MissedPolicy
    max_concurrency: int
    is_paused: bool
    arguments: Mapping[str, Any]
    options: RunOptions
    experiment_id: str | None
    description: str
    created_by: str
    created_at: str
    changed_at: str
    fact: str
    next_at: str | None
    last_run_id: str | None
    last_error: str | None

    @property
    def timing(self) -> Timing:
        start = from_iso(self.start_at or self.created_at)
        return Timing(
            read_rhythm(self.cron, self.interval_s, self.time_zone, start),
            self.missed,
            self.max_concurrency,
            from_iso(self.next_at) if self.next_at else None,
            from_iso(self.end_at) if self.end_at else None,
        )

    @property
    def rhythm(self) -> str:
        """For people."""
        return _say_rhythm(self.cron, self.interval_s, self.time_zone)

    def to_json(self) -> dict[str, Any]:
        shown = asdict(self)
        options = json.loads(options_json(self.options))
        return {**shown, "pipeline": str(self.pipeline), "options": options, "rhythm": self.rhythm}


def _say_rhythm(cron: str | None, interval_s: int | None, time_zone: str) -> str:
    """
    >>> _say_rhythm("0 30 6 * * *", None, "Europe/Berlin"), _say_rhythm(None, 90, "")
    ('0 30 6 * * * (Europe/Berlin)', 'every 90 s')
    """
    said = cron if cron is not None else f"every {interval_s} s"
    return f"{said} ({time_zone})" if time_zone else said


def create_schedule(stores: Stores, new: NewSchedule, *, by: str) -> Schedule:
    """Checks all but the pipeline and its arguments: whoever resolves those has done so.

    Wake the scheduler after it. Raises InvalidInput.
    """
    now = stores.clock.now()
    _check(new)
    start = new.start_at or now
    rhythm = read_rhythm(new.cron, new.interval_s, new.time_zone, start)
    first = Timing(rhythm, new.missed, new.max_concurrency, None, new.end_at).next_after(start)
    if first is None:
        raise InvalidInput(
            f"The schedule {new.name!r} would never be due.",
            next_step="Look at its expression, and at when it starts and ends.",
        )
    schedule_id = new_id(stores.clock)
    said = _say_rhythm(new.cron, new.interval_s, new.time_zone)
    created = ScheduleCreated(
        schedule_id, new.environment, new.name, str(new.pipeline), said, dict(new.arguments)
    )
    with stores.db.transaction() as tx:
        fact = stores.facts.append(tx, created, by=by)
        row = _row_of(new, schedule_id, by, iso(now), fact, iso(first))
        tx.execute(insert(SCHEDULES).values(row))
        return _find_by_id(tx, schedule_id)


def _check(new: NewSchedule) -> None:
    if not 1 <= len(new.name.strip()) <= MAX_NAME:
        raise InvalidInput(f"A schedule's name has 1 to {MAX_NAME} characters: {new.name[:40]!r}.")
    if not 1 <= new.max_concurrency <= MAX_CONCURRENCY:
        raise InvalidInput(
            f"max_concurrency is {new.max_concurrency}; it can be 1 to {MAX_CONCURRENCY}."
        )
    if new.start_at and new.end_at and new.end_at <= new.start_at:
        raise InvalidInput(
            f"The schedule ends at {iso(new.end_at)}, before it starts at {iso(new.start_at)}."
        )


def _row_of(
    new: NewSchedule, schedule_id: str, by: str, now: str, fact: str, first: str
) -> dict[str, Any]:
    return {
        "id": schedule_id,
        "environment": new.environment,
        "experiment_id": new.experiment_id,
        "name": new.name.strip(),
        "description": new.description,
        "cron": new.cron,
        "interval_s": new.interval_s,
        "time_zone": new.time_zone,
        "start_at": iso(new.start_at) if new.start_at else None,
        "end_at": iso(new.end_at) if new.end_at else None,
        "missed": new.missed,
        "max_concurrency": new.max_concurrency,
        "is_paused": new.is_paused,
        "package": new.pipeline.package,
        "tag": new.pipeline.tag,
        "pipeline_digest": new.pipeline.digest,
        "arguments": json.dumps(dict(new.arguments)),
        "options": options_json(new.options),
        "created_by": by,
        "created_at": now,
        "changed_at": now,
        "fact": fact,
        "next_at": first,
        "last_run_id": None,
        "last_error": None,
    }


def list_schedules(
    stores: Stores, environment: str | None = None, experiment_id: str | None = None
) -> list[Schedule]:
    """Oldest first."""
    query = select(SCHEDULES).order_by(SCHEDULES.c.created_at, SCHEDULES.c.id)
    if environment is not None:
        query = query.where(SCHEDULES.c.environment == environment)
    if experiment_id is not None:
        query = query.where(SCHEDULES.c.experiment_id == experiment_id)
    with stores.db.read() as connection:
        return [_schedule(row) for row in connection.execute(query)]


def find_schedule(stores: Stores, reference: str) -> Schedule:
    """By id, or by a name that only one has; NotFound names the nearest."""
    with stores.db.read() as connection:
        return _find(connection, reference)


def set_paused(stores: Stores, reference: str, is_paused: bool, *, by: str) -> Schedule:
    """Nothing happens when it is so already. Wake the scheduler after a resumption."""
    with stores.db.transaction() as tx:
        found = _find(tx, reference)
        if found.is_paused == is_paused:
            return found
        _pause_or_resume(stores, tx, found, is_paused, by)
        return _find_by_id(tx, found.id)


def pause_schedules_of(stores: Stores, tx: Connection, experiment_id: str, *, by: str) -> None:
    """All of an experiment's that are not paused, in the caller's transaction."""
    rows = tx.execute(select(SCHEDULES).where(SCHEDULES.c.experiment_id == experiment_id)).all()
    for schedule in map(_schedule, rows):
        if not schedule.is_paused:
            _pause_or_resume(stores, tx, schedule, True, by)


def _pause_or_resume(
    stores: Stores, tx: Connection, found: Schedule, is_paused: bool, by: str
) -> None:
    change = "paused" if is_paused else "resumed"
    changed = ScheduleChanged(found.id, found.environment, found.name, change)
    fact = stores.facts.append(tx, changed, by=by)
    values = {"is_paused": is_paused, "changed_at": iso(stores.clock.now()), "fact": fact}
    tx.execute(update(SCHEDULES).where(SCHEDULES.c.id == found.id).values(**values))


def delete_schedule(stores: Stores, reference: str, *, by: str) -> Schedule:
    """Its runs stay."""
    with stores.db.transaction() as tx:
        found = _find(tx, reference)
        changed = ScheduleChanged(found.id, found.environment, found.name, "deleted")
        stores.facts.append(tx, changed, by=by)
        tx.execute(delete(SCHEDULES).where(SCHEDULES.c.id == found.id))
    return found


def due_schedules(stores: Stores, now: datetime) -> list[Schedule]:
    """Those that are not paused and have a time to decide about, the longest due first."""
    query = (
        select(SCHEDULES)
        .where(SCHEDULES.c.is_paused.is_(False), SCHEDULES.c.next_at <= iso(now))
        .order_by(SCHEDULES.c.next_at, SCHEDULES.c.id)
    )
    with stores.db.read() as connection:
        return [_schedule(row) for row in connection.execute(query)]


def open_schedule(stores: Stores, schedule_id: str) -> Schedule | None:
    """As it stands now; None when it is paused or gone."""
    query = select(SCHEDULES).where(SCHEDULES.c.id == schedule_id, SCHEDULES.c.is_paused.is_(False))
    with stores.db.read() as connection:
        row = connection.execute(query).one_or_none()
    return _schedule(row) if row else None


def next_due_after(stores: Stores, now: datetime) -> datetime | None:
    """When the next one is due that is not due yet."""
    query = (
        select(SCHEDULES.c.next_at)
        .where(SCHEDULES.c.is_paused.is_(False), SCHEDULES.c.next_at > iso(now))
        .order_by(SCHEDULES.c.next_at)
        .limit(1)
    )
    with stores.db.read() as connection:
        found = connection.execute(query).scalar_one_or_none()
    return from_iso(found) if found else None


def record_handled(
    stores: Stores,
    schedule: Schedule,
    decision: Decision,
    *,
    run_id: str | None = None,
    error: str | None = None,
) -> None:
    """Takes the row on to the first time behind what was decided, unless it changed meanwhile.

    Skipped times and an error become facts.
    """
    if decision.handled_until is None:
        return
    following = schedule.timing.next_after(decision.handled_until)
    values: dict[str, Any] = {"next_at": iso(following) if following else None}
    if run_id or error:
        values |= {"last_run_id": run_id or schedule.last_run_id, "last_error": error}
    same = (SCHEDULES.c.id == schedule.id) & (SCHEDULES.c.next_at == schedule.next_at)
    with stores.db.transaction() as tx:
        if tx.execute(update(SCHEDULES).where(same).values(**values)).rowcount == 0:
            return
        for skipped in _skipped_facts(schedule, decision, error):
            stores.facts.append(tx, skipped, by=schedule.created_by, caused_by=schedule.fact)


def _skipped_facts(
    schedule: Schedule, decision: Decision, error: str | None
) -> Sequence[ScheduleSkipped]:
    found = []
    if decision.skipped:
        first, last = map(iso, decision.skipped)
        reason = f"missed ({schedule.missed} is made up for)"
        found.append(ScheduleSkipped(schedule.id, first, last, reason))
    if error is not None and decision.run_at and decision.handled_until:
        first, last = iso(decision.run_at), iso(decision.handled_until)
        found.append(ScheduleSkipped(schedule.id, first, last, error))
    return found


def _find(connection: Connection, reference: str) -> Schedule:
    named = (SCHEDULES.c.id == reference) | (SCHEDULES.c.name == reference)
    rows = connection.execute(select(SCHEDULES).where(named)).all()
    if not rows:
        known = connection.execute(select(SCHEDULES.c.name)).scalars()
        raise not_found("schedule", reference, known)
    if len(rows) > 1:
        shown = ", ".join(f"{row.id} ({row.environment})" for row in rows[:5])
        raise Conflict(f"{len(rows)} schedules are called {reference!r}: {shown}.",
                       next_step="Name the one that you mean by its id.")  # fmt: skip
    return _schedule(rows[0])


def _find_by_id(connection: Connection, schedule_id: str) -> Schedule:
    return _schedule(
        connection.execute(select(SCHEDULES).where(SCHEDULES.c.id == schedule_id)).one()
    )


def _schedule(row: Row[Any]) -> Schedule:
    values = dict(row._mapping)
    choice = PipelineChoice(values.pop("package"), values.pop("tag"), values.pop("pipeline_digest"))
    return Schedule(
        **{
            **values,
            "pipeline": choice,
            "missed": MissedPolicy(row.missed),
            "arguments": json.loads(row.arguments),
            "options": read_options(json.loads(row.options)),
        }
    )
