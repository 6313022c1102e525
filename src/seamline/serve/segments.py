"""Append-only logs in Arrow IPC segments, with group commit, off the hot path.

A writer thread takes what has gathered, appends one batch per folder and makes it durable with
one fdatasync. A segment's writer holds its file lock: whoever gets the lock knows that the
segment is finished, by rotation or because its writer died. A batch that was being written
when the power went is a torn tail, and everything before it stands.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import pyarrow as pa

from seamline.domain.clock import Clock, new_id
from seamline.domain.errors import InvalidInput

LOG = logging.getLogger(__name__)
SUFFIX = ".arrows"
MAX_SEGMENT_ROWS = 50_000
MAX_IDLE_S = 10.0
MAX_AGE_S = 600.0
MAX_QUEUED = 100_000

Entry = TypeVar("Entry")
Done = Callable[[Exception | None], None]


class Segment:
    """An open segment. Locked before it appears under its final name."""

    def __init__(self, folder: Path, schema: pa.Schema, clock: Clock) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = new_id(clock)
        self.rows = 0
        self.opened_at_s = self.written_at_s = time.monotonic()
        partial = folder / f".{name}.partial"
        self._file = partial.open("xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._writer = pa.ipc.new_stream(self._file, schema)
        partial.rename(folder / f"{name}{SUFFIX}")
        _sync_folder(folder)

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Durable once it returns."""
        for batch in batches:
            self._writer.write_batch(batch)
            self.rows += batch.num_rows
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self.written_at_s = time.monotonic()

    def is_due(self) -> bool:
        now = time.monotonic()
        return (
            self.rows >= MAX_SEGMENT_ROWS
            or now - self.written_at_s >= MAX_IDLE_S
            or now - self.opened_at_s >= MAX_AGE_S
        )

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()


class SegmentLog(Generic[Entry]):
    """A log below `folder`, one sub-folder per environment.

    `to_batches` turns entries into batches by environment; it runs in the writer thread.
    `on_rows` counts the rows that became durable, `on_lost` those that could not.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        to_batches: Callable[[Sequence[Entry]], Mapping[str, list[pa.RecordBatch]]],
        clock: Clock,
        *,
        interval_s: float,
        on_rows: Callable[[int], None] = lambda rows: None,
        on_lost: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._folder, self._schema, self._to_batches = folder, schema, to_batches
        self._clock, self._interval_s = clock, interval_s
        self._on_rows, self._on_lost = on_rows, on_lost
        self._queue: deque[tuple[Entry, Done | None]] = deque()
        self._segments: dict[str, Segment] = {}
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"log-{folder.name}", daemon=True)
        self._thread.start()

    def append(self, entry: Entry, done: Done | None = None) -> None:
        """Never blocks. `done(None)` is called, in the writer's thread, once it is durable."""
        if len(self._queue) >= MAX_QUEUED:
            self._on_lost(1)
            if done is not None:
                done(OSError(f"{MAX_QUEUED} entries wait to be written to {self._folder}"))
            return
        self._queue.append((entry, done))
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Writes what is left, ends the segments."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(MAX_IDLE_S / 2 if self._segments else None)
            if self._wake.is_set() and self._interval_s:
                self._closing.wait(self._interval_s)
            self._wake.clear()
            self._commit_all()
            for environment, segment in list(self._segments.items()):
                if segment.is_due():
                    self._end(environment)
        self._commit_all()
        for environment in list(self._segments):
            self._end(environment)

    def _commit_all(self) -> None:
        taken = [self._queue.popleft() for _ in range(len(self._queue))]
        if not taken:
            return
        problem: Exception | None = None
        try:
            for environment, batches in self._to_batches([entry for entry, _ in taken]).items():
                problem = self._commit(environment, batches) or problem
        except Exception as error:
            LOG.exception("%d entries could not be logged to %s.", len(taken), self._folder)
            self._on_lost(len(taken))
            problem = error
        for _, done in taken:
            if done is not None:
                done(problem)

    def _commit(self, environment: str, batches: list[pa.RecordBatch]) -> Exception | None:
        rows = sum(batch.num_rows for batch in batches)
        try:
            segment = self._segments.get(environment)
            if segment is None:
                segment = Segment(self._folder / environment, self._schema, self._clock)
                self._segments[environment] = segment
            segment.write(batches)
        except (OSError, pa.ArrowException) as error:
            LOG.exception("%d rows of %s are lost.", rows, self._folder / environment)
            self._on_lost(rows)
            # Half a batch may stand at its end: nothing may follow it.
            self._end(environment)
            return error
        self._on_rows(rows)
        return None

    def _end(self, environment: str) -> None:
        segment = self._segments.pop(environment, None)
        if segment is None:
            return
        try:
            segment.close()
        except (OSError, pa.ArrowException):
            LOG.exception("A segment of %s was not ended cleanly.", self._folder / environment)


def list_segments(folder: Path) -> list[Path]:
    """Oldest first (names are UUIDv7)."""
    return sorted(folder.glob(f"*{SUFFIX}")) if folder.exists() else []


def read_segment(path: Path, schema: pa.Schema) -> pa.Table:
    """Every whole batch; a torn tail is left out. Empty when it was compacted meanwhile."""
    batches: list[pa.RecordBatch] = []
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            batches.extend(reader)
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        LOG.info("%s ends after %d whole batches: %s", path.name, len(batches), error)
    return pa.Table.from_batches(batches, schema)


def parse_segment(data: bytes, schema: pa.Schema) -> pa.Table:
    """Of a segment that came from elsewhere; InvalidInput where it is none of this log."""
    batches: list[pa.RecordBatch] = []
    try:
        with pa.ipc.open_stream(data) as reader:
            if not reader.schema.equals(schema):
                raise InvalidInput("The segment has other columns than this log.")
            with suppress(pa.ArrowInvalid, OSError):  # a torn tail, as a killed writer leaves it
                batches.extend(reader)
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"This is no segment: {error}.") from error
    return pa.Table.from_batches(batches, schema)


def put_segment(folder: Path, name: str, data: bytes) -> None:
    """A finished one, durable once it returns."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.{os.getpid()}.{threading.get_ident()}.partial"
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(folder / name)
    _sync_folder(folder)


@contextmanager
def claim_segment(path: Path) -> Iterator[bool]:
    """Whether this segment is finished and ours for the time being; False while it is written."""
    try:
        file: BinaryIO = path.open("rb")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # Another may have removed it between our open and our lock.
        yield path.exists()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
