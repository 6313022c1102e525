"""The whole data plane as a process: errors, isolation, swaps, tampering, crashes."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seamline.serve.metrics import Metrics
from seamline.serve.plane import Plane

INFER = "/v2/models/late-arrival/infer"


def test_answers_with_ids_and_versions(plane, request_of):
    status, reply, _ = plane.ask("POST", INFER, request_of(6, 20, id="mine"))
    assert status == 200
    assert reply["model_name"] == "late-arrival"
    assert reply["model_version"] == "1.0.1"
    assert reply["id"] == "mine"
    assert reply["parameters"]["release"] == "sha256:" + "ab" * 32
    assert len(reply["parameters"]["prediction_id"]) == 36
    label, score = reply["outputs"]
    assert label == {"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 1]}
    assert score["data"] == pytest.approx([6 / 24, 20 / 24])


def test_health_and_metadata_have_bodies(plane):
    assert plane.ask("GET", "/v2/health/live")[:2] == (200, {"live": True})
    status, ready, _ = plane.ask("GET", "/v2/health/ready")
    assert status == 200
    assert ready["snapshot_version"] == 1
    assert "binary_tensor_data" in plane.ask("GET", "/v2")[1]["extensions"]
    _, metadata, _ = plane.ask("GET", "/v2/models/late-arrival/versions/1.0.1")
    assert [column["name"] for column in metadata["inputs"]] == ["hour", "carrier", "temp"]
    assert plane.ask("GET", "/v2/models/late-arrival/ready")[1]["ready"] is True
    status, detail, _ = plane.ask("GET", "/staging/v2/health/ready")
    assert status == 503
    assert "Nothing is deployed in staging" in detail["message"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "cannot be read"),
        (b'{"inputs": 3}', "Expected `array`"),
        (b'{"inputs": [{"name": "hour", "datatype": "INT64", "shape": [1]}]}', "has no data"),
        (b'{"inputs": []}', "no inputs"),
    ],
)
def test_broken_bodies_are_400(plane, body, says):
    status, reply, _ = plane.ask("POST", INFER, body)
    assert status == 400
    assert says in reply["error"]


def test_errors_name_what_was_meant(plane, request_of):
    good = request_of(6)
    status, reply, _ = plane.ask("POST", "/v2/models/late-arival/infer", good)
    assert (status, "Did you mean late-arrival?" in reply["error"]) == (404, True)
    status, reply, _ = plane.ask("POST", "/v2/models/late-arrival/versions/9/infer", good)
    assert (status, "1.0.1" in reply["error"]) == (404, True)
    status, reply, _ = plane.ask("POST", "/stagin/v2/models/late-arrival/infer", good)
    assert (status, "production" in reply["error"]) == (404, True)
    status, _, headers = plane.ask("GET", INFER)
    assert (status, headers["allow"]) == (405, "POST")
    assert plane.ask("GET", "/nothing")[0] == 404
    status, reply, _ = plane.ask("POST", INFER, request_of(6, outputs=[{"name": "scor"}]))
    assert (status, "Did you mean score?" in reply["error"]) == (400, True)
    assert plane.ask("POST", INFER, b"x" * (17 << 20))[0] == 413
    assert plane.ask("POST", INFER, good, Origin="http://evil.example")[0] == 403
    status, reply, _ = plane.ask("POST", INFER, request_of(6, carrier="BOOM"))
    assert (status, "there is no carrier BOOM" in reply["error"]) == (500, True)


def test_gzip_both_ways(plane, request_of):
    body = gzip.compress(json.dumps(request_of(*range(24))).encode())
    assert plane.ask("POST", INFER, body, Content_Encoding="gzip")[0] == 200
    assert plane.ask("POST", INFER, body[:-9], Content_Encoding="gzip")[0] == 400


def test_bad_requests_do_not_hurt_the_good_ones_beside_them(plane, request_of):
    """32 at once: two that no signature allows, two on which the model itself raises."""
    bodies = [request_of(hour % 24) for hour in range(32)]
    bodies[3] = request_of("noon")
    bodies[11] = {"inputs": []}
    bodies[17] = bodies[29] = request_of(5, carrier="BOOM")
    together = threading.Barrier(32)

    def send(body):
        together.wait()
        return plane.ask("POST", INFER, body)

    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(send, bodies))
    statuses = [status for status, _, _ in replies]
    assert [statuses[bad] for bad in (3, 11, 17, 29)] == [400, 400, 500, 500]
    for hour, (status, reply, _) in enumerate(replies):
        if hour not in (3, 11, 17, 29):
            assert status == 200
            assert reply["outputs"][1]["data"] == pytest.approx([hour % 24 / 24])


def test_swaps_under_load_drop_nothing(workspace, plane, request_of):
    stop = threading.Event()
    statuses, versions = [], set()

    def load():
        while not stop.is_set():
            status, reply, _ = plane.ask("POST", INFER, request_of(12))
            statuses.append(status)
            versions.add(reply.get("model_version"))
            expected = {"1.0.1": 0.5, "1.0.2": 1.0}
            assert reply["outputs"][1]["data"] == [expected[reply["model_version"]]]

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(load) for _ in range(4)]
        try:
            for version in range(2, 6):
                workspace.deploy(version, workspace.endpoint(2.0 if version % 2 == 0 else 1.0))
                assert plane.await_snapshot(version)["version"] == version
        finally:
            stop.set()
        for client in clients:
            client.result()
    assert set(statuses) == {200}
    assert versions == {"1.0.1", "1.0.2"}


def test_a_tampered_wheel_is_refused_and_the_old_one_stays(workspace, plane, request_of):
    spec = workspace.endpoint(2.0)
    path = Path(spec.wheel_path)
    path.write_bytes(path.read_bytes() + b"x")
    workspace.deploy(2, spec)
    state = plane.await_snapshot(2)
    assert state["version"] == 1
    actual = (
        "sha256:"
        + subprocess.run(
            ["sha256sum", str(path)], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )
    assert spec.package_digest in state["error"]
    assert actual in state["error"]
    status, health, _ = plane.ask("GET", "/v2/health/ready")
    assert (status, health["snapshot_version"]) == (200, 1)
    assert health["refused"]["snapshot_version"] == 2
    assert plane.ask("POST", INFER, request_of(12))[1]["model_version"] == "1.0.1"
    assert (
        'seamline_load_failures_total{environment="production"} 1'
        in (plane.ask("GET", "/metrics")[1]["text"])
    )


def test_a_snapshot_that_somebody_else_signed_is_refused(workspace, plane, tmp_path_factory):
    stranger = type(workspace)(tmp_path_factory.mktemp("stranger"))
    snapshot = stranger.deploy(2, workspace.endpoint(2.0))
    foreign = stranger.root / "serving" / "production.json"
    foreign.replace(workspace.root / "serving" / "production.json")
    state = plane.await_snapshot(snapshot.version)
    assert state["version"] == 1
    assert "No trusted key signed this" in state["error"]


def test_an_older_snapshot_and_a_changed_answer_are_refused(workspace, plane):
    workspace.deploy(0, workspace.endpoint())
    assert "older than 1" in plane.await_snapshot(2)["error"]
    lie = {"rows": [{"hour": 12, "carrier": None, "temp": None}], "outputs": {"score": [0.9]}}
    workspace.deploy(2, workspace.endpoint(3.0, samples=lie))
    assert "0.9 when it was packaged, 1.5 here" in plane.await_snapshot(2)["error"]


def test_a_removed_snapshot_changes_nothing(workspace, plane, request_of):
    (workspace.root / "serving" / "production.json").unlink()
    workspace.deploy(1, workspace.endpoint(), environment="staging")
    assert plane.await_snapshot(1, "staging")["version"] == 1
    assert plane.ask("POST", INFER, request_of(12))[0] == 200
    assert plane.ask("POST", f"/staging{INFER}", request_of(12))[0] == 200


def test_at_a_cold_start_one_broken_endpoint_does_not_stop_the_others(
    workspace, start_plane, request_of
):
    broken = dataclasses.replace(workspace.endpoint(), endpoint="broken", module="not_there")
    workspace.deploy(1, workspace.endpoint(), broken)
    plane = start_plane()
    state = plane.await_snapshot(1)
    assert state["version"] is None
    assert "not_there" in state["error"]
    assert plane.ask("POST", INFER, request_of(12))[0] == 200
    status, reply, headers = plane.ask("POST", "/v2/models/broken/infer", request_of(12))
    assert (status, headers["retry-after"]) == (503, "1")
    assert "not_there" in reply["error"]
    assert plane.ask("GET", "/v2/health/ready")[0] == 503


def test_a_killed_worker_comes_back(plane, request_of, until):
    status, reply, headers = plane.ask("POST", INFER, request_of(5, carrier="KILL"))
    assert (status, headers["retry-after"]) == (503, "1")
    assert "signal 9" in reply["error"]
    until(lambda: plane.ask("POST", INFER, request_of(12))[0] == 200)
    assert "seamline_worker_restarts_total" in plane.ask("GET", "/metrics")[1]["text"]


def test_a_killed_plane_serves_from_disk_again(plane, start_plane, request_of):
    plane.stop(signal.SIGKILL)
    again = start_plane()
    assert again.await_snapshot(1)["version"] == 1
    assert again.ask("POST", INFER, request_of(12))[0] == 200
    assert again.stop() == 0
    assert not (again.root / "dataplane.json").exists()


def test_what_is_still_being_loaded_is_not_said_to_be_unknown(
    workspace, start_plane, request_of, tmp_path
):
    """A client that asks a plane which has just been started again comes again; 404 ends it."""
    may_load = tmp_path / "may-load"
    slow = f"import os\nwhile not os.path.exists({str(may_load)!r}): pass\n"
    workspace.deploy(1, workspace.endpoint(prelude=slow))
    plane = start_plane()
    says = "What is live in production is being loaded."
    status, reply, headers = plane.ask("POST", INFER, request_of(12))
    assert (status, reply["error"]) == (503, f"{says} Try again soon.")
    assert "retry-after" in headers
    status, health, _ = plane.ask("GET", "/v2/health/ready")
    assert (status, health["message"]) == (503, says)
    assert plane.ask("POST", f"/staging{INFER}", request_of(12))[0] == 404
    may_load.touch()
    plane.await_snapshot(1)
    assert plane.ask("POST", INFER, request_of(12))[0] == 200


def test_workers_die_with_a_killed_plane(plane, until):
    children = Path(f"/proc/{plane.process.pid}/task/{plane.process.pid}/children")
    workers = [Path("/proc") / pid for pid in children.read_text().split()]
    assert workers
    plane.stop(signal.SIGKILL)
    until(lambda: not any(worker.exists() for worker in workers))


def test_the_plane_loads_no_heavy_library():
    code = (
        "import sys, seamline.dataplane\n"
        "heavy = {'polars', 'deltalake', 'fastapi', 'sqlalchemy', 'seamline.server', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_address_that_cannot_be_used_is_one_line(plane, host, tmp_path):
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(tmp_path / "other")]
    command += ["--host", host, "--port", str(plane.port)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert f"{host}:{plane.port}" in ended.stderr


def test_one_plane_per_workspace(plane):
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(plane.root)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "another one serves" in ended.stderr
    assert plane.address()


def test_restored_bytes_are_taken_without_a_new_snapshot(workspace, monkeypatch):
    monkeypatch.setattr("seamline.serve.snapshots.watch.FIRST_RETRY_S", 0.01)
    spec = workspace.endpoint()
    path = Path(spec.wheel_path)
    approved = path.read_bytes()
    path.write_bytes(approved + b"x")
    workspace.deploy(1, spec)

    async def run():
        plane = Plane(workspace.root, workspace.root / "keys" / "signing.pub", Metrics())
        plane.start()
        refused = await plane.wait_for_snapshot("production", 1, 30)
        path.write_bytes(approved)
        while not plane.health("production")["ready"]:
            await asyncio.sleep(0.01)
        served = await plane.wait_for_snapshot("production", 1, 30)
        await plane.close()
        return refused, served

    refused, served = asyncio.run(run())
    assert spec.package_digest in refused["error"]
    assert (served["version"], served["error"]) == (1, None)
