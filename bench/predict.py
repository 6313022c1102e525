"""1,000,000 rows predicted into a dataset version, beside the bare model on the same batches.

The bare model reads the same Parquet files, is called with the same chunks as columns of arrays,
and writes its outputs to Parquet: no check, no log, no second process. Both in turn, medians.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import skops.io
from sklearn.linear_model import Ridge

from seamline.app.data.ingest_delivery import ingest_delivery
from seamline.app.serve.bulk_job import CHUNK_ROWS
from seamline.app.serve.predict_dataset import predict_dataset
from seamline.data.versions import find_version
from seamline.data.versions.read import version_files
from seamline.data.versions.version import table_folder
from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.domain.settings import Settings
from seamline.project.plan import apply_project
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.serve.snapshot import (
    Column,
    EndpointSpec,
    ServingSnapshot,
    Signature,
    snapshot_path,
    write_snapshot,
)
from seamline.server import ControlPlane, build_control_plane

FEATURES = ("hour", "distance", "wind", "humid")
PROJECT = """
project = "bench"
team = "bench"

[datasets.rows]
time = "at"
keys = ["id"]
"""
RELEASE = "sha256:" + "ab" * 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--bare", nargs=3, metavar=("WHEEL", "FILES", "OUT"), help="one bare turn")
    options = parser.parse_args()
    if options.bare:
        print(bare(*options.bare))
        return
    with tempfile.TemporaryDirectory(prefix="seamline-bench-") as name:
        root = Path(name)
        plane = build_control_plane(Settings(workspace=root / "w"), SystemClock())
        wheel = prepare(plane, root, options.rows, options.days)
        version = find_version(plane.platform.stores, "rows")
        folder = table_folder(plane.platform.stores, "rows")
        files = [
            str(folder / one.relative) for one in version_files(plane.platform.stores, version)
        ]
        print(f"{options.rows:,} rows in {len(files)} files, load {os.getloadavg()[0]:.1f}")
        took: dict[str, list[float]] = {"bare": [], "ours": []}
        for turn in range(options.turns):
            command = [sys.executable, __file__, "--bare", str(wheel), ",".join(files), str(root)]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            took["bare"].append(float(told))
            started = time.perf_counter()
            predict_dataset(plane.platform, "m", "rows", f"out-{turn}", "production", by="bench")
            took["ours"].append(time.perf_counter() - started)
            print(f"bare {took['bare'][-1]:.1f} s, ours {took['ours'][-1]:.1f} s", flush=True)
        medians = {name: statistics.median(seconds) for name, seconds in took.items()}
        ratio = medians["ours"] / medians["bare"]
        print(f"medians {medians['bare']:.2f} s and {medians['ours']:.2f} s: {ratio:.2f} x")
        plane.platform.engine.close()
        plane.platform.runner.close()
        plane.platform.stores.db.close()


def prepare(plane: ControlPlane, root: Path, rows: int, days: int) -> Path:
    """The dataset, a model of it, and the snapshot in which it is live; the wheel's path."""
    draw = np.random.default_rng(7)
    table = pl.DataFrame(
        {
            "id": np.arange(rows),
            "at": pl.Series(
                np.datetime64("2026-01-01", "us")
                + (np.arange(rows) * (days * 86_400_000_000 // rows)).astype("timedelta64[us]")
            ),
            **{name: draw.normal(size=rows) for name in FEATURES},
        }
    )
    apply_project(plane.platform.stores, PROJECT, "seamline.toml", by="bench")
    table.write_parquet(root / "rows.parquet")
    ingest_delivery(plane.platform, "rows", root / "rows.parquet", source="rows", by="bench")
    few = table.head(1000).select(FEATURES)
    estimator = Ridge().fit(few.to_numpy(), few["hour"].to_numpy())
    payload = skops.io.dumps(estimator)
    inputs = [{"name": name, "datatype": "FP64", "nullable": False} for name in FEATURES]
    described: dict[str, Any] = {
        "task": "regression",
        "format": "skops",
        "payload_digest": digest_of(payload),
        "threshold": 0.5,
        "signature": {
            "inputs": inputs,
            "outputs": [{"name": "prediction", "datatype": "FP64"}],
        },
        "requirements": [],
        "requires_python": ">=3.11",
        "trusted_types": [],
        "frame": None,
    }
    lineage = Lineage("run", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
    document = make_model_document("bench-model", "1.0.1", described, lineage)
    wheel = build_model_wheel(ModelWheelSpec(document, {"rows": [], "outputs": {}}, payload))
    digest = plane.platform.stores.blobs.put(wheel)
    path = plane.platform.stores.blobs.path_of(digest)
    spec = EndpointSpec(
        "m", "bench-model", "1.0.1", digest, digest_of(payload), str(path), "bench.whl",
        document["module"], "regression",
        Signature(
            tuple(Column(name, "FP64") for name in FEATURES), (Column("prediction", "FP64"),)
        ),
        sys.executable,
    )  # fmt: skip
    snapshot = ServingSnapshot("production", 1, RELEASE, "b", "2026-01-01T00:00:00Z", (spec,))
    write_snapshot(snapshot_path(plane.platform.root, "production"), snapshot, plane.platform.key)
    copy = root / "bench_model-1.0.1-py3-none-any.whl"
    copy.write_bytes(wheel)
    return copy


def bare(wheel: str, files: str, out: str) -> float:
    """Seconds, the model's import among them: ours pays for it, too."""
    started = time.perf_counter()
    sys.path.insert(0, wheel)
    model = importlib.import_module("bench_model").load()
    for number, file in enumerate(files.split(",")):
        frame = pl.read_parquet(file, columns=["id", *FEATURES])
        parts = [
            model.outputs({name: part[name].to_numpy() for name in FEATURES})["prediction"]
            for part in frame.iter_slices(CHUNK_ROWS)
        ]
        answers = pl.DataFrame({"id": frame["id"], "prediction": np.concatenate(parts)})
        answers.write_parquet(Path(out) / f"bare-{number}.parquet")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
