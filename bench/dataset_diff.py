"""Two versions of a dataset compared, from stored profiles: 20 columns, a year of partitions.

From finding both versions to the finished comparison, every profile read from disk and verified:
CPU milliseconds of the process, threads included, and wall-clock ones. The tables are those of
`profiles.py`. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
from profiles import make_table

from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.diff.stored import compare_stored
from seamline.data.ingest import ingest
from seamline.data.versions import find_version
from seamline.domain.clock import SystemClock
from seamline.store.stores import Stores, open_stores

DAYS = 365
DATASET = DatasetDeclaration("bench", time="at", mode=Mode.REPLACE)


def spread(frame: pl.DataFrame) -> pl.DataFrame:
    """Over a year."""
    first, n = date(2023, 1, 1), frame.height
    days = [first + timedelta(days=i) for i in range(DAYS)]
    at = pl.Series("at", [days[i * DAYS // n] for i in range(n)])
    return frame.with_columns(at.cast(pl.Datetime("us", "UTC")))


def make_versions(stores: Stores, folder: Path, rows: int) -> None:
    """1: a year of rows; 2: the same with drift; 3: one drifted day more; 4: a year without."""
    plain, drifted = (make_table(rows, seed, drifted=seed == 2) for seed in (1, 2))
    tables = [spread(plain), spread(drifted)]
    day = tables[1].head(rows // DAYS).with_columns(pl.col("at") + pl.duration(days=DAYS))
    year = tables[0].with_columns(pl.col("at") + pl.duration(days=DAYS + 1))
    append = replace(DATASET, mode=Mode.APPEND)
    made = ((DATASET, tables[0]), (DATASET, tables[1]), (append, day), (append, year))
    for number, (declaration, frame) in enumerate(made, 1):
        path = folder / f"{number}.parquet"
        frame.write_parquet(path)
        ingest(stores, declaration, path, source=path.name, by="bench")


@dataclass(frozen=True)
class Measured:
    cpu_s: list[float]
    wall_s: list[float]
    findings: int


def measure(stores: Stores, before: int, after: int, rounds: int) -> Measured:
    cpu, wall, found = [], [], None
    for _ in range(rounds):
        start = time.process_time(), time.perf_counter()
        old, new = (find_version(stores, f"bench@{one}") for one in (before, after))
        found = compare_stored(stores, old, new).diff
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    return Measured(cpu, wall, 0 if found is None else len(found.findings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    print("| rows | compared | findings | CPU ms | wall ms, least |\n|---|---|---|---|---|")
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            stores = open_stores(Path(folder) / "workspace", SystemClock())
            make_versions(stores, Path(folder), rows)
            for before, after, what in (
                (1, 1, "a version with itself"),
                (1, 2, "a year replaced by a drifted one"),
                (2, 3, "one day added"),
                (3, 4, "a year added"),
            ):
                took = measure(stores, before, after, arguments.rounds)
                cpu, wall = 1000 * statistics.median(took.cpu_s), 1000 * min(took.wall_s)
                print(f"| {rows:,} | {what} | {took.findings} | {cpu:.0f} | {wall:.0f} |")
            stores.db.close()


if __name__ == "__main__":
    main()
