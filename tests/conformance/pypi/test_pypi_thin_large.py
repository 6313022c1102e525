"""A payload larger than anybody's memory: server and client hold a few pieces of it at a time."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import skops.io
from sklearn.linear_model import LinearRegression
from sqlalchemy import select, update

from seamline.domain.clock import SystemClock
from seamline.register.models import package_task
from seamline.register.models.catalogue import register_model_version
from seamline.register.models.documents import Lineage, make_model_document, packaging_task
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.rows import MODEL_VERSIONS
from seamline.store.blobs import digest_of_file
from seamline.store.stores import open_stores
from seamline.trust.keys import load_or_create_key

LOADER = Path(__file__).parents[3] / "loader" / "src"
#: Fetches a payload, hashes it piece by piece, and prints the digest and how much memory that took.
PROGRAM = """
import hashlib, os, resource, sys
from seamline_loader import Payloads, read_configuration

payloads = Payloads(read_configuration(os.environ))
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
hasher = hashlib.sha256()
with payloads.open(sys.argv[1]) as file:
    while piece := file.read(1 << 20):
        hasher.update(piece)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("sha256:" + hasher.hexdigest(), (peak - idle) // 1024)
"""


def make_sparse_payload(path: Path, size: int) -> str:
    """Holes, and a mark in each of its parts: a piece in the wrong place is found."""
    with path.open("wb") as file:
        file.truncate(size)
        for at in range(0, size, 5_000_011):
            file.seek(at)
            file.write(hashlib.sha256(b"%d" % at).digest()[: size - at])
    return str(digest_of_file(path))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Has one model, a small one."""
    estimator = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    payload = skops.io.dumps(estimator)
    (tmp_path / "model.skops").write_bytes(payload)
    (tmp_path / "samples").write_text('{"x": 0.5}\n')
    task = packaging_task(tmp_path / "model.skops", tmp_path / "samples", requirements=[])[1]
    described = package_task.main(task)
    lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
    document = make_model_document("large-model", "1.0.0", described, lineage)
    wheel = build_model_wheel(ModelWheelSpec(document, described["samples"], payload))
    root = tmp_path / "workspace"
    stores = open_stores(root, SystemClock())
    register_model_version(stores, wheel, key=load_or_create_key(root / "keys"), by="ada")
    stores.db.close()
    return root


@pytest.fixture
def put_payload(workspace: Path, soak: bool) -> Callable[[], str]:
    """Makes the model's payload a large one: 2 GiB in a soak."""

    def _put() -> str:
        stores = open_stores(workspace, SystemClock())
        path = workspace / "blobs" / "large"
        digest = make_sparse_payload(path, (2 << 30) + 12_345 if soak else (192 << 20) + 12_345)
        target = stores.blobs.path_of(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        with stores.db.transaction() as tx:
            document = json.loads(tx.execute(select(MODEL_VERSIONS.c.document)).scalar_one())
            changed = json.dumps({**document, "payload_digest": digest})
            tx.execute(update(MODEL_VERSIONS).values(payload_digest=digest, document=changed))
        stores.db.close()
        return digest

    return _put


@pytest.fixture
def server(workspace: Path) -> Iterator[tuple[str, int]]:
    """(its address, its process id) of `seamline up`."""
    program = Path(sys.executable).with_name("seamline")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("SEAMLINE_")}
    process = subprocess.Popen(
        [program, "up", "--port", "0", "--serve-port", "0", "--json"],
        env={**environ, "SEAMLINE_WORKSPACE": str(workspace)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"], process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def peak_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def test_in_bounded_memory(
    put_payload: Callable[[], str], server: tuple[str, int], tmp_path: Path
) -> None:
    digest = put_payload()
    url, pid = server
    idle = peak_mb(pid)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, digest],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(LOADER),
            "HOME": str(tmp_path),
            "SEAMLINE_PAYLOADS": f"{url}/pypi/dataops/payloads",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found, client_mb = ran.stdout.split()
    assert found == digest
    assert int(client_mb) <= 64
    assert peak_mb(pid) - idle <= 64
