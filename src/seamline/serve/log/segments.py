"""Append-only files of Arrow batches: how one is written, read and claimed.

A segment is an Arrow IPC stream. Its writer holds its file lock: whoever gets the lock knows that
the segment is finished, by rotation or because its writer died. A batch that was being written
when the power went is a torn tail, and everything before it stands.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from seamline.domain.clock import Clock, new_id
from seamline.domain.errors import InvalidInput, MachineryError
from seamline.serve.log.runs import plain, plain_schema

LOG = logging.getLogger(__name__)
SUFFIX = ".arrows"
MAX_SEGMENT_ROWS = 50_000
MAX_IDLE_S = 10.0
MAX_AGE_S = 600.0
#: How an IPC stream ends.
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
#: What Arrow says of bytes that are torn or damaged.
_UNREADABLE = (pa.ArrowException, OSError, EOFError, UnicodeDecodeError)


class Segment:
    """An open segment. Locked before it appears under its final name."""

    def __init__(self, folder: Path, schema: pa.Schema, clock: Clock) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = new_id(clock)
        self.rows = 0
        self.opened_at_s = self.written_at_s = time.monotonic()
        self._schema = schema
        self._path = folder / f"{name}{SUFFIX}"
        partial = folder / f".{name}.partial"
        self._file = partial.open("xb", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._durable_bytes = self._put(schema.serialize())
            partial.rename(self._path)
            _sync_folder(folder)
        except OSError:
            self._file.close()
            for path in (partial, self._path):
                path.unlink(missing_ok=True)
            raise

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Durable once it returns. OSError: none of them is there, and this segment has to end.

        Nothing may follow a flush that failed: what the kernel could not write it has forgotten.
        """
        for batch in batches:
            if batch.schema != self._schema:  # whoever reads it would read other places in memory
                raise MachineryError(f"{self._path.name}: a batch has other columns than the log.")
        size = self._durable_bytes
        try:
            for batch in batches:
                size += self._put(batch.serialize())
            os.fdatasync(self._file.fileno())
        except OSError:
            # Whole batches among them would be read, and are going to be written again elsewhere.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), self._durable_bytes)
            raise
        self._durable_bytes = size
        self.rows += sum(batch.num_rows for batch in batches)
        self.written_at_s = time.monotonic()

    def is_due(self) -> bool:
        now = time.monotonic()
        return (
            self.rows >= MAX_SEGMENT_ROWS
            or now - self.written_at_s >= MAX_IDLE_S
            or now - self.opened_at_s >= MAX_AGE_S
        )

    def close(self) -> None:
        """Its end says nothing that the end of the file does not: without it all is read, too."""
        with self._file, contextlib.suppress(OSError):
            if self.rows:
                self._put(_END)
            else:
                self._path.unlink()

    def _put(self, data: pa.Buffer | bytes) -> int:
        left = memoryview(data)
        size = len(left)
        while left:  # a disk that is almost full takes a part
            left = left[os.write(self._file.fileno(), left) :]
        return size


def list_segments(folder: Path) -> list[Path]:
    """Oldest first (names are UUIDv7)."""
    return sorted(folder.glob(f"*{SUFFIX}")) if folder.exists() else []


def read_segment(path: Path, schema: pa.Schema) -> pa.Table:
    """Every whole batch; a torn tail is left out. Empty when it was compacted meanwhile.

    Read, not mapped: its writer may cut off what it could not finish.
    """
    batches: list[pa.RecordBatch] = []
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
            batches.extend(_with_all(batch, schema) for batch in reader)
    except _UNREADABLE as error:
        LOG.info("%s ends after %d whole batches: %s", path.name, len(batches), error)
    return pa.Table.from_batches(batches, schema)


def parse_segment(data: bytes, schema: pa.Schema) -> pa.Table:
    """Of a segment that came from elsewhere; InvalidInput where it is none of this log."""
    batches: list[pa.RecordBatch] = []
    try:
        with pa.ipc.open_stream(data) as reader:
            if not set(plain_schema(reader.schema)) <= set(schema):
                raise InvalidInput("The segment has other columns than this log.")
            with suppress(*_UNREADABLE):  # a torn tail, as a killed writer leaves it
                batches.extend(_with_all(batch, schema) for batch in reader)
    except _UNREADABLE as error:
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


def _with_all(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A segment may be older than the newest columns: those are null. Runs are written out.

    Raises ArrowInvalid where bytes are damaged: they would be read as places in memory.
    """
    batch.validate(full=True)
    if batch.schema == schema:
        return batch
    held = {name: plain(batch.column(name)) for name in batch.schema.names}
    columns = [held.get(one.name, pa.nulls(batch.num_rows, one.type)) for one in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


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
