"""How much there is to do, and how long it took: from the rows, and from the engine's memory."""

from __future__ import annotations

import copy
import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import func, select, tuple_

from seamline.domain.facts import TaskEnded
from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.store.facts import read_facts
from seamline.store.schema import FACTS
from seamline.store.stores import Stores
from seamline.train.rows import RUNS, TASKS

#: Upper bounds of the buckets of task seconds; a last one holds what took longer.
TASK_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)
#: How a task can end; and how one can end that ran.
ENDS = tuple(state for state in TaskState if is_terminal(state))
RAN = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELED)
_OPEN = (RunState.PENDING, RunState.RUNNING)
#: Kinds of nodes that are tasks: the others hold nodes.
_LEAVES = ("python", "container", "importer")
#: Facts that are read at once.
_PORTION = 500


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


def count_open_tasks(stores: Stores) -> dict[TaskState, int]:
    """Tasks of the runs that are not over, by state; every state is there, also with 0."""
    query = (
        select(TASKS.c.state, func.count())
        .join(RUNS, RUNS.c.id == TASKS.c.run_id)
        .where(RUNS.c.state.in_(_OPEN), TASKS.c.kind.in_(_LEAVES))
        .group_by(TASKS.c.state)
    )
    with stores.db.read() as connection:
        found = {row[0]: int(row[1]) for row in connection.execute(query)}
    return {state: found.get(state, 0) for state in TaskState}


@dataclass
class Durations:
    """A histogram: how many tasks fell into each bucket of `TASK_SECONDS`, or beyond."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(TASK_SECONDS) + 1))
    total_s: float = 0.0

    def add(self, wall_s: float) -> None:
        self.buckets[bisect_left(TASK_SECONDS, wall_s)] += 1
        self.total_s += wall_s


@dataclass
class Ended:
    """Since when somebody began to count."""

    tasks: dict[TaskState, int] = field(default_factory=lambda: dict.fromkeys(ENDS, 0))
    #: Only of tasks that ran in a process.
    durations: dict[TaskState, Durations] = field(
        default_factory=lambda: {state: Durations() for state in RAN}
    )


class TaskTimes:
    """Which tasks have ended since this was made, and how long they ran.

    Reads what was recorded since the last time; may be asked by several threads. A task that was
    retried counts with each of its ends.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._lock = threading.Lock()
        self._ended = Ended()
        with stores.db.read() as connection:
            self._seen: int = connection.execute(select(func.max(FACTS.c.seq))).scalar_one() or 0

    def ended(self) -> Ended:
        with self._lock:
            while self._catch_up() == _PORTION:
                pass
            return copy.deepcopy(self._ended)

    def _catch_up(self) -> int:
        with self._stores.db.read() as connection:
            facts = read_facts(connection, kinds=[TaskEnded.kind], after=self._seen, limit=_PORTION)
            names = {(fact.body["run_id"], fact.body["task"]) for fact in facts}
            query = select(TASKS.c.run_id, TASKS.c.name, TASKS.c.wall_s).where(
                tuple_(TASKS.c.run_id, TASKS.c.name).in_(names)
            )
            wall_s = {(row.run_id, row.name): row.wall_s for row in connection.execute(query)}
        for fact in facts:
            self._seen = fact.seq
            state = TaskState(fact.body["state"])
            ran_s = wall_s.get((fact.body["run_id"], fact.body["task"]))
            if state in self._ended.tasks:
                self._ended.tasks[state] += 1
            if state in self._ended.durations and ran_s is not None:
                self._ended.durations[state].add(ran_s)
        return len(facts)
