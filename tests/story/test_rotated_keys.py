"""The workspace's key changes under a living data plane, and serving does not notice; what it
does notice is a byte of a wheel that is another one."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from tests.waiting import wait_until

from seamline.app.promote.make_release import make_release
from seamline.app.serve.data_plane import find_data_plane
from seamline.domain.digests import digest_of
from seamline.domain.settings import Settings
from seamline.domain.states import PromotionPhase, is_terminal
from seamline.project.plan import apply_project
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.promote.promotion import find_promotion
from seamline.promote.requests import request_promotion
from seamline.register.models import package_task
from seamline.register.models.catalogue import (
    find_model_version,
    register_model_version,
    verify_model_version,
)
from seamline.register.models.documents import Lineage, make_model_document, packaging_task
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.server import ControlPlane, running
from seamline.trust.keys import load_public_key

PATIENCE_S = 120.0
SEED = 4
PROJECT = """
project = "late"
team = "late"

[models.late]
pipeline = "train"
output = "train.model"
samples = "train.samples"

[deployments.late]
model = "late"
"""


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
    try:
        text = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, text, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


@dataclass
class Serving:
    """The data plane of a workspace: a process of its own."""

    root: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, root: Path) -> Serving:
        command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root)]
        with (root / "plane.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + PATIENCE_S
        while find_data_plane(root) is None:
            assert process.poll() is None, (root / "plane.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return cls(root, process)

    @property
    def url(self) -> str:
        found = find_data_plane(self.root)
        assert found is not None, (self.root / "plane.log").read_text()
        return found.url

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)


@dataclass
class House:
    control: ControlPlane
    serving: Serving
    folder: Path

    @property
    def root(self) -> Path:
        return self.control.platform.root

    @property
    def key_id(self) -> str:
        return self.control.platform.key.public.key_id

    def register(self, version: str) -> None:
        estimator = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
        payload = skops.io.dumps(estimator)
        (self.folder / "model.skops").write_bytes(payload)
        (self.folder / "samples").write_text('{"x": 0.5}\n{"x": 2.5}\n')
        files = (self.folder / "model.skops", self.folder / "samples")
        described = package_task.main(packaging_task(*files, requirements=[])[1])
        lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
        document = make_model_document("late", version, described, lineage)
        wheel = build_model_wheel(ModelWheelSpec(document, described["samples"], payload))
        platform = self.control.platform
        register_model_version(platform.stores, wheel, key=platform.key, by="ann")

    def promote(self, version: str) -> None:
        """Into development, live, and served."""
        platform = self.control.platform
        alias = f"{version}-{self.key_id}"
        made = make_release(platform, alias, [f"late@{version}"], [], by="ann")
        asked = request_promotion(platform.stores, made.digest, "development", by="ann")

        def find() -> Any:
            with platform.stores.db.read() as connection:
                return find_promotion(connection, asked.id)

        assert platform.changes.wait_until(
            lambda: find().phase is PromotionPhase.LIVE or is_terminal(find().phase), PATIENCE_S
        )
        assert find().phase is PromotionPhase.LIVE, find().reason

    def rotate(self) -> None:
        """As `seamline key rotate` asks for it."""

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self.control.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as to:
                return await to.post("/api/v1/keys/rotate")

        before = self.key_id
        assert asyncio.run(one()).status_code == 200
        assert self.key_id != before

    def predict(self) -> str:
        """The version that answers."""
        status, said = self.ask_for_prediction()
        assert status == 200, said
        return str(said["model_version"])

    def ask_for_prediction(self) -> tuple[int, Any]:
        inputs = [{"name": "x", "shape": [1], "datatype": "FP64", "data": [3.0]}]
        return ask(self.serving.url, "/development/v2/models/late/infer", {"inputs": inputs})

    def health(self) -> dict[str, Any]:
        """What the plane says of the snapshot as it lies there now."""
        public = load_public_key(self.root / "keys" / "signing.pub")
        snapshot = read_snapshot(snapshot_path(self.root, "development"), public)
        path = f"/snapshots/development?version={snapshot.version}&wait_s={PATIENCE_S}"
        _, state = ask(self.serving.url, path)
        return dict(state)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    settings = Settings(workspace=tmp_path / "workspace", slots=1)
    with running(settings, with_schedules=False) as control:
        stores = control.platform.stores
        plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
        gated = [plain[0], replace(plain[1], gates=("digests", "provenance")), *plain[2:]]
        with stores.db.transaction() as tx:
            apply_policies(tx, stores.facts, tuple(gated), by="root")
        apply_project(stores, PROJECT, "seamline.toml", by="ann")
        made = House(control, Serving.start(control.platform.root), tmp_path)
        try:
            yield made
        finally:
            made.serving.end()


@dataclass
class Traffic:
    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seen: threading.Event = field(default_factory=threading.Event)

    def saw(self, version: str) -> bool:
        return version in self.versions


@contextmanager
def traffic(predict: Callable[[], str]) -> Iterator[Traffic]:
    """One request after the other, for as long as the block runs."""
    told, over = Traffic(), threading.Event()

    def send() -> None:
        while not over.is_set():
            try:
                told.versions.append(predict())
            except Exception as error:
                told.failures.append(repr(error))
            told.seen.set()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()


def test_serving_goes_on_through_rotations_promotions_and_restarts(house: House) -> None:
    for version in ("1.0.0", "1.0.1", "1.0.2"):
        house.register(version)
    house.promote("1.0.0")
    assert house.predict() == "1.0.0"
    with traffic(house.predict) as told:
        assert told.seen.wait(PATIENCE_S)
        house.rotate()
        # The snapshot that it has is signed anew, and taken: nothing is refused.
        assert house.health()["error"] is None
        house.promote("1.0.1")
        house.rotate()
        house.rotate()
        house.promote("1.0.2")
        wait_until(lambda: told.saw("1.0.2"))
    assert told.failures == []
    assert list(dict.fromkeys(told.versions)) in (["1.0.0", "1.0.1", "1.0.2"], ["1.0.0", "1.0.2"])
    assert house.predict() == "1.0.2"
    # A plane that begins now knows the newest key alone, and that is enough.
    house.serving.end()
    house.serving = Serving.start(house.root)
    assert house.health()["error"] is None
    assert house.predict() == "1.0.2"
    # What a key has signed that ended since is proved by the history: back to the first version.
    stores = house.control.platform.stores
    verify_model_version(stores, "late", "1.0.0", house.control.platform.key.public)
    house.promote("1.0.0")
    assert house.predict() == "1.0.0"


def test_a_plane_that_was_dead_when_the_key_changed_comes_back(house: House) -> None:
    house.register("1.0.0")
    house.promote("1.0.0")
    house.serving.end(signal.SIGKILL)
    house.rotate()
    house.serving = Serving.start(house.root)
    assert house.health()["error"] is None
    assert house.predict() == "1.0.0"


def test_a_plane_loads_no_flipped_wheel(house: House) -> None:
    house.register("1.0.0")
    house.promote("1.0.0")
    stores, choose = house.control.platform.stores, random.Random(SEED)
    digest = find_model_version(stores, "late", "1.0.0").wheel_digest
    path = stores.blobs.path_of(digest)
    data = path.read_bytes()
    path.chmod(0o644)
    for _ in range(3):
        flipped = bytearray(data)
        flipped[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        path.write_bytes(flipped)
        house.serving.end()
        house.serving = Serving.start(house.root)
        said = house.health()["error"]
        assert digest in said and digest_of(bytes(flipped)) in said
        status, _ = house.ask_for_prediction()
        assert status == 503
    path.write_bytes(data)
    house.serving.end()
    house.serving = Serving.start(house.root)
    assert house.health()["error"] is None
    assert house.predict() == "1.0.0"
