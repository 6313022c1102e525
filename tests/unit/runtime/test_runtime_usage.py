"""Memory of real processes, bytes of real folders."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from seamline.runtime.tasks import TaskRunner, TaskSpec
from seamline.runtime.usage import (
    FolderUsage,
    family_usage,
    filesystem_bytes,
    measure_parts,
    own_usage,
)

MIB = 1 << 20
#: Takes up memory, tells, and waits to be told.
LARGE = """
import time
from pathlib import Path
def main(payload):
    held = bytearray(b"x") * (64 << 20)
    Path("ready").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return {"bytes": len(held)}
"""


def test_own_usage() -> None:
    before = own_usage()
    assert before is not None
    assert before.started_at_s < time.time()
    assert before.cpu_s > 0
    assert abs(before.resident_bytes - psutil.Process().memory_info().rss) < 16 * MIB
    grown = set()
    for _ in range(20):  # other threads of the tests may open and close files meanwhile
        without = own_usage()
        with Path("/dev/null").open():
            after = own_usage()
        assert without is not None and after is not None
        grown.add(after.open_files - without.open_files)
    assert 1 in grown


def test_zygotes_and_tasks_are_told_apart_from_other_children(
    runner: TaskRunner,
    script: Callable[..., TaskSpec],
    wait_until: Callable[[Callable[[], object]], None],
) -> None:
    before = family_usage()
    spec = script("large", LARGE)
    ended = runner.start(spec)
    wait_until((spec.work_dir / "ready").exists)
    during = family_usage()
    assert during.zygotes - before.zygotes == 1
    assert during.forked - before.forked >= 1  # Some wait for the next task.
    assert during.forked_bytes - before.forked_bytes > 60 * MIB
    assert 1 * MIB < during.zygotes_bytes - before.zygotes_bytes < 60 * MIB
    (spec.work_dir / "go").touch()
    assert ended.result(120).succeeded
    assert family_usage().forked_bytes - before.forked_bytes < 60 * MIB
    runner.close()
    after = family_usage()
    assert (after.zygotes, after.forked) == (before.zygotes, before.forked)


def test_folders_are_measured_by_their_first_level(tmp_path: Path) -> None:
    blobs, runs = tmp_path / "blobs", tmp_path / "runs"
    (blobs / "deep" / "deeper").mkdir(parents=True)
    runs.mkdir()
    for path in (blobs / "one", blobs / "deep" / "deeper" / "two", tmp_path / "seamline.db"):
        path.write_bytes(os.urandom(MIB))
    (tmp_path / "seamline.db-wal").write_bytes(os.urandom(MIB))
    (tmp_path / "server.json").write_bytes(b"{}")
    (blobs / "again").hardlink_to(blobs / "one")
    (runs / "elsewhere").symlink_to("/usr", target_is_directory=True)
    parts = measure_parts(tmp_path)
    assert set(parts) == {"blobs", "runs", "database", "other"}
    assert 2 * MIB <= parts["blobs"] < 2.1 * MIB
    assert 2 * MIB <= parts["database"] < 2.1 * MIB
    assert parts["runs"] < 0.1 * MIB
    assert measure_parts(tmp_path / "none") == {}


def test_a_folder_is_measured_anew_when_that_is_due(tmp_path: Path) -> None:
    moments = iter([0.0, 2.0, 199.0, 202.0, 202.1])  # Two seconds of measuring: 200 of rest.
    usage = FolderUsage(tmp_path, lambda: next(moments))
    assert usage.parts() == {}
    (tmp_path / "blobs").mkdir()
    assert usage.parts() == {}
    assert set(usage.parts()) == {"blobs"}


def test_who_asks_meanwhile_waits_and_nothing_is_measured_twice(tmp_path: Path) -> None:
    asked = []

    def now() -> float:
        asked.append(threading.get_ident())
        return 0.0

    usage = FolderUsage(tmp_path, now)
    threads = [threading.Thread(target=usage.parts) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 8 + 1  # Each looks whether it is due; one of them measured.


def test_filesystem(tmp_path: Path) -> None:
    size, free = filesystem_bytes(tmp_path)
    assert 0 < free <= size
