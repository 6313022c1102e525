"""1,000,000 rows predicted into a dataset version, beside the bare model on the same rows.

The bare model is a script: it loads the model, reads the same Parquet files, calls the model with
the same chunks as columns of arrays, and writes the outputs to Parquet: no check, no log, no
version, no second process. `warm` leaves out its start and the load. All in turn, medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from bench.serving.workshop import default_cache, deploy, interpreter, train

from seamline.app.data.ingest_delivery import ingest_delivery
from seamline.app.serve.predict_dataset import predict_dataset
from seamline.data.versions import find_version
from seamline.data.versions.read import version_files
from seamline.data.versions.version import table_folder
from seamline.domain.clock import SystemClock
from seamline.domain.settings import Settings
from seamline.project.plan import apply_project
from seamline.serve.snapshots.snapshot import TwinPolicy
from seamline.server import ControlPlane, build_control_plane

WIDTH = 30
FEATURES = [f"x{place:02d}" for place in range(WIDTH)]
BARE = Path(__file__).with_name("predict_bare.py")
PROJECT = """
project = "bench"
team = "bench"

[datasets.rows]
time = "at"
keys = ["id"]
"""


@dataclass(frozen=True)
class Took:
    wall_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.predict", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--models", default="lr,rf", help="scaler + regression, a forest of 100")
    parser.add_argument("--cache", default="")
    options = parser.parse_args()
    cache = Path(options.cache or default_cache()).resolve()
    models = train(cache / "models", interpreter(cache))
    with tempfile.TemporaryDirectory(prefix="seamline-bench-") as name:
        root = Path(name)
        plane = build_control_plane(Settings(workspace=root / "w"), SystemClock())
        files = prepare(plane, root, options.rows, options.days)
        print(f"{options.rows:,} × {WIDTH} in {len(files)} files, load {os.getloadavg()[0]:.1f}")
        print("\n| model | answered by | wall s | processor s | × bare script | × bare warm |")
        print("|---|---|---|---|---|---|")
        for named in options.models.split(","):
            took: dict[str, list[Took]] = defaultdict(list)
            for turn in range(options.turns):
                for policy, who in ((TwinPolicy.REQUIRE, "twin"), (TwinPolicy.NEVER, "worker")):
                    wheel = deploy(plane.platform.root, models[named], Path(sys.executable), policy)
                    took[who].append(_ours(plane, f"{named}-{who}-{turn}"))
                script, warm = _bare(wheel, files, root)
                took["bare script"].append(script)
                took["bare warm"].append(warm)
            _report(named, took)
        plane.platform.engine.close()
        plane.platform.runner.close()
        plane.platform.stores.db.close()


def prepare(plane: ControlPlane, root: Path, rows: int, days: int) -> list[str]:
    """The dataset; the paths of its files."""
    draw = np.random.default_rng(7)
    step = days * 86_400_000_000 // rows
    times = np.datetime64("2026-01-01", "us") + (np.arange(rows) * step).astype("timedelta64[us]")
    table = pl.DataFrame(
        {
            "id": np.arange(rows),
            "at": pl.Series(times),
            **{name: draw.normal(size=rows) for name in FEATURES},
        }
    )
    apply_project(plane.platform.stores, PROJECT, "seamline.toml", by="bench")
    table.write_parquet(root / "rows.parquet")
    ingest_delivery(plane.platform, "rows", root / "rows.parquet", source="rows", by="bench")
    version = find_version(plane.platform.stores, "rows")
    folder = table_folder(plane.platform.stores, "rows")
    return [str(folder / one.relative) for one in version_files(plane.platform.stores, version)]


def _ours(plane: ControlPlane, to: str) -> Took:
    wall, cpu = time.perf_counter(), _cpu_s()
    predict_dataset(plane.platform, "bench", "rows", to, "production", by="bench")
    return Took(time.perf_counter() - wall, _cpu_s() - cpu)


def _bare(wheel: Path, files: list[str], root: Path) -> tuple[Took, Took]:
    command = [sys.executable, str(BARE), str(wheel), str(root), *files]
    wall, cpu = time.perf_counter(), _cpu_s()
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    script = Took(time.perf_counter() - wall, _cpu_s() - cpu)
    return script, Took(*map(float, told.split()))


def _cpu_s() -> float:
    """Of this process and of those that have ended."""
    own, ended = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def _report(model: str, took: dict[str, list[Took]]) -> None:
    def median(who: str, what: str) -> float:
        return statistics.median(getattr(one, what) for one in took[who])

    for who in took:
        wall, cpu = median(who, "wall_s"), median(who, "cpu_s")
        ratios = [
            f"{wall / median(floor, 'wall_s'):.2f} ({cpu / median(floor, 'cpu_s'):.2f})"
            for floor in ("bare script", "bare warm")
        ]
        print(f"| {model} | {who} | {wall:.2f} | {cpu:.2f} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
