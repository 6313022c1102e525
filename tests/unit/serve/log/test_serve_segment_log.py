"""The log's writer where writing fails: a full disk, a flush that fails, power that goes."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.errors import InvalidInput, MachineryError, Unavailable
from seamline.serve.log import segment_log
from seamline.serve.log.segment_log import Lost, SegmentLog
from seamline.serve.log.segments import Segment, list_segments, parse_segment, read_segment

SCHEMA = pa.schema([("number", pa.int64()), ("padding", pa.string())])
PATIENCE_S = 120.0
#: (environment, the row's number, as many rows)
Numbered = tuple[str, int, int]


def batches_of(entries: Sequence[Numbered]) -> list[pa.RecordBatch]:
    numbers = [number for _, number, rows in entries for _ in range(rows)]
    if -1 in numbers:
        raise ValueError("minus one cannot be encoded")
    columns = [pa.array(numbers, pa.int64()), pa.array(["." * 100] * len(numbers))]
    return [pa.record_batch(columns, SCHEMA)]


class Watched:
    """What the log said; `until` waits for more of it."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.lost: list[tuple[str, int, Lost]] = []
        self.stalled: dict[str, bool] = {}
        #: The most rows that waited after an attempt to write them.
        self.waiting = 0
        self._more = threading.Condition()

    def count_rows(self, environment: str, rows: int) -> None:
        with self._more:
            self.rows[environment] = self.rows.get(environment, 0) + rows
            self._more.notify_all()

    def count_lost(self, environment: str, rows: int, why: Lost) -> None:
        with self._more:
            self.lost.append((environment, rows, why))
            self._more.notify_all()

    def put_state(self, environment: str, waiting: int, lag_s: float, stalled: bool) -> None:
        assert waiting >= 0
        assert lag_s >= 0
        with self._more:
            self.stalled[environment] = stalled
            self.waiting = max(waiting, self.waiting)
            self._more.notify_all()

    def until(self, is_so: Callable[[], bool]) -> None:
        with self._more:
            assert self._more.wait_for(is_so, PATIENCE_S)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def open_log(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., SegmentLog[Numbered]]]:
    monkeypatch.setattr(segment_log, "RETRY_S", 0.01)
    opened: list[SegmentLog[Numbered]] = []

    def open_one(**given: Any) -> SegmentLog[Numbered]:
        log: SegmentLog[Numbered] = SegmentLog(
            tmp_path / "logs", SCHEMA, batches_of, lambda entry: (entry[0], entry[2]),
            SystemClock(), interval_s=0.0, watcher=watched, **given,
        )  # fmt: skip
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        log.close()


def numbers_in(folder: Path) -> list[int]:
    return [
        number
        for path in list_segments(folder)
        for number in read_segment(path, SCHEMA)["number"].to_pylist()
    ]


def test_what_is_said_to_be_durable_was_flushed(
    tmp_path: Path, open_log: Callable[..., SegmentLog[Numbered]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that keeps nothing but what it was told to flush, looked at after each promise.

    A killed process cannot tell: the kernel writes what it was given, whether it was flushed or
    not. So the flushes themselves are watched: what they cover is what a power cut would leave.
    """
    kept: dict[Path, bytes] = {}
    names: dict[Path, set[str]] = {}
    flush, flush_folder = os.fdatasync, os.fsync

    def target_of(number: int) -> Path:
        return Path(f"/proc/self/fd/{number}").readlink()

    def flushed(number: int) -> None:
        flush(number)
        kept[target_of(number)] = target_of(number).read_bytes()

    def folder_flushed(number: int) -> None:
        flush_folder(number)
        names[target_of(number)] = {path.name for path in target_of(number).iterdir()}

    monkeypatch.setattr(os, "fdatasync", flushed)
    monkeypatch.setattr(os, "fsync", folder_flushed)
    log, folder = open_log(), tmp_path / "logs" / "production"
    for number in range(20):
        survived: list[int] = []
        promised = threading.Event()

        def look(
            problem: Exception | None, found: list[int] = survived, said: threading.Event = promised
        ) -> None:
            assert problem is None
            for path, data in kept.items():
                if path.name in names.get(folder, ()):
                    image = tmp_path / "image"
                    image.write_bytes(data)
                    found += read_segment(image, SCHEMA)["number"].to_pylist()
            said.set()

        log.append(("production", number, 1), look)
        assert promised.wait(PATIENCE_S)
        assert number in survived, "called durable, and not flushed"


def test_rows_wait_for_room_and_none_is_lost_or_doubled(
    small_disk: Any, open_log: Callable[..., SegmentLog[Numbered]], watched: Watched
) -> None:
    log, folder = open_log(), small_disk.folder / "production"
    log.append(("production", 0, 50))
    watched.until(lambda: watched.rows == {"production": 50})
    small_disk.fill()
    for number in range(1, 6):
        log.append(("production", number, 500))
        watched.until(lambda: watched.stalled["production"])
        with pytest.raises(Unavailable, match=f"{number * 500} rows wait"):
            log.check_room("production")
        assert set(numbers_in(folder)) == {0}, "half of what could not be written is there"
    log.check_room("staging")
    small_disk.make_room()
    watched.until(lambda: watched.rows["production"] == 2550)
    watched.until(lambda: not watched.stalled["production"])
    log.check_room("production")
    expected = [0] * 50 + [number for number in range(1, 6) for _ in range(500)]
    assert numbers_in(folder) == expected
    assert watched.lost == []
    assert not list(folder.glob(".*")), "an attempt left something behind"


def test_a_disk_with_room_for_some_takes_some(
    small_disk: Any, open_log: Callable[..., SegmentLog[Numbered]], watched: Watched
) -> None:
    """1 MB, 110 bytes a row: what has been waiting does not go in at once."""
    log, folder = open_log(), small_disk.folder / "production"
    small_disk.fill()
    for number in range(20):
        log.append(("production", number, 1000))
        watched.until(lambda wanted=1000 * (number + 1): watched.waiting >= wanted)
    small_disk.make_room()
    watched.until(lambda: watched.rows.get("production", 0) >= 5000)
    found = numbers_in(folder)
    assert found == sorted(found)
    assert 5000 <= len(found) < 20_000
    assert len(found) % 1000 == 0, "half a batch is there"


def test_what_there_is_no_room_for_is_dropped_and_counted(
    small_disk: Any,
    open_log: Callable[..., SegmentLog[Numbered]],
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(segment_log, "MAX_WAITING_ROWS", 100)
    log = open_log()
    small_disk.fill()
    problems: list[Exception | None] = []
    log.append(("production", 0, 100))
    watched.until(lambda: watched.stalled.get("production", False))
    log.append(("production", 1, 7), problems.append)
    assert watched.lost == [("production", 7, Lost.NO_ROOM)]
    assert isinstance(problems[0], OSError)
    log.append(("production", 2, 5), must_keep=True)
    log.append(("staging", 3, 5))  # waits by itself: there are 100 for each
    small_disk.make_room()
    watched.until(lambda: watched.rows == {"production": 105, "staging": 5})
    log.append(("production", 4, 1))
    watched.until(lambda: watched.rows["production"] == 106)
    assert set(numbers_in(small_disk.folder / "production")) == {0, 2, 4}
    assert len(watched.lost) == 1
    assert "7 rows" in caplog.text
    assert "is written again" in caplog.text


def test_one_environment_that_cannot_be_written_stops_no_other(
    tmp_path: Path, open_log: Callable[..., SegmentLog[Numbered]], watched: Watched
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "staging").write_text("a file where a folder should be")
    log = open_log()
    problems: list[Exception | None] = []
    log.append(("staging", 1, 3), problems.append)
    watched.until(lambda: watched.stalled.get("staging", False))
    log.append(("production", 2, 1))
    watched.until(lambda: watched.rows == {"production": 1})
    assert problems == []
    log.close()
    assert isinstance(problems[0], OSError)
    assert watched.lost == [("staging", 3, Lost.NOT_WRITTEN)]


def test_nothing_follows_a_flush_that_failed(
    tmp_path: Path,
    open_log: Callable[..., SegmentLog[Numbered]],
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel drops what it could not write, and the next flush of that file says all is
    well: so the rows go to another file, and are in one of the two only."""
    log, folder, flush, failures = open_log(), tmp_path / "logs" / "production", os.fdatasync, [1]
    log.append(("production", 0, 1))
    watched.until(lambda: watched.rows == {"production": 1})

    def fail_once(number: int) -> None:
        flush(number)
        if failures:
            failures.pop()
            raise OSError(errno.EIO, "the disk is going")

    monkeypatch.setattr(os, "fdatasync", fail_once)
    log.append(("production", 1, 1))
    watched.until(lambda: watched.rows == {"production": 2})
    assert numbers_in(folder) == [0, 1]
    first, second = list_segments(folder)
    assert read_segment(first, SCHEMA)["number"].to_pylist() == [0]
    assert read_segment(second, SCHEMA)["number"].to_pylist() == [1]


def test_who_waits_is_told_at_once_where_nothing_is_kept(
    small_disk: Any, open_log: Callable[..., SegmentLog[Numbered]], watched: Watched
) -> None:
    log = open_log(keeps=False)
    small_disk.fill()
    told: list[Exception | None] = []
    log.append(("production", 1, 2), told.append)
    watched.until(lambda: watched.lost == [("production", 2, Lost.NOT_WRITTEN)])
    small_disk.make_room()
    log.append(("production", 2, 2), told.append)
    watched.until(lambda: watched.rows == {"production": 2})
    log.close()
    assert isinstance(told[0], OSError)
    assert told[1:] == [None]
    assert numbers_in(small_disk.folder / "production") == [2, 2]


def test_room_is_seen_where_nothing_waits_for_it(
    small_disk: Any, open_log: Callable[..., SegmentLog[Numbered]], watched: Watched
) -> None:
    """Else it would be said to be full until somebody sends more."""
    log = open_log(keeps=False)
    small_disk.fill()
    log.append(("production", 1, 2), lambda problem: None)
    watched.until(lambda: watched.stalled == {"production": True})
    small_disk.make_room()
    watched.until(lambda: watched.stalled == {"production": False})
    log.close()
    assert watched.lost == [("production", 2, Lost.NOT_WRITTEN)]
    assert numbers_in(small_disk.folder / "production") == []


def test_what_cannot_be_encoded_takes_no_other_along(
    tmp_path: Path, open_log: Callable[..., SegmentLog[Numbered]], watched: Watched
) -> None:
    log = open_log()
    told: list[Exception | None] = []
    for number in (0, 1, -1, 3, 4):
        log.append(("production", number, 1), told.append if number < 0 else None)
    watched.until(lambda: watched.rows == {"production": 4})
    assert numbers_in(tmp_path / "logs" / "production") == [0, 1, 3, 4]
    assert watched.lost == [("production", 1, Lost.UNREADABLE)]
    assert isinstance(told[0], ValueError)


def test_a_batch_of_other_columns_is_not_written(tmp_path: Path) -> None:
    """Readers would take its bytes for those of the log's columns."""
    segment = Segment(tmp_path, SCHEMA, SystemClock())
    segment.write(batches_of([("here", 1, 2)]))
    with pytest.raises(MachineryError, match="other columns than the log"):
        segment.write([pa.record_batch({"number": pa.array(["1"])})])
    segment.close()
    assert [read_segment(path, SCHEMA).num_rows for path in list_segments(tmp_path)] == [2]


def test_a_damaged_segment_ends_no_process(tmp_path: Path) -> None:
    """Of one that came from elsewhere, or from a bad disk, whole batches are read."""
    segment = Segment(tmp_path, SCHEMA, SystemClock())
    segment.write(batches_of([("here", number, 20) for number in range(3)]))
    segment.close()
    (path,) = list_segments(tmp_path)
    data, draws = path.read_bytes(), random.Random(20261122)
    for _ in range(300):
        altered = bytearray(data)
        for _ in range(draws.choice((1, 2, 8))):
            altered[draws.randrange(len(altered))] = draws.choice((0, 0x7F, 0x80, 0xFF))
        path.write_bytes(altered)
        pl.DataFrame(read_segment(path, SCHEMA))
        with contextlib.suppress(InvalidInput):
            pl.DataFrame(parse_segment(bytes(altered), SCHEMA))
