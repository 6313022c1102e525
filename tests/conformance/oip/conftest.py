"""A real data plane whose models take every datatype, for stock clients."""

from __future__ import annotations

import http.client
import io
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import wait_until

from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.serve.snapshots.snapshot import (
    Column,
    EndpointSpec,
    ServingSnapshot,
    Signature,
    snapshot_path,
    write_snapshot,
)
from seamline.store.blobs import Blobs
from seamline.trust.keys import load_or_create_key

#: Programs for the environments of their libraries, which are not in that of the tests.
collect_ignore = ["client_kserve.py", "client_kserve_token.py", "client_mlserver.py"]
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
SLOW = """
import os, time

class Model:
    def outputs(self, columns):
        # Whatever else a client may send is no file of anybody's.
        gates = [path for path in columns["path"] if path.startswith({gates!r})]
        for path in gates:
            open(path + ".reached", "w").close()
            while os.path.exists(path):
                time.sleep(0.005)  # the gate is a file: another process opens it
        return {{"seen": [path in gates for path in columns["path"]]}}

def load():
    return Model()
"""
EVERY = ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
         "FP16", "FP32", "FP64", "BYTES")  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A plane that serves `echo` (each datatype), `sums` (two FP64) and `slow` (a row takes as
    long as the file in `gates` that it names is there) in production, and `sums` in staging."""

    root: Path
    #: host:port of HTTP, and of gRPC.
    http: str
    grpc: str
    pid: int

    def ask(
        self, method: str, path: str, body: bytes | dict[str, Any] | list[Any] = b"", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.http, timeout=120)
        try:
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request(method, path, data, named)
            response = connection.getresponse()
            text = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
            is_json = found.get("content-type") == "application/json"
            return response.status, json.loads(text) if is_json else text, found
        finally:
            connection.close()


START = """
import sys
from pathlib import Path
from seamline import dataplane
from seamline.protocols import oip_connections, oip_http

oip_connections.HEADERS_TIMEOUT_S, oip_connections.SEND_TIMEOUT_S = {limit}, {limit}
oip_http.BODY_TIMEOUT_S = {limit}
sys.exit(dataplane.main(Path({root!r}), "127.0.0.1", 0, grpc_port=0))
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("oip")
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root), "--grpc-port", "0"]
    with _serve(root, command) as served:
        yield served


@pytest.fixture(scope="module")
def wide_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two processes on the same ports."""
    root = tmp_path_factory.mktemp("wide")
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root), "--grpc-port", "0"]
    with _serve(root, [*command, "--workers", "2"]) as served:
        yield served


@pytest.fixture(scope="module")
def hasty_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One whose patience with slow senders and readers is half a second."""
    root = tmp_path_factory.mktemp("hasty")
    program = START.format(limit=0.5, root=str(root))
    with _serve(root, [sys.executable, "-c", program]) as served:
        yield served


@contextmanager
def _serve(root: Path, command: list[str]) -> Iterator[Served]:
    every = tuple(Column(kind.lower(), kind) for kind in EVERY)
    pair = (Column("a", "FP64"), Column("b", "FP64", nullable=True))
    sums = _endpoint(root, "sums", SUMS, Signature(pair, (Column("sum", "FP64"),)))
    text = (Column("path", "BYTES"),)
    (root / "gates").mkdir()
    slow = SLOW.format(gates=f"{root / 'gates'}/")
    endpoints = (
        _endpoint(root, "echo", ECHO, Signature(every, every)),
        sums,
        _endpoint(root, "slow", slow, Signature(text, (Column("seen", "BOOL"),))),
    )
    release = digest_of(b"release")
    key = load_or_create_key(root / "keys")
    for environment, named in (("production", endpoints), ("staging", (sums,))):
        snapshot = ServingSnapshot(environment, 1, release, "1", "2026-01-01T00:00:00Z", named)
        write_snapshot(snapshot_path(root, environment), snapshot, key)
    with (root / "plane.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        address = root / "dataplane.json"
        deadline = time.monotonic() + 120
        while not address.exists():
            assert process.poll() is None, (root / "plane.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        found = json.loads(address.read_text())
        served = Served(
            root, f"127.0.0.1:{found['port']}", f"127.0.0.1:{found['grpc_port']}", process.pid
        )
        for environment in ("production", "staging"):
            _, state, _ = served.ask("GET", f"/snapshots/{environment}?version=1&wait_s=100")
            assert state["version"] == 1, state
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Served]]:
    """serve(root, command): a plane of a file's own."""
    return _serve


@pytest.fixture
def served(plane: Served) -> str:
    """host:port of HTTP."""
    return plane.http


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
