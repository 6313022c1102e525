"""Figures about the platform itself, for its operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select

from seamline.app.platform import Platform
from seamline.promote.environments import list_environments
from seamline.runtime.usage import FolderUsage, family_usage, filesystem_bytes, own_usage
from seamline.store.schema import FACTS, OUTBOX
from seamline.train.engine.counts import (
    TASK_SECONDS,
    EngineCounts,
    TaskTimes,
    count_open_tasks,
    count_runs,
)

#: Names and values of one series' labels; () where a figure has one series only.
Labels = tuple[tuple[str, str], ...]


class Kind(StrEnum):
    GAUGE = "gauge"
    #: Begins at 0 with the server, and only grows.
    COUNTER = "counter"


@dataclass(frozen=True)
class Figure:
    name: str
    says: str
    values: Mapping[Labels, float]
    kind: Kind = Kind.GAUGE


@dataclass(frozen=True)
class Histogram:
    name: str
    says: str
    #: Upper bounds of the buckets but the last, which has none.
    bounds: Sequence[float]
    #: series → (how many in each bucket, sum of all)
    values: Mapping[Labels, tuple[Sequence[int], float]]


class PlatformFigures:
    """Counters count from when this was made."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._times = TaskTimes(platform.stores)
        self._folder = FolderUsage(platform.root)

    def read(self) -> list[Figure | Histogram]:
        return [
            *self._ledger(),
            *self._runs(),
            *_queue(self._platform.counts(), self._platform.team_slots.all()),
            *self._ended(),
            *_memory(),
            *self._disk(),
        ]

    def _ledger(self) -> list[Figure]:
        with self._platform.stores.db.read() as connection:
            facts = connection.execute(select(func.count()).select_from(FACTS)).scalar_one()
            due = connection.execute(
                select(func.count()).select_from(OUTBOX).where(OUTBOX.c.done.is_(False))
            ).scalar_one()
            live = {
                _by(environment=one.name): float(one.release is not None)
                for one in list_environments(connection)
            }
        return [
            _one("seamline_facts", "Facts in the ledger.", facts),
            _one("seamline_outbox_open", "Effects not done yet.", due),
            Figure("seamline_environment_live", "1 when a release is live.", live),
        ]

    def _runs(self) -> list[Figure]:
        stores = self._platform.stores
        runs = {_by(state=state): count for state, count in count_runs(stores).items()}
        tasks = {_by(state=state): count for state, count in count_open_tasks(stores).items()}
        return [
            Figure("seamline_runs", "Runs by state.", runs),
            Figure("seamline_tasks", "Tasks of the runs that are not over, by state.", tasks),
        ]

    def _ended(self) -> list[Figure | Histogram]:
        ended = self._times.ended()
        return [
            Figure(
                "seamline_tasks_ended_total",
                "Tasks that ended, by how.",
                {_by(state=state): count for state, count in ended.tasks.items()},
                Kind.COUNTER,
            ),
            Histogram(
                "seamline_task_seconds",
                "How long tasks ran that ended.",
                TASK_SECONDS,
                {
                    _by(state=state): (one.buckets, one.total_s)
                    for state, one in ended.durations.items()
                },
            ),
        ]

    def _disk(self) -> list[Figure]:
        size, free = filesystem_bytes(self._platform.root)
        parts = {_by(part=name): used for name, used in sorted(self._folder.parts().items())}
        return [
            Figure("seamline_workspace_used_bytes", "Bytes on disk, by folder.", parts),
            _one("seamline_workspace_free_bytes", "Free on the workspace's file system.", free),
            _one("seamline_workspace_size_bytes", "Size of the workspace's file system.", size),
        ]


def _queue(counts: EngineCounts, slots: Mapping[str, int]) -> list[Figure]:
    ready = {_by(team=team): one.ready for team, one in sorted(counts.by_team.items())}
    running = {_by(team=team): one.running for team, one in sorted(counts.by_team.items())}
    limits = {_by(team=team): limit for team, limit in sorted(slots.items())}
    return [
        _one("seamline_tasks_ready", "Tasks that wait for nothing but a slot.", counts.ready),
        _one("seamline_tasks_running", "Tasks that take up a slot.", counts.running),
        _one(
            "seamline_runs_waiting",
            "Runs of which a task is ready and none runs.",
            counts.waiting_runs,
        ),
        Figure("seamline_team_tasks_ready", "Tasks that wait for a slot, by team.", ready),
        Figure("seamline_team_tasks_running", "Tasks that take up a slot, by team.", running),
        Figure("seamline_team_slots", "Slots that a team may take up, where limited.", limits),
    ]


def _memory() -> list[Figure]:
    """Of this process by the names that all of Prometheus' own clients use."""
    own = own_usage()
    if own is None:
        return []
    family = family_usage()
    return [
        _one("process_resident_memory_bytes", "Memory of the control plane.", own.resident_bytes),
        Figure("process_cpu_seconds_total", "Time on a processor.", {(): own.cpu_s}, Kind.COUNTER),
        _one("process_open_fds", "Open files.", own.open_files),
        _one("process_start_time_seconds", "Start, in seconds since 1970.", own.started_at_s),
        _one("seamline_zygotes", "Warm processes that tasks are forked from.", family.zygotes),
        _one(
            "seamline_zygotes_resident_memory_bytes",
            "Their memory; what several share counts in each.",
            family.zygotes_bytes,
        ),
        _one(
            "seamline_task_processes",
            "What zygotes forked: tasks, and processes that wait for one.",
            family.forked,
        ),
        _one(
            "seamline_task_processes_resident_memory_bytes",
            "Their memory; what they share with their zygote counts in each.",
            family.forked_bytes,
        ),
    ]


def _one(name: str, says: str, value: float) -> Figure:
    return Figure(name, says, {(): value})


def _by(**labels: str) -> Labels:
    return tuple(labels.items())
