"""Profiles of a table of 1,000,000 × 20, beside Evidently's summary and TFDV's statistics.

CPU seconds of the process, threads included, without reading the file; peers live in virtual
environments of their own, which this program makes with uv. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import uv

from seamline.measure.basis import make_basis
from seamline.measure.drift import compare_profiles
from seamline.measure.profiles import Profile, profile_frame, profile_partitions, sum_profiles
from seamline.measure.quantiles import quantiles

ROWS, DAYS = 1_000_000, 30
#: TFDV's newest wheels want a newer C library than Debian 12's; it imports dill undeclared.
PEERS = {
    "evidently": ("Evidently 0.7.23, summary", ("evidently==0.7.23", "pandas<3", "pyarrow")),
    "tfdv": ("TFDV 1.16.1, statistics", ("tensorflow-data-validation==1.16.1", "dill")),
}


@dataclass(frozen=True)
class Measured:
    what: str
    cpu_s: Sequence[float]
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.cpu_s)


def make_table(rows: int, seed: int, *, drifted: bool) -> pl.DataFrame:
    """Ten floats with 2 % missing, four counts, words of 3 to 2,000 kinds, a flag and a time.

    Drifted: `float_0` is shifted, `float_5` misses five times as often, one word is new."""
    rng = np.random.default_rng(seed)
    first_day = np.datetime64("2026-02-01" if drifted else "2026-01-01", "us")
    seconds = np.sort(rng.integers(0, DAYS * 86_400, rows)).astype("timedelta64[s]")
    columns: dict[str, pl.Series] = {"at": pl.Series(first_day + seconds)}
    for i in range(10):
        heavy = rng.lognormal(i / 4, 0.7, rows)
        values = pl.Series(rng.normal(i, 1 + i / 5, rows) if i % 2 else heavy)
        if drifted and i == 0:
            values = values + 0.5
        share = 0.1 if drifted and i == 5 else 0.02
        columns[f"float_{i}"] = values.set(pl.Series(rng.random(rows) < share), None)
    for i, mean in enumerate((1, 6, 25, 900)):
        columns[f"count_{i}"] = pl.Series(rng.poisson(mean, rows))
    for kinds in (3, 12, 60, 2000):
        weights = 1 / np.arange(1, kinds + 1)
        drawn = rng.choice(kinds, rows, p=weights / weights.sum())
        words = np.array([f"kind-{kind:04}" for kind in range(kinds)] + ["newcomer"], object)
        if drifted and kinds == 60:
            drawn = np.where(rng.random(rows) < 0.01, kinds, drawn)
        columns[f"word_{kinds}"] = pl.Series(words[drawn], dtype=pl.String)
    columns["flag"] = pl.Series(rng.random(rows) < 0.3)
    return pl.DataFrame(columns)


def measure(what: str, work: Callable[[], object], runs: int, note: str = "") -> Measured:
    times = []
    for _ in range(runs):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return Measured(what, times, note)


def floor_of(frame: pl.DataFrame) -> Callable[[], None]:
    """What nobody does without: every number column sorted once, every text column counted."""

    def work() -> None:
        for series in frame:
            if series.dtype == pl.String:
                series.value_counts()
            elif series.dtype != pl.Boolean:
                np.sort(series.drop_nulls().to_physical().to_numpy())

    return work


def measure_ours(before: pl.DataFrame, after: pl.DataFrame, runs: int) -> list[Measured]:
    basis = make_basis(before)
    was, now = profile_frame(before, basis), profile_frame(after, basis)
    days = profile_partitions(after, basis, after["at"].dt.date())
    if sum_profiles(days.values()) != now:
        raise SystemExit("The partitions' profiles do not add up to the whole's.")
    text = json.dumps(now.to_json())
    found = {one.column: one for one in compare_profiles(was, now)}
    if found["word_60"].new[0].value != "newcomer" or found["float_0"].psi < 0.1:
        raise SystemExit("What was planted was not found.")
    size = f"{len(text) / 1e3:.0f} kB"
    medians = [quantiles(now.columns[name], basis.columns[name], [0.5]) for name in now.columns]
    return [
        measure("floor: sort each number column, count each text", floor_of(after), runs),
        measure("profile", lambda: profile_frame(after, basis), runs, size),
        measure(
            f"profiles of {DAYS} days, in one call",
            lambda: profile_partitions(after, basis, after["at"].dt.date()),
            runs,
        ),
        measure("the basis, once for a dataset", lambda: make_basis(before), runs),
        measure(f"sum of {DAYS} days", lambda: sum_profiles(days.values()), runs),
        measure("read a profile", lambda: Profile.from_json(json.loads(text), basis), runs),
        measure("compare two profiles", lambda: compare_profiles(was, now), runs),
        measure(
            f"quantiles of {len(medians)} columns",
            lambda: [quantiles(now.columns[name], basis.columns[name]) for name in now.columns],
            runs,
        ),
    ]


def peer_python(cache: Path, name: str) -> Path:
    """The peer's interpreter; its environment is made when there is none, or another one."""
    place, (_, requirements) = cache / name, PEERS[name]
    python, stamp = place / "bin" / "python", place / "bench-requirements.txt"
    wanted = "\n".join(requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        binary = uv.find_uv_bin()
        make = [binary, "venv", "--quiet", "--python", sys.executable, str(place)]
        subprocess.run(make, check=True, cwd="/")
        install = [binary, "pip", "install", "--quiet", "--compile-bytecode", "--python"]
        subprocess.run([*install, str(python), *requirements], check=True, cwd="/")
        stamp.write_text(wanted)
    return python


def measure_peer(cache: Path, name: str, file: Path, runs: int) -> Measured:
    script = Path(__file__).with_name("profile_peers.py")
    command = [str(peer_python(cache, name)), str(script), name, str(file), str(runs)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told = json.loads(ran.stdout.splitlines()[-1])
    return Measured(PEERS[name][0], told["cpu_s"], f"{told['bytes'] / 1e3:.0f} kB")


def print_rows(rows: Sequence[Measured], own: Measured) -> None:
    print("| what | CPU s, median | range | n | to our profile | result |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        low, high = min(row.cpu_s), max(row.cpu_s)
        ratio = f"{row.median / own.median:.3g} ×"
        spread = f"{low:.3g} to {high:.3g}"
        print(
            f"| {row.what} | {row.median:.3g} | {spread} | {len(row.cpu_s)} | {ratio} | "
            f"{row.note} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peers", default=",".join(PEERS), help="separated by commas, or none")
    parser.add_argument("--peer-runs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "seamline-bench")
    args = parser.parse_args()
    peers = [name for name in args.peers.split(",") if name in PEERS]
    before = make_table(args.rows, 1, drifted=False)
    after = make_table(args.rows, 2, drifted=True)
    rows = measure_ours(before, after, args.runs)
    own = rows[1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.parquet"
        after.write_parquet(file)
        for name in peers:
            print(f"{name} …", file=sys.stderr)
            rows.append(measure_peer(args.cache, name, file, args.peer_runs))
    print_rows(rows, own)


if __name__ == "__main__":
    main()
