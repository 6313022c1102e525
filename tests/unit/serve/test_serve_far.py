"""`seamline serve --from URL`: a second root on this machine, over real HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import polars as pl
import pytest

from seamline.serve.far_counts import read_counts
from seamline.serve.log.tables import read_feedback, read_predictions
from seamline.trust.access_list import access_list_path, read_access_list
from seamline.trust.keys import load_or_create_key

INFER = "/v2/models/late-arrival/infer"
SEAMLINE = Path(sys.executable).with_name("seamline")


@dataclass
class Started:
    """A command that prints one line of JSON once it is ready."""

    process: subprocess.Popen[str]
    told: dict

    @property
    def pid(self):
        return self.process.pid

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(120)


def start(*words, cwd, token=""):
    environ = {name: text for name, text in os.environ.items() if not name.startswith("SEAMLINE_")}
    environ |= {"XDG_CONFIG_HOME": str(cwd), **({"SEAMLINE_TOKEN": token} if token else {})}
    with (cwd / f"{words[0]}.log").open("ab") as log:
        process = subprocess.Popen(
            [SEAMLINE, *words, "--port", "0", "--json"],
            cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    with process.stdout:
        line = process.stdout.readline()
    return Started(process, json.loads(line) if line else {})


class House:
    """A control plane that serves version 1 of late-arrival in production."""

    def __init__(self, workspace, folder):
        self.workspace, self.folder = workspace, folder
        self.up = start("up", "--workspace", str(workspace.root), "--serve-port", "0", cwd=folder)
        self.url = self.up.told["url"]
        self.post("/keys/rotate")  # the history begins
        self.renew()
        workspace.deploy(1, workspace.endpoint())

    def renew(self):
        self.workspace.key = load_or_create_key(self.workspace.root / "keys")

    def post(self, path, body=None):
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            json.dumps(body or {}).encode(),
            {"Content-Type": "application/json"},
        )
        return json.load(urllib.request.urlopen(request))

    def raw(self, method, path, body=None):
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=120)
        connection.request(method, f"/api/v1{path}", body)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, text

    def serve(self, folder=None, *more):
        folder = folder or self.folder / "far"
        words = ["serve", "--workspace", str(folder), "--from", self.url, *more]
        return Far(start(*words, cwd=self.folder), folder)


class Far:
    def __init__(self, started, root):
        self.started, self.root = started, root

    def ask(self, method, path, body=None, token=None):
        where = urlsplit(self.started.told["serve_url"]).netloc
        connection = http.client.HTTPConnection(where, timeout=120)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        is_json = response.getheader("content-type") == "application/json"
        return response.status, json.loads(text) if is_json else text.decode()

    def version(self, body):
        status, reply = self.ask("POST", INFER, body)
        return reply["model_version"] if status == 200 else f"{status}: {reply}"

    def figure(self, name):
        lines = self.ask("GET", "/metrics")[1].splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


@pytest.fixture(scope="module")
def house(make_workspace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("far")
    house = House(make_workspace(folder / "origin"), folder)
    yield house
    for root in (folder / "origin", folder / "far"):
        for name in ("server.json", "dataplane.json"):
            if (root / name).exists():
                document = json.loads((root / name).read_text())
                kill(document.get("pid") or document["identity"]["pid"])
    house.up.end(signal.SIGKILL)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture(scope="module")
def far(house):
    found = house.serve()
    yield found
    found.started.end()


def test_what_is_promoted_there_is_served_here(house, far, request_of, until):
    body = request_of(12)
    until(lambda: far.version(body) == "1.0.1")
    assert far.started.told["public_key"] == house.workspace.key.public.text
    house.workspace.deploy(2, house.workspace.endpoint(2.0))
    until(lambda: far.version(body) == "1.0.2")
    until(lambda: len(list((far.root / "blobs").glob("sha256/*/*"))) == 1)  # the other one has gone
    assert abs(far.figure("seamline_origin_contact_timestamp_seconds") - time.time()) < 600


def test_another_key_is_followed_where_the_history_leads_to_it(house, far, request_of, until):
    house.post("/keys/rotate")
    house.renew()
    house.workspace.deploy(3, house.workspace.endpoint(3.0))
    until(lambda: far.version(request_of(12)) == "1.0.3")
    pin = json.loads((far.root / "origin.json").read_text())
    assert pin["public_key"] == house.workspace.key.public.text


def test_what_somebody_else_signed_or_altered_is_not_taken(house, far, request_of, until):
    ours, key = house.workspace, house.workspace.key
    ours.key = load_or_create_key(house.folder / "stranger")
    ours.deploy(4, ours.endpoint(4.0))
    until(lambda: far.figure("seamline_origin_refused") == 1)
    assert far.version(request_of(12)) == "1.0.3"
    ours.key = key
    spec = ours.endpoint(5.0)
    wheel = Path(spec.wheel_path)
    approved = wheel.read_bytes()
    wheel.write_bytes(approved + b"x")
    ours.deploy(5, spec)
    until(lambda: "found sha256" in (house.folder / "serve.log").read_text())
    assert far.version(request_of(12)) == "1.0.3"
    wheel.write_bytes(approved)
    until(lambda: far.version(request_of(12)) == "1.0.5")
    assert far.figure("seamline_origin_refused") == 0


def test_only_what_is_served_is_given_and_only_its_log_is_taken(house, far):
    packages = "/environments/production/packages"
    stranger = house.workspace.blobs.put(b"secret")
    assert house.raw("GET", f"{packages}/{stranger}")[0] == 404
    assert house.raw("GET", "/environments/nowhere/snapshot")[0] == 404
    assert house.raw("GET", "/environments/staging/snapshot")[0] == 404
    segments = "/environments/production/log-segments"
    assert house.raw("PUT", f"{segments}/predictions/x.arrows", b"")[0] == 400
    name = "019b76da-a800-7000-8000-000000000000.arrows"
    assert house.raw("PUT", f"{segments}/predictions/{name}", b"no stream")[0] == 400
    assert house.raw("PUT", f"{segments}/preditions/{name}", b"")[0] == 404


def test_who_may_ask_there_may_ask_here(house, tmp_path, request_of, until):
    guarded = house.serve(tmp_path, "--serve-tokens")
    body = request_of(12)
    assert guarded.ask("POST", INFER, body)[0] == 401
    token = house.post("/principals", {"name": "kiosk", "roles": ["caller"]})["token"]
    until(lambda: guarded.ask("POST", INFER, body, token)[0] == 200)
    for _ in range(2):
        assert guarded.ask("POST", INFER, {"inputs": []}, token)[0] == 400
    granted = [
        where
        for one in read_access_list(
            access_list_path(guarded.root), house.workspace.key.public
        ).entries
        for where in one.granted.values()
    ]
    assert set(granted) == {("production",)}, "nothing of other environments"
    house.post("/principals/kiosk/roles/take", {"role": "caller"})
    until(lambda: guarded.ask("POST", INFER, body, token)[0] in (401, 403))
    assert guarded.started.end() == 0
    # What it has refused is in no log; it was told at the end, if not before.
    told = read_counts(house.workspace.root, "production")
    counts = [one.total["late-arrival"] for one in told if one.total["late-arrival"].get("400")]
    assert [one["400"] for one in counts] == [2]
    with urllib.request.urlopen(
        f"{house.url}/environments/production/endpoints/late-arrival"
    ) as page:
        assert "2 answered with 400" in page.read().decode()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--key", "A" * 43 + "="), "none of this workspace's keys"),
        (("-e", "staging"), "Nothing is deployed in staging yet"),
    ],
)
def test_what_cannot_begin_says_why(house, tmp_path, more, says):
    refused = house.serve(tmp_path, *more).started
    assert refused.process.wait(120) == 1
    assert says in (house.folder / "serve.log").read_text()
    assert not (tmp_path / "dataplane.json").exists()


def test_it_goes_on_without_its_origin_and_sends_what_it_has_answered(
    house, far, request_of, until
):
    """The last one that uses the house."""
    status, reply = far.ask("POST", INFER, request_of(12))
    prediction = reply["parameters"]["prediction_id"]
    assert status == 200
    truth = {"prediction_id": prediction, "truth": 1}
    assert far.ask("POST", "/v2/feedback", truth)[0] == 200
    assert far.started.end() == 0
    origin = SimpleNamespace(root=house.workspace.root)
    found = read_predictions(origin, "production")
    assert found["prediction_id"].to_list().count(prediction) == 1
    assert set(found["plane"]) == {socket.gethostname()}
    said = read_feedback(origin, "production").filter(pl.col("prediction_id") == prediction)
    assert said.select("principal", "plane").rows() == [(None, socket.gethostname())]
    assert list((far.root / "logs").glob("*/*/*.arrows")) == []

    # Killed with all that it has, and its address is nobody's any more.
    plane = json.loads((house.workspace.root / "dataplane.json").read_text())["pid"]
    kill(house.up.pid)
    kill(plane)
    house.up.process.wait(120)
    alone = house.serve()
    until(lambda: alone.version(request_of(12)) == "1.0.5")
    document = json.loads((alone.root / "dataplane.json").read_text())
    kill(document["pid"])  # and the plane comes back, on its port
    until(lambda: read_pid(alone.root / "dataplane.json") not in (None, document["pid"]))
    until(lambda: alone.version(request_of(12)) == "1.0.5")
    plane = json.loads((alone.root / "dataplane.json").read_text())["pid"]
    alone.started.end(signal.SIGKILL)  # what follows goes, what serves stays
    assert alone.version(request_of(12)) == "1.0.5"
    alone = house.serve()
    assert alone.started.told["adopted"]
    assert json.loads((alone.root / "dataplane.json").read_text())["pid"] == plane
    assert alone.started.end() == 0
    assert not (alone.root / "dataplane.json").exists()
    assert len(list((alone.root / "logs").glob("predictions/*/*.arrows"))) >= 1  # kept for later
    refused = start("up", "--workspace", str(alone.root), "--serve-port", "0", cwd=house.folder)
    assert refused.process.wait(120) == 1
    assert not (alone.root / "seamline.db").exists()


def read_pid(path):
    try:
        return json.loads(path.read_text())["pid"]
    except FileNotFoundError:
        return None
