"""kill -9 under 10,000 rows a second: what was called durable stands, whole and in order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from seamline.serve.segments import list_segments, read_segment

SCHEMA = pa.schema([("number", pa.int64())])
INTERVAL_S = 0.1
RATE = 10_000

WRITER = """
import os, sys, time
from pathlib import Path
import pyarrow as pa
from seamline.domain.clock import SystemClock
from seamline.serve.segments import SegmentLog

schema = pa.schema([("number", pa.int64())])
rate, interval_s = int(sys.argv[2]), float(sys.argv[3])

def batches(entries):
    return {"production": [pa.record_batch([pa.array(entries, pa.int64())], schema)]}

def committed(number):
    # One write each, by either thread: what is read was said whole.
    return lambda problem: os.write(1, f"committed {number} {problem}\\n".encode())

log = SegmentLog(Path(sys.argv[1]), schema, batches, SystemClock(), interval_s=interval_s)
started_s, number = time.monotonic(), 0
while True:
    due = int((time.monotonic() - started_s) * rate)
    while number < due:
        log.append(number, committed(number) if number % 100 == 0 else None)
        number += 1
    os.write(1, f"appended {number}\\n".encode())
    time.sleep(0.001)
"""
#: More under soak.
KILLS = int(os.environ.get("SEAMLINE_SOAK_KILLS", "3"))


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_writer_loses_nothing_that_was_committed(kill: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(RATE), str(INTERVAL_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        committed = appended = 0
        for line in writer.stdout:
            words = line.split()
            if words[0] == "appended":
                appended = int(words[1])
            else:
                assert words[2] == "None", line
                committed = int(words[1])
            # Somewhere between two commits, a different place each time.
            if committed and appended >= 4_000 + 1_777 * kill:
                break
        writer.kill()
        for line in writer.stdout:  # what it had said before it died
            words = line.split()
            if words[0] == "committed" and len(words) == 3:
                committed = int(words[1])
    numbers: list[int] = []
    for path in list_segments(tmp_path / "production"):
        numbers += read_segment(path, SCHEMA)["number"].to_pylist()
    assert numbers == list(range(len(numbers))), "a row is missing, doubled or out of place"
    assert len(numbers) > committed, "what was called durable is not there"
