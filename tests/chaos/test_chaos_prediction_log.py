"""kill -9 under 10,000 rows a second: what was called durable stands, whole and in order, and no
more than the last interval is lost.

A kill leaves the kernel's memory as it was, so nothing here can tell whether a commit was flushed:
tests/unit/serve/log/test_serve_segment_log.py watches the flushes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from seamline.serve.log.prediction_log import INTERVAL_S
from seamline.serve.log.segments import list_segments, read_segment

SCHEMA = pa.schema([("number", pa.int64())])
RATE = 10_000
#: The log's thread may have to wait for a processor, on a machine that is shared.
SLACK_S = 0.5

WRITER = """
import os, signal, sys, time
from pathlib import Path
import pyarrow as pa
from seamline.domain.clock import SystemClock
from seamline.serve.log.segment_log import SegmentLog

schema = pa.schema([("number", pa.int64())])
rate, interval_s, last = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])

def batches(entries):
    return [pa.record_batch([pa.array(entries, pa.int64())], schema)]

def committed(number):
    def tell(problem):
        # One write each, by either thread: what is read was said whole.
        os.write(1, f"committed {number} {problem}\\n".encode())
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)
    return tell

def place(entry):
    return "production", 1

log = SegmentLog(
    Path(sys.argv[1]), schema, batches, place, SystemClock(), interval_s=interval_s
)
started_s, number = time.monotonic(), 0
while True:
    due = int((time.monotonic() - started_s) * rate)
    while number < due:
        log.append(number, committed(number) if number % 100 == 0 else None)
        number += 1
    os.write(1, f"appended {number} {time.monotonic()}\\n".encode())
    time.sleep(0.001)  # it waits for nothing: what has come due since is appended next
"""
#: More under soak.
KILLS = int(os.environ.get("SEAMLINE_SOAK_KILLS", "3"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory, where there is such a place: a disk that is busy with others' work makes the
    interval as long as it pleases."""
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="seamline-log-", dir=memory if memory.is_dir() else None)
    yield Path(made)
    shutil.rmtree(made)


@dataclass
class Heard:
    """What the writer said before it died; the clock is the machine's."""

    committed: int = -1
    #: How many had been appended, and when that was.
    appended: list[tuple[int, float]] = field(default_factory=list)

    def take(self, line: str) -> None:
        words = line.split()
        if len(words) != 3 or not line.endswith("\n"):
            return
        if words[0] == "appended":
            self.appended.append((int(words[1]), float(words[2])))
        else:
            assert words[2] == "None", line
            self.committed = int(words[1])

    def appended_by(self, moment_s: float) -> int:
        return max((count for count, at_s in self.appended if at_s <= moment_s), default=0)


def test_a_killed_writer_loses_its_last_interval_at_most(folder: Path) -> None:
    late = [kill for kill in range(KILLS) if not is_bound_kept(folder / str(kill), kill)]
    # Where the thread was given no processor for long, which no clock here can see.
    assert len(late) < KILLS, "more than an interval is lost, each time"


@pytest.mark.parametrize("last", [0, 4_200])
def test_it_is_there_at_the_very_moment_it_is_called_durable(folder: Path, last: int) -> None:
    """The writer dies as it says so: of the first row, and in the midst of it."""
    heard = Heard()
    with start(folder, last) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            heard.take(line)
    assert (writer.returncode, heard.committed) == (-signal.SIGKILL, last)
    assert len(written(folder)) > last


def start(folder: Path, last: int = -1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(RATE), str(INTERVAL_S), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def written(folder: Path) -> list[int]:
    numbers: list[int] = []
    for path in list_segments(folder / "production"):
        numbers += read_segment(path, SCHEMA)["number"].to_pylist()
    assert numbers == list(range(len(numbers))), "a row is missing, doubled or out of place"
    return numbers


def is_bound_kept(folder: Path, kill: int) -> bool:
    """Whether all is there but the last interval; what was called durable has to be, always."""
    heard = Heard()
    with start(folder) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            heard.take(line)
            # Somewhere between two commits, a different place each time.
            if heard.appended and heard.appended[-1][0] >= 9_000 + 1_777 * kill:
                break
        killed_at_s = time.monotonic()
        writer.kill()
        for line in writer.stdout:  # what it had said before it died
            heard.take(line)
    numbers = written(folder)
    assert len(numbers) > heard.committed, "what was called durable is not there"
    long_ago = heard.appended_by(killed_at_s - INTERVAL_S - SLACK_S)
    return len(numbers) >= long_ago > 0


def test_the_interval_is_the_one_that_is_told() -> None:
    assert INTERVAL_S <= 0.1
