"""Which dataset versions runs have read, or are to read, and which runs ended long ago."""

from __future__ import annotations

import re

from sqlalchemy import Connection, or_, select

from seamline.train.rows import ARTIFACTS, RUNS
from seamline.train.schedule.rows import SCHEDULES

_SCHEME = "datasets://"
_NAMED = re.compile(r"datasets://([a-z0-9-]+@\d+)")


def versions_of_runs(connection: Connection, since: str) -> dict[str, str]:
    """References ("NAME@3") → a run that read it, or is to, and goes on or ended after `since`."""
    is_recent = or_(RUNS.c.ended_at.is_(None), RUNS.c.ended_at > since)
    read = select(RUNS.c.id, ARTIFACTS.c.uri).join(RUNS, RUNS.c.id == ARTIFACTS.c.run_id)
    asked = select(RUNS.c.id, RUNS.c.arguments).where(is_recent)
    rows = [
        *connection.execute(read.where(is_recent & ARTIFACTS.c.uri.startswith(_SCHEME))),
        *connection.execute(asked),
    ]
    return {named: run_id for run_id, text in rows for named in _NAMED.findall(text)}


def versions_of_schedules(connection: Connection) -> dict[str, str]:
    """References ("NAME@3") → a schedule whose next run is to read it."""
    rows = connection.execute(select(SCHEDULES.c.name, SCHEDULES.c.arguments))
    return {named: row.name for row in rows for named in _NAMED.findall(row.arguments)}


def runs_ended_before(connection: Connection, moment: str) -> set[str]:
    query = select(RUNS.c.id).where(RUNS.c.ended_at < moment)
    return set(connection.execute(query).scalars())
