"""Stores of dataset versions side by side: ours, raw Delta, plain Parquet, DVC.

Each takes in the same Parquet files: 1,000,000 rows × 20 columns of 30 days, then one file per day;
then its first version is read again, and its last two versions are compared. Wall-clock seconds, in
turns; DVC is driven by its own program, in a virtual environment of its own. Prints Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import polars as pl
import uv
from deltalake import DeltaTable, write_deltalake
from profiles import make_table

from seamline.data.declaration import DatasetDeclaration
from seamline.data.diff.stored import compare_stored
from seamline.data.ingest import ingest
from seamline.data.versions import find_version, read_version
from seamline.domain.clock import SystemClock
from seamline.store.stores import open_stores

TABLE = DatasetDeclaration("table", time="at")
DVC = ("dvc==3.67.1",)
COLUMNS = ("commit", "append", "read", "diff")
TITLES = ("commit, s", "append of a day, s", "read version 1, s", "diff of the last two, s")


class Store(Protocol):
    """Versions are counted from 1."""

    def add(self, file: Path) -> None: ...

    def read(self, version: int) -> int:
        """The version's rows."""
        ...

    def diff(self) -> str:
        """What is told of the last two versions."""
        ...

    def close(self) -> None: ...


class Ours:
    """Checked against the contract, profiled, with lineage."""

    def __init__(self, folder: Path) -> None:
        self._stores = open_stores(folder / "workspace", SystemClock())
        self._versions = 0

    def add(self, file: Path) -> None:
        ingest(self._stores, TABLE, file, source=file.name, by="bench")
        self._versions += 1

    def read(self, version: int) -> int:
        return read_version(self._stores, find_version(self._stores, f"table@{version}")).height

    def diff(self) -> str:
        before, after = (
            find_version(self._stores, f"table@{one}")
            for one in (self._versions - 1, self._versions)
        )
        found = compare_stored(self._stores, before, after).diff
        return f"rows, columns and distributions: {len(found.findings)} findings"

    def close(self) -> None:
        self._stores.db.close()


class RawDelta:
    """delta-rs alone."""

    def __init__(self, folder: Path) -> None:
        self._table = str(folder / "table")

    def add(self, file: Path) -> None:
        dated = pl.read_parquet(file).with_columns(ds=pl.col("at").dt.date())
        write_deltalake(self._table, dated.to_arrow(), mode="append", partition_by=["ds"])

    def read(self, version: int) -> int:
        return DeltaTable(self._table, version=version - 1).to_pyarrow_table().num_rows

    def diff(self) -> str:
        now = DeltaTable(self._table)
        before = DeltaTable(self._table, version=now.version() - 1)
        added = set(now.file_uris()) - set(before.file_uris())
        return f"file names: {len(added)} added"

    def close(self) -> None:
        pass


class PlainParquet:
    """A file by its digest, and a list of files per version: the least that can be done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []

    def add(self, file: Path) -> None:
        partial = self._folder / "partial"
        with partial.open("wb") as target:
            pl.read_parquet(file).write_parquet(target, compression="zstd", compression_level=1)
            target.flush()
            os.fsync(target.fileno())
        with partial.open("rb") as written:
            name = hashlib.file_digest(written, "sha256").hexdigest()
        partial.rename(self._folder / name)
        self._names.append(name)
        manifest = self._folder / f"{len(self._names)}.json"
        manifest.write_text(json.dumps(self._names))

    def read(self, version: int) -> int:
        names = json.loads((self._folder / f"{version}.json").read_text())
        return sum(pl.read_parquet(self._folder / name).height for name in names)

    def diff(self) -> str:
        now, before = (
            set(json.loads((self._folder / f"{one}.json").read_text()))
            for one in (len(self._names), len(self._names) - 1)
        )
        return f"file names: {len(now - before)} added"

    def close(self) -> None:
        pass


class Dvc:
    """A folder under DVC in a Git repository, a tag for each version."""

    def __init__(self, folder: Path, program: Path) -> None:
        self._folder, self._program = folder, program
        self._versions = 0
        (folder / "data").mkdir()
        for words in (
            ("init", "-q"),
            ("config", "user.email", "b@b"),
            ("config", "user.name", "b"),
        ):
            self._run("git", *words)
        self._run(program, "init", "-q")
        self._run(program, "config", "core.analytics", "false")

    def _run(self, *words: str | Path) -> str:
        environ = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            list(map(str, words)),
            cwd=self._folder,
            env=environ,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def add(self, file: Path) -> None:
        shutil.copyfile(file, self._folder / "data" / file.name)
        self._versions += 1
        self._run(self._program, "add", "-q", "data")
        self._run("git", "add", "-A")
        self._run("git", "commit", "-q", "-m", f"version {self._versions}")
        self._run("git", "tag", f"v{self._versions}")

    def read(self, version: int) -> int:
        self._run("git", "checkout", "-q", f"v{version}")
        self._run(self._program, "checkout", "-q")
        return pl.read_parquet(self._folder / "data" / "*.parquet").height

    def diff(self) -> str:
        told = json.loads(
            self._run(
                *(self._program, "diff", "--json"),
                *(f"v{self._versions - 1}", f"v{self._versions}"),
            )
        )
        return f"file names: {sum('parquet' in one['path'] for one in told['added'])} added"

    def close(self) -> None:
        pass


def dvc_program(cache: Path) -> Path:
    """DVC in an environment of its own, which is made when there is none."""
    place = cache / "dvc"
    program, stamp = place / "bin" / "dvc", place / "bench-requirements.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(DVC):
        shutil.rmtree(place, ignore_errors=True)
        binary = uv.find_uv_bin()
        make = [binary, "venv", "--quiet", "--python", sys.executable, str(place)]
        subprocess.run(make, check=True, cwd="/")
        install = [binary, "pip", "install", "--quiet", "--compile-bytecode", "--python"]
        subprocess.run([*install, str(place / "bin" / "python"), *DVC], check=True, cwd="/")
        stamp.write_text("\n".join(DVC))
    return program


def make_files(folder: Path, rows: int, days: int) -> list[Path]:
    """The first month whole, then the next month's days, one file each."""
    files = [folder / "first.parquet"]
    make_table(rows, 1, drifted=False).write_parquet(files[0])
    later = make_table(rows, 2, drifted=True)
    for day, frame in sorted(
        later.group_by(pl.col("at").dt.date(), maintain_order=True), key=lambda one: one[0]
    )[:days]:
        files.append(folder / f"{day[0]}.parquet")
        frame.write_parquet(files[-1])
    return files


def play(store: Store, files: Sequence[Path], rows: int) -> tuple[dict[str, list[float]], str]:
    """Seconds of each kind of work; raises SystemExit where version 1 is not what went in."""
    took: dict[str, list[float]] = defaultdict(list)

    def timed(what: str, work: Callable[[], object]) -> object:
        began = time.perf_counter()
        result = work()
        took[what].append(time.perf_counter() - began)
        return result

    try:
        for number, file in enumerate(files):
            timed("append" if number else "commit", lambda file=file: store.add(file))
        told = timed("diff", store.diff)
        if timed("read", lambda: store.read(1)) != rows:
            raise SystemExit(f"{type(store).__name__} gave other rows than version 1 has.")
    finally:
        store.close()
    return took, str(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=10, help="appends")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--without-dvc", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "seamline-bench")
    given = parser.parse_args()
    stores: dict[str, Callable[[Path], Store]] = {
        "Seamline": Ours,
        "Delta (delta-rs), no checks": RawDelta,
        "Parquet files by digest": PlainParquet,
    }
    if not given.without_dvc:
        program = dvc_program(given.cache)
        stores["DVC 3.67.1 in Git"] = lambda folder: Dvc(folder, program)
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in stores}
    told: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bench-stores-") as folder:
        files = make_files(Path(folder), given.rows, given.days)
        for turn in range(given.times):
            for name, make in stores.items():
                print(f"{name}, turn {turn + 1} of {given.times} …", file=sys.stderr)
                place = Path(folder) / "place"
                place.mkdir()
                took, told[name] = play(make(place), files, given.rows)
                for what, seconds in took.items():
                    found[name][what] += seconds
                shutil.rmtree(place)
    print_rows(found, told)


def print_rows(found: dict[str, dict[str, list[float]]], told: dict[str, str]) -> None:
    print(f"| store | {' | '.join(TITLES)} | what the diff says |")
    print("|---|---|---|---|---|---|")
    own = next(iter(found.values()))
    for name, took in found.items():
        cells = []
        for what in COLUMNS:
            median, ours = statistics.median(took[what]), statistics.median(own[what])
            ratio = median / ours
            cells.append(f"{median:.3g} ({ratio:{'.0f' if ratio > 9 else '.2g'}} ×)")
        print(f"| {name} | {' | '.join(cells)} | {told[name]} |")


if __name__ == "__main__":
    main()
