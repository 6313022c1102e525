"""kill -9 anywhere in an ingest: nothing is lost, nothing is there twice, nothing is left behind.

A seeded sample; `--soak` plays the full counts. A failure names the delivery and the moment.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from seamline.data.commit import staging_folder
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.data.recovery import finish_all_pending
from seamline.data.versions import list_versions, read_version, table_folder, version_files
from seamline.domain.clock import SystemClock
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores, open_stores
from seamline.store.tables import table_version

READINGS = DatasetDeclaration("readings", time="at", keys=("id",))

#: Ingests argv[2:-2] into argv[1]. With argv[-1] = N > 0 it kills itself at the N-th moment of the
#: kind argv[-2], and prints how many there were. "step": a function of ours is entered or left.
#: "effect": something has just been done that stays.
CHILD = """
import os, signal, sys
from pathlib import Path
from seamline.data import commit, ingest as taking
from seamline.data.declaration import DatasetDeclaration
from seamline.domain.clock import SystemClock
from seamline.store.stores import open_stores

ours = str(Path(commit.__file__).parents[1])
readings = DatasetDeclaration("readings", time="at", keys=("id",))
stores = open_stores(Path(sys.argv[1]), SystemClock())
kind, last, seen = sys.argv[-2], int(sys.argv[-1]), 0
def is_moment(frame, event, argument):
    if kind == "step":
        return event in ("call", "return") and frame.f_code.co_filename.startswith(ours)
    # A file in place or gone; a commit of the database, or of the table.
    return event == "c_return" and (
        argument in (os.replace, os.unlink)
        or argument.__name__ in ("commit", "create_write_transaction")
    )

def watch(frame, event, argument):
    global seen
    if is_moment(frame, event, argument):
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

for path in sys.argv[2:-2]:
    sys.setprofile(watch)
    taking.ingest(stores, readings, Path(path), source=path, by="ada")
    sys.setprofile(None)
print(seen)
"""


def start(
    stores_root: Path, paths: list[Path], last: int = 0, kind: str = "step"
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(stores_root), *map(str, paths), kind, str(last)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def delivery(folder: Path, number: int, rows: int = 300) -> Path:
    """Ids that no other delivery has, over three days."""
    frame = pl.DataFrame({"id": range(number * rows, (number + 1) * rows)}).with_columns(
        at=pl.lit(date(2026, 1, 1)) + pl.duration(days=pl.col("id") % 3),
        x=(pl.col("id") * 0.37).sin(),
    )
    path = folder / f"{number}.csv"
    frame.write_csv(path)
    return path


def check_whole(stores: Stores, deliveries: int, rows: int = 300) -> None:
    """Exactly these deliveries are in it, in table, versions, files and facts alike."""
    versions = list_versions(stores, "readings")
    assert [version.version for version in versions] == list(range(1, deliveries + 1))
    newest = versions[-1]
    ids = read_version(stores, newest)["id"]
    assert ids.sort().to_list() == list(range(deliveries * rows))
    folder = table_folder(stores, "readings")
    assert pl.read_delta(str(folder)).height == deliveries * rows
    assert table_version(folder) == newest.delta_version == deliveries - 1
    there = {str(path.relative_to(folder)) for path in folder.glob("ds=*/*.parquet")}
    assert there == {file.relative for file in version_files(stores, newest)}
    assert not staging_folder(stores, "readings").exists()
    with stores.db.read() as connection:
        facts = list(read_facts(connection, kinds=["dataset.version_committed"]))
        assert len(facts) == deliveries
        assert verify_chain(connection).broken is None


def test_killed_at_any_moment_of_an_ingest(tmp_path: Path, soak: bool) -> None:
    stores = open_stores(tmp_path / "workspace", SystemClock())
    try:
        moments = count_moments(stores, tmp_path, "step")
        draw = random.Random(20261121)
        counts = 1_000 if soak else 6
        for number in range(1, counts + 1):
            # The last part of an ingest is its commit: half of the kills go there.
            first = 1 if number % 2 else moments - moments // 4
            moment = draw.randint(first, moments)
            path = delivery(tmp_path, number)
            where = f"delivery {number}, killed at moment {moment} of {moments}"
            check_killed(stores, path, number, start(stores.root, [path], moment), where)
        check_whole(stores, counts + 1)
    finally:
        stores.db.close()


def test_killed_right_after_each_thing_that_stays(tmp_path: Path) -> None:
    """What comes between two of them is what a sample of all moments hardly ever hits."""
    stores = open_stores(tmp_path / "workspace", SystemClock())
    try:
        moments = 1 + count_moments(stores, tmp_path, "effect")
        assert moments > 5  # the intent, three files, the table, the version
        for number in range(1, moments):
            path = delivery(tmp_path, number)
            child = start(stores.root, [path], number, "effect")
            check_killed(stores, path, number, child, f"killed after effect {number}")
    finally:
        stores.db.close()


def count_moments(stores: Stores, folder: Path, kind: str) -> int:
    """Of one ingest, the first."""
    begun = start(stores.root, [delivery(folder, 0)], kind=kind)
    return int(begun.communicate(timeout=600)[0])


def check_killed(
    stores: Stores, path: Path, number: int, child: subprocess.Popen[str], where: str
) -> None:
    """Before, `number` deliveries were in it; in the end this one is, too."""
    told, _ = child.communicate(timeout=600)
    assert child.returncode == -signal.SIGKILL or told, where
    finish_all_pending(stores)
    before = len(list_versions(stores, "readings"))
    assert before in (number, number + 1), where
    check_whole(stores, before)
    again = ingest(stores, READINGS, path, source="again", by="ada")
    assert again.is_new == (before == number), where


def test_four_processes_that_append_to_one_dataset(tmp_path: Path, soak: bool) -> None:
    each = 25 if soak else 4
    stores = open_stores(tmp_path / "workspace", SystemClock())
    paths = [delivery(tmp_path, number) for number in range(4 * each)]
    children = [start(stores.root, paths[one::4]) for one in range(4)]
    for child in children:
        child.communicate(timeout=600)
    try:
        assert [child.returncode for child in children] == [0] * 4
        check_whole(stores, 4 * each)
    finally:
        stores.db.close()


#: Ingests argv[2] into argv[1] and prints the rows, and the most memory that it had.
MEASURED = """
import sys
from pathlib import Path
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.domain.clock import SystemClock
from seamline.store.stores import open_stores

stores = open_stores(Path(sys.argv[1]), SystemClock())
readings = DatasetDeclaration("readings", time="at", keys=("id",))
made = ingest(stores, readings, Path(sys.argv[2]), source="large", by="ada").version
# Not ru_maxrss: that one begins at what the process had that started this one.
status = Path("/proc/self/status").read_text()
print(made.rows, int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""


def test_a_large_delivery_needs_no_large_memory(tmp_path: Path, soak: bool) -> None:
    """5 GB with `--soak`, else 300 MB (which, read whole, takes 2 GB)."""
    path = tmp_path / "large.csv"
    rows = write_large(path, 5_000_000_000 if soak else 300_000_000)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "workspace"), str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=7_200,
        check=True,
    )
    path.unlink()
    found, peak_bytes = map(int, done.stdout.split())
    assert found == rows
    assert peak_bytes < 1_000_000_000


def write_large(path: Path, size_bytes: int) -> int:
    """Sensor readings, each batch over three days that overlap the next one's."""
    draw, rows = np.random.default_rng(7), 0
    with path.open("wb") as file:
        while file.tell() < size_bytes:
            n = 200_000
            seconds = draw.integers(0, 3 * 86_400, n) + rows // n * 86_400
            at = np.datetime64("2024-01-01") + seconds.astype("timedelta64[s]")
            frame = pl.DataFrame(
                {
                    "id": np.arange(rows, rows + n),
                    "at": at.astype("datetime64[ms]"),
                    **{f"f{i}": draw.normal(i, 1, n).round(4) for i in range(8)},
                    **{f"i{i}": draw.integers(0, 10 ** (i + 1), n) for i in range(4)},
                    "shop": draw.integers(0, 500, n),
                    "note": draw.integers(0, 2**40, n),
                }
            ).with_columns(
                pl.format("shop-{}", "shop"),
                pl.format("{} is a note of some length, written by a person", "note"),
            )
            frame.write_csv(file, include_header=rows == 0, datetime_format="%Y-%m-%dT%H:%M:%SZ")
            rows += n
    return rows
