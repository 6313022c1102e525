"""One environment on a server of its own: the release is sent there by digest, both ledgers hold
the promotion, and neither a kill nor a network that breaks half-way loses or doubles anything."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.domain.settings import Settings
from seamline.register.models.catalogue import register_model_version
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.server import build_control_plane
from seamline.trust.keys import load_public_key

PATIENCE_S = 300.0
ENDED = {"live", "failed", "errored", "rejected", "superseded", "rolled_back"}
MODELS = """
[models.late]
pipeline = "train"
output = "train.model"
samples = "train.samples"

[deployments.late]
model = "late"
"""
LAB = """
project = "lab"
team = "lab"

[environments.dataops]

[environments.development]
after = "dataops"
gates = ["digests", "provenance"]

[environments.production]
after = "development"
gates = ["digests", "provenance"]
url = "{url}"
secret = "far"
"""
FAR = """
project = "far"
team = "far"

[environments.dataops]

[environments.production]
after = "dataops"
gates = ["digests", "provenance"]
origin = "{origin}"
{more}
"""


#: A control plane with its loop and its port, until its input ends or it is killed.
PROGRAM = """
import sys
from pathlib import Path
from seamline.domain.settings import Settings
from seamline.server import serve_in_process

with serve_in_process(Settings(workspace=Path(sys.argv[1]), slots=1)) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@dataclass
class Server:
    """A process of its own, which can be killed and started again, each time on another port."""

    workspace: Path
    process: subprocess.Popen[str] | None = None
    url: str = ""

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.workspace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def await_started(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the server did not start"

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)

    def end(self) -> None:
        """As a command ends that found no server: what is due is done first."""
        if self.process is not None and self.process.poll() is None:
            self.process.communicate(timeout=PATIENCE_S)

    def api(self, path: str, body: Any = None, *, token: str = "") -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return {"status": error.code, **json.loads(error.read())}

    def apply(self, text: str, name: str) -> None:
        said = self.api("/project/apply", {"text": text, "file": name})
        assert "error" not in said, said

    def facts(self, kind: str, about: str) -> list[dict[str, Any]]:
        found = self.api(f"/facts?kind={kind}&limit=1000")
        return [one for one in found if about in str(one)]

    def promotion(self, promotion_id: str) -> dict[str, Any]:
        return dict(self.api(f"/promotions/{promotion_id}"))

    def promote(self, release: str, environment: str) -> str:
        asked = self.api("/promotions", {"release": release, "environment": environment})
        assert "id" in asked, asked
        return str(asked["id"])

    def settled(self, promotion_id: str) -> dict[str, Any]:
        path = f"/promotions/{promotion_id}?wait_s=20&until=end"
        return dict(until(lambda: self.api(path), lambda one: one["phase"] in ENDED))

    def served(self) -> str:
        """The version that its data plane is told to serve in production, signed."""
        public = load_public_key(self.workspace / "keys" / "signing.pub")
        snapshot = read_snapshot(snapshot_path(self.workspace, "production"), public)
        return snapshot.endpoints[0].model_version

    @property
    def key(self) -> str:
        """What it signs with, as people pin it."""
        return str(self.api("/keys")["keys"][-1]["public_key"])

    def verified(self) -> bool:
        return self.api("/audit/verify")["broken"] is None


def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if holds(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


@dataclass
class Network:
    """A wire between the two: it can be cut after so many bytes, and mended."""

    target: int
    listener: socket.socket
    budget: int | None = None
    seen: int = 0
    cut: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def mend(self) -> None:
        self.budget, self.seen = None, 0
        self.cut.clear()

    def run(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, socket.socket() as far:
            try:
                far.connect(("127.0.0.1", self.target))
            except OSError:
                return
            back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
            back.start()
            self._pump(near, far, counted=True)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, *, counted: bool = False) -> None:
        try:
            while data := source.recv(1 << 14):
                if counted and self.budget is not None:
                    self.seen += len(data)
                    if self.seen > self.budget:
                        self.cut.set()
                        for end in (source, sink):
                            end.shutdown(socket.SHUT_RDWR)
                        return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@contextmanager
def network(target: int) -> Iterator[Network]:
    listener = socket.create_server(("127.0.0.1", 0))
    wire = Network(target, listener)
    thread = threading.Thread(target=wire.run, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def register(workspace: Path, *versions: str) -> None:
    """Models of the lab; the last one is some MB, so that sending it takes a while."""
    control = build_control_plane(Settings(workspace=workspace), SystemClock())
    platform = control.platform
    for version in versions:
        payload = os.urandom(6 << 20 if version.endswith("9") else 100)
        described = {
            "task": "binary_classification",
            "format": "skops",
            "payload_digest": digest_of(payload),
            "threshold": 0.5,
            "signature": {
                "inputs": [{"name": "x", "datatype": "FP64", "nullable": False}],
                "outputs": [{"name": "label", "datatype": "INT64"}],
            },
            "requirements": [],
            "requires_python": ">=3.11",
            "trusted_types": [],
            "frame": None,
        }
        lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
        document = make_model_document("late", version, described, lineage)
        wheel = build_model_wheel(ModelWheelSpec(document, {"rows": [], "outputs": {}}, payload))
        register_model_version(platform.stores, wheel, key=platform.key, by="ann")
    platform.engine.close()
    platform.runner.close()
    platform.stores.db.close()


@dataclass
class Pair:
    lab: Server
    far: Server
    wire: Network

    def release(self, version: str) -> str:
        """Made in the lab, and live in its development."""
        alias = f"r-{version}"
        made = self.lab.api("/releases", {"alias": alias, "models": [f"late@{version}"]})
        assert "digest" in made, made
        done = self.lab.settled(self.lab.promote(alias, "development"))
        assert done["phase"] == "live", done["reason"]
        return alias

    def trust(self, more: str = "", origin: str = "") -> None:
        origin = origin or self.lab.key
        self.far.apply(FAR.format(origin=origin, more=more) + MODELS, "far.toml")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("servers")
    lab, far = Server(folder / "lab"), Server(folder / "far")
    register(lab.workspace, *(f"1.0.{number}" for number in range(6)), "1.0.9")
    register(far.workspace, "1.0.8")
    try:
        for one in (lab, far):
            one.start()
        for one in (lab, far):
            one.await_started()
        with network(far.port) as wire:
            made = Pair(lab, far, wire)
            made.trust()
            far.api("/principals", {"name": "lab", "roles": ["releaser"]})
            token = far.api("/tokens", {"principal": "lab", "environments": ["production"]})
            lab.apply(LAB.format(url=wire.url), "lab.toml")
            secret = {"values": {"token": token["token"]}}
            lab.api("/environments/production/secrets/far", secret)
            yield made
    finally:
        lab.end()
        far.end()


@pytest.fixture
def pair(servers: Pair) -> Pair:
    """Whatever the story before has done to the far policy and to the wire."""
    servers.wire.mend()
    servers.trust()
    return servers


def test_a_release_goes_live_on_the_other_server_and_back(pair: Pair) -> None:
    lab, far = pair.lab, pair.far
    first = pair.release("1.0.0")
    done = lab.settled(lab.promote(first, "production"))
    assert done["phase"] == "live", done
    assert far.served() == "1.0.0"
    # It is not served where it does not live.
    assert not snapshot_path(lab.workspace, "production").exists()
    shipped = lab.facts("release.shipped", done["id"])[0]
    received = far.facts("release.received", done["id"])[0]
    assert received["body"]["promotion_id"] == done["id"] == shipped["body"]["promotion_id"]
    there = far.promotion(shipped["body"]["there"])
    assert (there["phase"], there["release"]) == ("live", done["release"])
    assert received["body"]["origin"] == lab.key
    assert shipped["body"]["key"] == far.key
    # The very bytes: the wheel has one digest on both.
    digests = {one.api("/models/late?version=1.0.0")["wheel_digest"] for one in (lab, far)}
    assert len(digests) == 1
    second = pair.release("1.0.1")
    assert lab.settled(lab.promote(second, "production"))["phase"] == "live"
    assert far.served() == "1.0.1"
    back = lab.api("/rollbacks", {"environment": "production", "reason": "too late"})
    assert lab.settled(back["id"])["phase"] == "live"
    assert far.served() == "1.0.0"
    assert [one["reason"] for one in far.api("/holds")] == ["too late"]
    assert lab.verified() and far.verified()


def test_what_comes_altered_or_from_a_stranger_is_refused(pair: Pair) -> None:
    lab, far = pair.lab, pair.far
    first = pair.release("1.0.2")
    pair.trust(origin="A" * 43 + "=")
    refused = lab.settled(lab.promote(first, "production"))
    assert refused["phase"] == "failed"
    assert "none of this workspace's keys" in refused["reason"]
    assert far.facts("release.received", refused["release"]) == []
    assert refused["release"] not in {one["digest"] for one in far.api("/releases")}
    pair.trust()
    assert lab.settled(lab.promote(first, "production"))["phase"] == "live"
    # Nothing gets into that environment past its origin, either.
    second = pair.release("1.0.3")
    assert lab.settled(lab.promote(second, "production"))["phase"] == "live"
    far.api("/releases", {"alias": "local", "models": ["late@1.0.8"]})
    said = far.api("/promotions", {"release": "local", "environment": "production"})
    assert "was not sent from there" in said["error"]["message"]


def test_the_other_servers_own_policy_decides(pair: Pair) -> None:
    lab, far = pair.lab, pair.far
    pair.trust("approvals = { count = 1 }")
    far.api("/principals", {"name": "bea", "roles": ["approver"]})
    bea = far.api("/tokens", {"principal": "bea"})["token"]
    first = pair.release("1.0.4")
    asked = lab.promote(first, "production")
    waiting = until(lambda: lab.promotion(asked), lambda one: "approval" in str(one["why_not_yet"]))
    assert waiting["phase"] == "verifying"
    there = waiting["server"]["promotion_id"]
    owner = far.api(f"/promotions/{there}/approve", {})
    # Whoever asked for it in the lab is who answers on loopback there: the same person.
    assert owner["status"] == 403 and "requested this promotion" in owner["error"]["message"]
    far.api(f"/promotions/{there}/reject", {"reason": "not on a Friday"}, token=bea)
    done = lab.settled(asked)
    assert done["phase"] == "failed" and "not on a Friday" in done["reason"]
    again = lab.promote(first, "production")
    waiting = until(lambda: lab.promotion(again), lambda one: "approval" in str(one["why_not_yet"]))
    far.api(f"/promotions/{waiting['server']['promotion_id']}/approve", {}, token=bea)
    assert lab.settled(again)["phase"] == "live"
    assert far.served() == "1.0.4"


def test_a_cut_wire_and_kills_on_both_sides_lose_and_double_nothing(pair: Pair) -> None:
    lab, far, wire = pair.lab, pair.far, pair.wire
    release = pair.release("1.0.9")
    wire.budget = 5 << 20
    asked = lab.promote(release, "production")
    assert wire.cut.wait(PATIENCE_S)
    until(lambda: lab.promotion(asked), lambda one: "does not answer" in str(one["why_not_yet"]))
    assert lab.promotion(asked)["phase"] == "verifying"
    arrived = sum(path.stat().st_size for path in (far.workspace / "arriving").iterdir())
    assert arrived >= 4 << 20
    lab.kill()
    far.kill()
    wire.mend()
    for one in (far, lab):
        one.start()
    for one in (far, lab):
        one.await_started()
    wire.target = far.port
    wire.budget = 1 << 40  # counts what is sent from here on
    done = lab.settled(asked)
    assert done["phase"] == "live", done
    wheel = far.api("/models/late?version=1.0.9")["wheel_digest"].removeprefix("sha256:")
    size = (far.workspace / "blobs" / "sha256" / wheel[:2] / wheel[2:]).stat().st_size
    assert wire.seen < size - arrived + (1 << 20)  # what had come was not sent again
    assert len(lab.facts("release.shipped", asked)) == 1
    assert len(far.facts("release.received", asked)) == 1
    assert len(far.facts("promotion.requested", done["release"])) == 1
    assert list((far.workspace / "arriving").iterdir()) == []
    assert far.served() == "1.0.9"
    assert lab.verified() and far.verified()


def test_a_token_for_another_environment_sends_nothing(pair: Pair) -> None:
    token = pair.far.api("/tokens", {"principal": "lab", "environments": ["dataops"]})["token"]
    body = {"envelope": "{}", "keys": []}
    said = pair.far.api("/environments/production/shipments", body, token=token)
    assert said["status"] == 403


def test_bytes_that_nobody_waits_for_are_refused(pair: Pair) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", pair.far.port, timeout=PATIENCE_S)
    path = f"/api/v1/environments/production/shipments/sha256:{'0' * 64}?offset=0"
    connection.request("PUT", path, b"x")
    assert connection.getresponse().status == 422
    connection.close()
