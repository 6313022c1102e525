"""`seamline predict`: what it says, in words and as JSON, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.domain.settings import Settings
from seamline.serve.snapshots.snapshot import (
    Column,
    EndpointSpec,
    ServingSnapshot,
    Signature,
    snapshot_path,
    write_snapshot,
)
from seamline.server import build_control_plane

PROGRAM = str(Path(sys.executable).with_name("seamline"))
MODEL = """
class Model:
    def outputs(self, columns):
        return {"score": [hour / 2 for hour in columns["hour"]]}


def load():
    return Model()
"""
PROJECT = 'project = "late"\nteam = "late"\n[datasets.flights]\nkeys = ["flight"]\n'
Seamline = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def seamline(tmp_path_factory: pytest.TempPathFactory) -> Seamline:
    """In a workspace with a live endpoint `late` and a declared dataset."""
    folder = tmp_path_factory.mktemp("predict")
    root = folder / "workspace"
    plane = build_control_plane(Settings(workspace=root), SystemClock())
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("late/__init__.py", MODEL)
    blobs = plane.platform.stores.blobs
    digest = blobs.put(memory.getvalue())
    spec = EndpointSpec(
        "late", "late-arrival", "1.0.1", digest, digest_of(b"p"), str(blobs.path_of(digest)),
        "late.whl", "late", "regression",
        Signature((Column("hour", "INT64"),), (Column("score", "FP64"),)), sys.executable,
    )  # fmt: skip
    snapshot = ServingSnapshot(
        "production", 1, "sha256:" + "ab" * 32, "june", "2026-01-01T00:00:00Z", (spec,)
    )
    write_snapshot(snapshot_path(root, "production"), snapshot, plane.platform.key)
    plane.platform.engine.close()
    plane.platform.runner.close()
    plane.platform.stores.db.close()
    (folder / "seamline.toml").write_text(PROJECT)
    (folder / "flights.csv").write_text("flight,hour\n1,6\n2,9\n")

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "SEAMLINE_WORKSPACE": str(root)}
        done = subprocess.run(
            [PROGRAM, *words], capture_output=True, env=environ, cwd=folder, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    run("apply")
    run("data", "ingest", "flights", "flights.csv")
    return run


def test_a_table_is_filled_once_and_says_so(seamline: Seamline) -> None:
    words = ("predict", "late", "--data", "flights@1", "--to", "scores")
    told = json.loads(seamline(*words, "--json").stdout)
    assert (told["dataset"], told["rows"], told["is_new"]) == ("scores-production", 2, True)
    again = seamline(*words).stdout
    assert again.startswith("scores-production@1 was predicted before; it brought 2 answers")
    shown = json.loads(seamline("data", "read", "scores-production", "--json").stdout)
    at = shown["columns"].index("score")
    assert sorted(row[at] for row in shown["rows"]) == [3.0, 4.5]


def test_what_is_not_live_is_refused_with_what_is(seamline: Seamline) -> None:
    told = seamline("predict", "lat", "--data", "flights", "--to", "scores", code=1).stderr
    assert "no endpoint of production 'lat'" in told
    assert "late" in told
    told = seamline(
        "predict", "late", "--data", "flights", "--to", "scores", "-e", "staging", code=1
    ).stderr
    assert "Nothing is live in staging" in told
