"""How much there is to do: runs by state from the rows, tasks from the engine's memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import func, select

from seamline.domain.states import RunState
from seamline.store.stores import Stores
from seamline.train.rows import RUNS


@dataclass(frozen=True)
class TeamCounts:
    #: Tasks that wait for nothing but a slot.
    ready: int
    running: int


@dataclass(frozen=True)
class EngineCounts:
    """What an engine holds at one moment."""

    #: Tasks that wait for nothing but a slot.
    ready: int = 0
    running: int = 0
    #: Runs of which a task is ready and none runs.
    waiting_runs: int = 0
    #: By the team's name; "" for runs of no team.
    by_team: Mapping[str, TeamCounts] = field(default_factory=dict)


def count_runs(stores: Stores) -> dict[RunState, int]:
    """Every state is there, also with 0."""
    query = select(RUNS.c.state, func.count()).group_by(RUNS.c.state)
    with stores.db.read() as connection:
        found = {row[0]: int(row[1]) for row in connection.execute(query)}
    return {state: found.get(state, 0) for state in RunState}
