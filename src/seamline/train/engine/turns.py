"""Whose task is next: teams take turns, then a team's runs, then a run's tasks as they came.

A team with three tasks does not wait for another's two thousand: each round starts one task of
each team. Slots are counted, and never handed out beyond the limit of a team or of a run.

A team or run that cannot go now leaves its ring, and comes back when something of it ends or is
offered; so whatever waits, one `take` looks at few: O(1) amortised over the tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from seamline.train.engine.counts import EngineCounts, TeamCounts


@dataclass
class _Run:
    id: str
    team: _Team
    slots: int | None
    tasks: deque[str] = field(default_factory=deque)
    running: int = 0
    is_in_ring: bool = False
    is_forgotten: bool = False

    def may_go(self) -> bool:
        return bool(self.tasks) and (self.slots is None or self.running < self.slots)


@dataclass
class _Team:
    name: str
    ring: deque[_Run] = field(default_factory=deque)
    runs: int = 0
    ready: int = 0
    running: int = 0
    is_in_ring: bool = False


class Turns:
    """The order in which ready tasks start. One thread changes it; `counts` may be read by any.

    >>> turns = Turns({"small": 1}.get)
    >>> for task in ("a", "b", "c"):
    ...     turns.offer("run-1", "large", None, task)
    >>> for task in ("x", "y"):
    ...     turns.offer("run-2", "small", None, task)
    >>> taken = []
    >>> while chosen := turns.take():
    ...     taken.append(chosen)
    ...     turns.started(chosen[0])
    >>> taken  # "y" waits for the one slot of its team
    [('run-1', 'a'), ('run-2', 'x'), ('run-1', 'b'), ('run-1', 'c')]
    >>> turns.ended("run-2")
    >>> turns.take()
    ('run-2', 'y')
    """

    def __init__(self, team_slots: Callable[[str], int | None]) -> None:
        """`team_slots`: how many tasks of a team may run at once (None: as many as there are
        slots). Asked at each turn, so it has to be quick; see `refresh` for when it changes."""
        self._team_slots = team_slots
        self._teams: dict[str, _Team] = {}
        self._runs: dict[str, _Run] = {}
        self._ring: deque[_Team] = deque()

    def offer(self, run_id: str, team: str, run_slots: int | None, task: str) -> None:
        """A task that could start now. A run belongs to the team of its first offer until it is
        forgotten; its slots are those of the latest offer."""
        run = self._runs.get(run_id)
        if run is None:
            owner = self._teams.setdefault(team, _Team(team))
            owner.runs += 1
            run = self._runs[run_id] = _Run(run_id, owner, run_slots)
        run.slots = run_slots
        run.is_forgotten = False
        run.tasks.append(task)
        run.team.ready += 1
        self._enter(run)

    def take(self) -> tuple[str, str] | None:
        """(run, task) whose turn it is, or None where none may start.

        Call `started` before the next `take` if the task does take up a slot; a task that is over
        without one (a cached result stands in for it) needs nothing more.
        """
        while self._ring:
            team = self._ring.popleft()
            team.is_in_ring = False
            limit = self._team_slots(team.name)
            if limit is not None and team.running >= limit:
                continue
            run = _next_run(team)
            if run is None:
                continue
            task = run.tasks.popleft()
            team.ready -= 1
            self._enter(run)
            self._enter_team(team)
            return run.id, task
        return None

    def started(self, run_id: str) -> None:
        """A task of the run takes up a slot from now on."""
        run = self._runs[run_id]
        run.running += 1
        run.team.running += 1

    def ended(self, run_id: str) -> None:
        """A task of the run, counted by `started`, gives its slot back."""
        run = self._runs[run_id]
        if run.running == 0:
            raise ValueError(f"Nothing of the run {run_id} is known to run.")
        run.running -= 1
        run.team.running -= 1
        self._enter(run)
        self._enter_team(run.team)
        self._drop_if_over(run)

    def forget(self, run_id: str) -> None:
        """Its waiting tasks never start; what runs of it still counts until it has ended."""
        run = self._runs.get(run_id)
        if run is None:
            return
        run.team.ready -= len(run.tasks)
        run.tasks.clear()
        run.is_forgotten = True
        self._drop_if_over(run)

    def refresh(self) -> None:
        """The limits of teams may have changed: a team that was held back is looked at again."""
        for team in self._teams.values():
            self._enter_team(team)

    def counts(self) -> EngineCounts:
        runs = list(self._runs.values())
        teams = {
            team.name: TeamCounts(team.ready, team.running) for team in list(self._teams.values())
        }
        return EngineCounts(
            ready=sum(team.ready for team in teams.values()),
            running=sum(team.running for team in teams.values()),
            waiting_runs=sum(1 for run in runs if run.tasks and not run.running),
            by_team=teams,
        )

    def _enter(self, run: _Run) -> None:
        """To the end of its team's ring, if it may go and is not there yet."""
        if run.is_in_ring or not run.may_go():
            return
        run.is_in_ring = True
        run.team.ring.append(run)
        self._enter_team(run.team)

    def _enter_team(self, team: _Team) -> None:
        if team.ring and not team.is_in_ring:
            team.is_in_ring = True
            self._ring.append(team)

    def _drop_if_over(self, run: _Run) -> None:
        """Nothing is kept of runs and teams that are gone: a server lives for months."""
        if not run.is_forgotten or run.running:
            return
        del self._runs[run.id]
        run.team.runs -= 1
        if not run.team.runs:
            del self._teams[run.team.name]


def _next_run(team: _Team) -> _Run | None:
    while team.ring:
        run = team.ring.popleft()
        run.is_in_ring = False
        if run.may_go():
            return run
    return None
