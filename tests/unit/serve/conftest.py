"""A tiny hand-made model wheel, signed snapshots, and a real data plane process."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import io
import json
import runpy
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
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
    Standby,
    snapshot_path,
    write_snapshot,
)
from seamline.store.blobs import Blobs
from seamline.trust.keys import load_or_create_key

RELEASE = "sha256:" + "ab" * 32
NEXT_RELEASE = "sha256:" + "cd" * 32
#: Below the most that a plane is asked to wait.
DEADLINE_S = 100.0

MODEL = """
import json
import os
import pkgutil
from importlib.resources import files

from .scoring import score_of

SCALE = json.loads(pkgutil.get_data(__name__, "scale.json"))["scale"]
assert json.loads(files(__name__).joinpath("scale.json").read_text())["scale"] == SCALE


class Model:
    def outputs(self, columns):
        print("models may print")
        scores = []
        for hour, carrier in zip(columns["hour"], columns["carrier"]):
            if carrier == "BOOM":
                raise ValueError("there is no carrier BOOM")
            if carrier == "KILL":
                os.kill(os.getpid(), 9)
            if carrier and carrier.startswith("/"):
                open(carrier + ".reached", "w").close()
                while not os.path.exists(carrier):
                    pass
            scores.append(score_of(hour, SCALE))
        return {"label": [int(score >= 0.5) for score in scores], "score": scores}


def load():
    return Model()
"""


make_graph = runpy.run_path(str(Path(__file__).with_name("tiny_onnx.py")))["make_graph"]


def make_wheel(
    scale: float,
    samples: dict[str, Any] | None = None,
    graph: bytes | None = None,
    source: str = MODEL,
    prelude: str = "",
) -> bytes:
    """`graph`: the model's ONNX twin. `source`: the code of the model; `prelude`: before it."""
    if samples is None:
        rows = [
            {"hour": 6, "carrier": "UA", "temp": None},
            {"hour": 20, "carrier": None, "temp": 1},
        ]
        scores = [row["hour"] / 24 * scale for row in rows]
        labels = [int(score >= 0.5) for score in scores]
        samples = {"rows": rows, "outputs": {"label": labels, "score": scores}}
    files: dict[str, str | bytes] = {
        "__init__.py": prelude + source,
        "scoring.py": "def score_of(hour, scale):\n    return float(hour) / 24 * scale\n",
        "scale.json": json.dumps({"scale": scale}),
        "samples.json": json.dumps(samples),
    }
    twin = {"digest": None, "reason": "nobody made one"}
    if graph is not None:
        files["payload/twin.onnx"] = graph
        twin = {"digest": digest_of(graph), "compared": {"tolerance": 1e-3}}
    files["model.json"] = json.dumps({"threshold": 0.5, "payload_digest": "", "twin": twin})
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, text in files.items():  # without a time: the same bytes whenever it is made
            archive.writestr(zipfile.ZipInfo(f"late_arrival/{name}"), text)
    return memory.getvalue()


class Workspace:
    """A workspace's folder: keys, blobs, snapshots."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = load_or_create_key(root / "keys")
        self.blobs = Blobs(root / "blobs", SystemClock())

    def endpoint(self, scale: float = 1.0, **changes: Any) -> EndpointSpec:
        """`graph`: the ONNX twin in its package. `source`: the code of its model; `prelude`: before
        it."""
        made_of = ("samples", "graph", "source", "prelude")
        wheel = make_wheel(scale, **{one: changes.pop(one) for one in made_of if one in changes})
        digest = self.blobs.put(wheel)
        spec = EndpointSpec(
            endpoint="late-arrival",
            model="late-arrival",
            model_version=f"1.0.{scale:g}",
            package_digest=digest,
            payload_digest=digest_of(b"payload"),
            wheel_path=str(self.blobs.path_of(digest)),
            wheel_name="late_arrival-1.0.0-py3-none-any.whl",
            module="late_arrival",
            task="binary_classification",
            signature=Signature(
                inputs=(
                    Column("hour", "INT64"),
                    Column("carrier", "BYTES", nullable=True),
                    Column("temp", "FP64", nullable=True),
                ),
                outputs=(Column("label", "INT64"), Column("score", "FP64")),
            ),
            python=sys.executable,
            event_time="time_hour",
            context=(
                Column("time_hour", "BYTES", nullable=True),
                Column("tailnum", "BYTES", nullable=True),
            ),
            private=("tailnum",),
        )
        return dataclasses.replace(spec, **changes)

    def deploy(
        self,
        version: int,
        *endpoints: EndpointSpec,
        environment: str = "production",
        standby: tuple[EndpointSpec, ...] = (),
        release: str = RELEASE,
    ) -> ServingSnapshot:
        """`standby`: the endpoints of the one release that is to be kept warm."""
        snapshot = ServingSnapshot(
            environment, version, release, f"{environment}-{version}", "2026-01-01T00:00:00Z",
            endpoints, standbys=(Standby(NEXT_RELEASE, "next", standby),) if standby else (),
        )  # fmt: skip
        write_snapshot(snapshot_path(self.root, environment), snapshot, self.key)
        return snapshot


class PlaneProcess:
    """`python -m seamline.dataplane` on a free port, in its own process group."""

    def __init__(self, root: Path, *more: str) -> None:
        self.root = root
        command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root), *more]
        with (root / "plane.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_it_answers(self) -> PlaneProcess:
        wait_until(lambda: self.process.poll() is not None or self.address() is not None)
        assert self.process.poll() is None, (self.root / "plane.log").read_text()
        found = self.address()
        assert found is not None
        self.port = int(found["port"])
        return self

    def address(self) -> dict[str, Any] | None:
        path = self.root / "dataplane.json"
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text())
        return found if found["pid"] == self.process.pid else None

    def ask(
        self, method: str, path: str, body: bytes | dict[str, Any] | None = None, **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """(status, JSON body, headers)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S + 20)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        try:
            renamed = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, data, renamed)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        is_json = response.getheader("content-type") == "application/json"
        return (
            response.status,
            json.loads(text) if is_json else {"text": text.decode()},
            dict(response.getheaders()),
        )

    def await_snapshot(self, version: int, environment: str = "production") -> dict[str, Any]:
        status, state, _ = self.ask(
            "GET", f"/snapshots/{environment}?version={version}&wait_s={DEADLINE_S}"
        )
        assert status == 200, state
        return state

    def await_standbys(self, version: int, environment: str = "production") -> list[dict[str, Any]]:
        path = f"/snapshots/{environment}?version={version}&wait_s={DEADLINE_S}&standbys=1"
        status, state, _ = self.ask("GET", path)
        assert (status, state["version"]) == (200, version), state
        standbys: list[dict[str, Any]] = state["standbys"]
        return standbys

    def workers(self) -> set[int]:
        """Process ids of the models that run."""
        pid = self.process.pid
        return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def start_plane(workspace: Workspace) -> Iterator[Callable[[], PlaneProcess]]:
    started: list[PlaneProcess] = []

    def start() -> PlaneProcess:
        started.append(PlaneProcess(workspace.root))
        return started[-1].wait_until_it_answers()

    yield start
    for plane in started:
        plane.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def make_workspace() -> Callable[[Path], Workspace]:
    return Workspace


@pytest.fixture(scope="module")
def make_group(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], tuple[Workspace, PlaneProcess]]]:
    """A data plane of two processes that serves version 1 of late-arrival in production."""
    started: list[PlaneProcess] = []

    def make() -> tuple[Workspace, PlaneProcess]:
        workspace = Workspace(tmp_path_factory.mktemp("group"))
        workspace.deploy(1, workspace.endpoint())
        started.append(PlaneProcess(workspace.root, "--workers", "2"))
        plane = started[-1].wait_until_it_answers()
        assert plane.await_snapshot(1)["version"] == 1
        return workspace, plane

    yield make
    for plane in started:
        plane.stop(signal.SIGKILL)


@pytest.fixture
def plane(workspace: Workspace, start_plane: Callable[[], PlaneProcess]) -> PlaneProcess:
    """A plane that serves version 1 of late-arrival in production."""
    workspace.deploy(1, workspace.endpoint())
    process = start_plane()
    assert process.await_snapshot(1)["version"] == 1
    return process


@pytest.fixture
def graph_of() -> Callable[..., bytes]:
    """An ONNX twin of the model of that scale; `offset` makes it say something else."""
    return make_graph


class SmallDisk:
    """One megabyte, of which nothing is left while it is filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)) == 4096:
                pass

    def make_room(self) -> None:
        self._filler.unlink()

    def grow(self, size: str) -> None:
        command = ["mount", "-o", f"remount,size={size}", str(self.folder)]
        subprocess.run(command, check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """At `logs` of the workspace."""
    folder = tmp_path / "logs"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def request_of() -> Callable[..., dict[str, Any]]:
    """An inference request over the given rows."""

    def make(*hours: Any, carrier: str | None = "UA", **more: Any) -> dict[str, Any]:
        count = len(hours)
        inputs = [
            {"name": "hour", "datatype": "INT64", "shape": [count], "data": list(hours)},
            {"name": "carrier", "datatype": "BYTES", "shape": [count], "data": [carrier] * count},
            {"name": "temp", "datatype": "FP64", "shape": [count], "data": [None] * count},
        ]
        return {"inputs": inputs, **more}

    return make
