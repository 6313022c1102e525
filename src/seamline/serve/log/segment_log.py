"""A log of segments with group commit, off the hot path.

A writer thread takes what has gathered, appends it as batches and makes it durable with one flush
per environment. While that fails, or takes long, rows wait in memory: up to `MAX_WAITING_ROWS` of
an environment, then new ones are dropped and counted. Whoever would rather not answer than drop
asks `check_room` first, and has its rows kept (`must_keep`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import pyarrow as pa

from seamline.domain.clock import Clock
from seamline.domain.errors import Unavailable
from seamline.serve.log.segments import MAX_IDLE_S, Segment

LOG = logging.getLogger(__name__)
MAX_WAITING_ROWS = 100_000
RETRY_S = 0.5
TELL_AGAIN_S = 10.0

Entry = TypeVar("Entry")
Done = Callable[[Exception | None], None]


class Lost(StrEnum):
    """Why rows are not in the log."""

    #: As many waited as may.
    NO_ROOM = "no room"
    #: They could not be written before the log ended, or, where none are kept, at once.
    NOT_WRITTEN = "not written"
    #: They could not be put into a batch.
    UNREADABLE = "unreadable"


class Watcher(Protocol):
    """Is told, by the thread that it happens in, what becomes of an environment's rows."""

    def count_rows(self, environment: str, rows: int) -> None: ...

    def count_lost(self, environment: str, rows: int, why: Lost) -> None: ...

    def put_state(self, environment: str, waiting: int, lag_s: float, stalled: bool) -> None:
        """After each attempt to write; `lag_s`: how long the oldest of its rows had waited."""
        ...


@dataclass(eq=False)
class _Lane(Generic[Entry]):
    """What waits for one environment. `taken_in` is added to by whoever appends, `settled` by the
    writer: so neither needs a lock."""

    environment: str
    queue: deque[tuple[Entry, Done | None]] = field(default_factory=deque)
    taken_in: int = 0
    settled: int = 0
    dropped: int = 0
    told_dropped: int = 0
    told_at_s: float = -inf
    #: Since when the first in the queue waits; and the first of those taken out of it.
    queued_at_s: float = 0.0
    waiting_since_s: float = 0.0
    unwritten: list[pa.RecordBatch] = field(default_factory=list)
    promised: list[Done] = field(default_factory=list)
    segment: Segment | None = None
    problem: Exception | None = None
    retry_at_s: float = 0.0

    @property
    def waiting(self) -> int:
        return self.taken_in - self.settled


class SegmentLog(Generic[Entry]):
    """A log below `folder`, one sub-folder per environment.

    `place_of` tells an entry's environment and its number of rows; `encode` turns entries of one
    environment into batches, in the writer's thread.
    `keeps`: what cannot be written is tried again until it can; otherwise `done` is told at once.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        encode: Callable[[Sequence[Entry]], list[pa.RecordBatch]],
        place_of: Callable[[Entry], tuple[str, int]],
        clock: Clock,
        *,
        interval_s: float,
        keeps: bool = True,
        watcher: Watcher | None = None,
    ) -> None:
        self._folder, self._schema = folder, schema
        self._encoded, self._place_of = encode, place_of
        self._clock, self._interval_s, self._keeps = clock, interval_s, keeps
        self._watcher = watcher
        self._lanes: dict[str, _Lane[Entry]] = {}
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"log-{folder.name}", daemon=True)
        self._thread.start()

    def append(self, entry: Entry, done: Done | None = None, *, must_keep: bool = False) -> None:
        """Never blocks. `done(None)` is called, in the writer's thread, once it is durable."""
        environment, rows = self._place_of(entry)
        lane = self._lanes.get(environment)
        if lane is None:
            lane = self._lanes[environment] = _Lane(environment)
        waiting = lane.taken_in - lane.settled
        if waiting >= MAX_WAITING_ROWS and not must_keep:
            lane.dropped += rows
            if self._watcher is not None:
                self._watcher.count_lost(environment, rows, Lost.NO_ROOM)
            if done is not None:
                done(OSError(f"{waiting} rows wait to be written to {self._path_of(lane)}"))
            return
        if not lane.queue:
            lane.queued_at_s = time.monotonic()
        lane.taken_in += rows
        lane.queue.append((entry, done))
        if not self._wake.is_set():
            self._wake.set()

    def check_room(self, environment: str) -> None:
        """Unavailable while rows of this environment cannot be written, or too many wait."""
        lane = self._lanes.get(environment)
        if lane is None or (lane.problem is None and lane.waiting < MAX_WAITING_ROWS):
            return
        why = f"cannot be written ({lane.problem})" if lane.problem else "is behind"
        raise Unavailable(
            f"The log of {environment} {why}; {lane.waiting} rows wait. Nothing is answered that "
            "could not be logged.",
            next_step=f"Make room below {self._folder}; it goes on by itself.",
        )

    def close(self) -> None:
        """Writes what is left, ends the segments."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(self._pause_s())
            if self._wake.is_set() and self._interval_s:
                self._closing.wait(self._interval_s)
            self._wake.clear()
            for lane in list(self._lanes.values()):
                self._commit(lane)
                if lane.segment is not None and lane.segment.is_due():
                    self._end(lane)
        for lane in list(self._lanes.values()):
            lane.retry_at_s = 0.0
            self._commit(lane)
            if lane.unwritten and lane.problem is not None:
                self._give_up(lane, lane.problem)
            self._end(lane)

    def _pause_s(self) -> float | None:
        lanes = list(self._lanes.values())
        if any(lane.unwritten or lane.problem is not None for lane in lanes):
            return RETRY_S
        return MAX_IDLE_S / 2 if any(lane.segment is not None for lane in lanes) else None

    def _commit(self, lane: _Lane[Entry]) -> None:
        if not lane.unwritten:
            lane.waiting_since_s = lane.queued_at_s
        taken = [lane.queue.popleft() for _ in range(len(lane.queue))]
        lane.unwritten += self._encode(lane, taken)
        has_rows = bool(lane.unwritten)
        is_idle = not has_rows and lane.problem is None
        if is_idle or time.monotonic() < lane.retry_at_s:
            return
        try:
            if lane.problem is not None:  # the least first: room for it may be there
                self._write(lane, 1)
            self._write(lane, len(lane.unwritten))
        except Exception as error:  # the thread must not die
            self._end(lane)
            self._tell_stalled(lane, error)
            if has_rows and not self._keeps:
                self._give_up(lane, error)
        else:
            self._tell_written(lane)
        if time.monotonic() - lane.told_at_s >= TELL_AGAIN_S:
            self._tell_dropped(lane)
        if self._watcher is not None:
            stalled = lane.problem is not None
            lag_s = time.monotonic() - lane.waiting_since_s if has_rows else 0.0
            self._watcher.put_state(lane.environment, lane.waiting, lag_s, stalled)

    def _encode(
        self, lane: _Lane[Entry], taken: Sequence[tuple[Entry, Done | None]]
    ) -> list[pa.RecordBatch]:
        """What cannot be encoded is found by halves: nobody's rows go because of another's."""
        if not taken:
            return []
        try:
            batches = self._encoded([entry for entry, _ in taken])
        except Exception as error:
            if len(taken) > 1:
                middle = len(taken) // 2
                return self._encode(lane, taken[:middle]) + self._encode(lane, taken[middle:])
            entry, done = taken[0]
            rows = self._place_of(entry)[1]
            LOG.exception("%d rows could not be logged to %s.", rows, self._path_of(lane))
            self._settle(lane, rows, Lost.UNREADABLE)
            if done is not None:
                done(error)
            return []
        lane.promised += [done for _, done in taken if done is not None]
        return batches

    def _write(self, lane: _Lane[Entry], count: int) -> None:
        """Without any, where nothing is kept, it is room that is looked for: whoever was told that
        there is none may come late, or never."""
        batches = lane.unwritten[:count]
        if lane.segment is None and (batches or lane.problem is not None):
            lane.segment = Segment(self._path_of(lane), self._schema, self._clock)
        if lane.segment is None or not batches:
            return
        lane.segment.write(batches)
        del lane.unwritten[:count]
        self._settle(lane, sum(batch.num_rows for batch in batches), None)

    def _settle(self, lane: _Lane[Entry], rows: int, lost: Lost | None) -> None:
        lane.settled += rows
        if self._watcher is None:
            return
        if lost is None:
            self._watcher.count_rows(lane.environment, rows)
        else:
            self._watcher.count_lost(lane.environment, rows, lost)

    def _tell_stalled(self, lane: _Lane[Entry], error: Exception) -> None:
        lane.retry_at_s = time.monotonic() + RETRY_S if self._keeps else 0.0
        if lane.problem is None:
            LOG.error("%s cannot be written, its rows wait: %s", self._path_of(lane), error)
        lane.problem = error

    def _tell_written(self, lane: _Lane[Entry]) -> None:
        promised, lane.promised = lane.promised, []
        if lane.problem is not None:
            LOG.warning("%s is written again.", self._path_of(lane))
            self._tell_dropped(lane)
            lane.problem = None
        for done in promised:
            done(None)

    def _tell_dropped(self, lane: _Lane[Entry]) -> None:
        if lane.dropped > lane.told_dropped:
            lane.told_dropped, lane.told_at_s = lane.dropped, time.monotonic()
            where = self._path_of(lane)
            LOG.error("%d rows of %s have been dropped: too many wait.", lane.told_dropped, where)

    def _give_up(self, lane: _Lane[Entry], error: Exception) -> None:
        rows = sum(batch.num_rows for batch in lane.unwritten)
        LOG.error("%d rows of %s are lost: %s", rows, self._path_of(lane), error)
        promised, lane.promised, lane.unwritten = lane.promised, [], []
        self._settle(lane, rows, Lost.NOT_WRITTEN)
        for done in promised:
            done(error)

    def _end(self, lane: _Lane[Entry]) -> None:
        if lane.segment is not None:
            lane.segment.close()
            lane.segment = None

    def _path_of(self, lane: _Lane[Entry]) -> Path:
        return self._folder / lane.environment
