"""A served model with every kind of datatype, for stock clients."""

from __future__ import annotations

import http.client
import io
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.serve.snapshot import (
    Column,
    EndpointSpec,
    ServingSnapshot,
    Signature,
    snapshot_path,
    write_snapshot,
)
from seamline.store.blobs import Blobs
from seamline.trust.keys import load_or_create_key

ECHO = """
import numpy as np

class Model:
    def outputs(self, columns):
        return {name: np.asarray(values) for name, values in columns.items()}

def load():
    return Model()
"""
SUMS = """
class Model:
    def outputs(self, columns):
        return {"sum": columns["a"] + columns["b"]}

def load():
    return Model()
"""
EVERY = ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
         "FP16", "FP32", "FP64", "BYTES")  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a plane that serves `echo` (each datatype) and `sums` (two FP64)."""
    root = tmp_path_factory.mktemp("oip")
    every = tuple(Column(kind.lower(), kind) for kind in EVERY)
    pair = (Column("a", "FP64"), Column("b", "FP64"))
    endpoints = (
        _endpoint(root, "echo", ECHO, Signature(every, every)),
        _endpoint(root, "sums", SUMS, Signature(pair, (Column("sum", "FP64"),))),
    )
    release = digest_of(b"release")
    snapshot = ServingSnapshot("production", 1, release, "1", "2026-01-01T00:00:00Z", endpoints)
    write_snapshot(snapshot_path(root, "production"), snapshot, load_or_create_key(root / "keys"))
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root)]
    with (root / "plane.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        address = root / "dataplane.json"
        deadline = time.monotonic() + 30
        while not address.exists():
            assert process.poll() is None, (root / "plane.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        where = f"127.0.0.1:{json.loads(address.read_text())['port']}"
        connection = http.client.HTTPConnection(where, timeout=60)
        connection.request("GET", "/snapshots/production?version=1&wait_s=30")
        assert json.loads(connection.getresponse().read())["version"] == 1
        connection.close()
        yield where
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def _endpoint(root: Path, name: str, source: str, signature: Signature) -> EndpointSpec:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr(f"{name}/__init__.py", source)
    blobs = Blobs(root / "blobs", SystemClock())
    digest = blobs.put(memory.getvalue())
    return EndpointSpec(
        endpoint=name, model=name, model_version="1.0.0", package_digest=digest,
        payload_digest=digest, wheel_path=str(blobs.path_of(digest)),
        wheel_name=f"{name}-1.0.0-py3-none-any.whl", module=name, task="regression",
        signature=signature, python=sys.executable,
    )  # fmt: skip
