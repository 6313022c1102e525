"""What is kept warm: a swap starts nothing, and what cannot be kept warm changes nothing."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seamline.domain.errors import InvalidInput

INFER = "/v2/models/late-arrival/infer"
#: Of the two models: what hour 12 scores.
FIRST, SECOND = 1.0, 2.0


def alter(spec) -> None:
    path = Path(spec.wheel_path)
    path.write_bytes(path.read_bytes() + b"x")


def answers_by(plane, request_of) -> str:
    status, reply, _ = plane.ask("POST", INFER, request_of(12))
    assert status == 200, reply
    expected = {"1.0.1": 0.5, "1.0.2": 1.0}
    assert reply["outputs"][1]["data"] == [expected[reply["model_version"]]]
    return str(reply["model_version"])


@pytest.fixture
def warmed(workspace, plane):
    """Serves 1.0.1; 1.0.2 is warm."""
    workspace.deploy(2, workspace.endpoint(FIRST), standby=(workspace.endpoint(SECOND),))
    assert [one["state"] for one in plane.await_standbys(2)] == ["warm"]
    return plane


def test_applying_and_going_back_start_no_process(workspace, warmed, request_of):
    """The very processes that were proved answer: what was live goes on as the standby."""
    before = warmed.workers()
    assert len(before) == 2
    assert answers_by(warmed, request_of) == "1.0.1"
    workspace.deploy(3, workspace.endpoint(SECOND), standby=(workspace.endpoint(FIRST),))
    assert warmed.await_standbys(3)[0]["state"] == "warm"
    assert answers_by(warmed, request_of) == "1.0.2"
    assert warmed.workers() == before
    workspace.deploy(4, workspace.endpoint(FIRST), standby=(workspace.endpoint(SECOND),))
    assert warmed.await_snapshot(4)["version"] == 4
    assert answers_by(warmed, request_of) == "1.0.1"
    assert warmed.workers() == before


def test_the_memory_of_what_is_not_wanted_is_given_back(workspace, warmed, request_of, until):
    before = warmed.workers()
    workspace.deploy(3, workspace.endpoint(FIRST))
    assert warmed.await_standbys(3) == []
    until(lambda: len(warmed.workers()) == 1)
    assert warmed.workers() < before
    assert answers_by(warmed, request_of) == "1.0.1"


def test_a_standby_that_is_being_loaded_and_not_wanted_any_more_goes(
    workspace, plane, until, tmp_path
):
    """Its sample row is one that the model waits for good on."""
    row = {"hour": 6, "carrier": str(tmp_path / "never"), "temp": None}
    slow = workspace.endpoint(SECOND, samples={"rows": [row], "outputs": {}})
    workspace.deploy(2, workspace.endpoint(FIRST), standby=(slow,))
    assert plane.await_snapshot(2)["standbys"][0]["state"] == "warming"
    until((tmp_path / "never.reached").exists)
    workspace.deploy(3, workspace.endpoint(FIRST))
    assert plane.await_standbys(3) == []
    until(lambda: len(plane.workers()) == 1)


def test_a_request_keeps_the_model_that_it_came_to(workspace, warmed, request_of, tmp_path, until):
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(warmed.ask, "POST", INFER, request_of(12, carrier=str(gate)))
        until(gate.with_name("gate.reached").exists)
        workspace.deploy(3, workspace.endpoint(SECOND))
        assert warmed.await_snapshot(3)["version"] == 3
        assert answers_by(warmed, request_of) == "1.0.2"
        gate.touch()
        status, reply, _ = asked.result()
    assert (status, reply["model_version"]) == (200, "1.0.1")
    until(lambda: len(warmed.workers()) == 1)


def test_a_standby_that_does_not_hold_changes_nothing_and_says_so(workspace, plane, request_of):
    before = plane.workers()
    spec = workspace.endpoint(SECOND)
    alter(spec)
    workspace.deploy(2, workspace.endpoint(FIRST), standby=(spec,))
    [told] = plane.await_standbys(2)
    assert (told["state"], told["release_alias"]) == ("failed", "next")
    assert spec.package_digest in told["error"]
    status, health, _ = plane.ask("GET", "/v2/health/ready")
    assert (status, health["ready"], health["standbys"]) == (200, True, [told])
    text = plane.ask("GET", "/metrics")[1]["text"]
    assert 'seamline_standby_failures_total{environment="production"} 1' in text
    assert 'seamline_standby_releases{environment="production"} 0' in text
    assert answers_by(plane, request_of) == "1.0.1"
    assert plane.workers() == before


def test_what_was_altered_after_it_was_loaded_does_not_run(workspace, warmed, request_of, until):
    """The bytes that were hashed are in the worker: it never looks at the disk again. Its
    successor would, and is refused."""
    spec = workspace.endpoint(SECOND)
    alter(spec)
    workspace.deploy(3, spec, standby=(workspace.endpoint(FIRST),))
    assert warmed.await_snapshot(3)["version"] == 3
    assert answers_by(warmed, request_of) == "1.0.2"
    assert warmed.ask("POST", INFER, request_of(5, carrier="KILL"))[0] == 503
    until(
        lambda: spec.package_digest in warmed.ask("POST", INFER, request_of(12))[1].get("error", "")
    )
    assert warmed.ask("GET", "/v2/health/ready")[0] == 503


def test_a_standby_that_died_is_asked_for_its_bytes_again(workspace, warmed, request_of, until):
    live = warmed.workers()
    workspace.deploy(3, workspace.endpoint(FIRST))
    assert warmed.await_standbys(3) == []
    workspace.deploy(4, workspace.endpoint(FIRST), standby=(workspace.endpoint(SECOND),))
    warmed.await_standbys(4)
    spec = workspace.endpoint(SECOND)
    alter(spec)
    (pid,) = warmed.workers() - live
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())
    workspace.deploy(5, spec)
    state = warmed.await_snapshot(5)
    assert state["version"] == 4
    assert spec.package_digest in state["error"]
    assert answers_by(warmed, request_of) == "1.0.1"


def test_a_refused_snapshot_leaves_the_standbys_as_they_were(workspace, warmed, request_of):
    before = warmed.workers()
    broken = workspace.endpoint(3.0)
    alter(broken)
    workspace.deploy(3, broken)
    assert warmed.await_snapshot(3)["version"] == 2
    assert [one["state"] for one in warmed.await_standbys(2)] == ["warm"]
    assert warmed.workers() == before


def test_a_plane_restarted_alone_warms_again(warmed, start_plane, request_of):
    warmed.stop(signal.SIGKILL)
    again = start_plane()
    assert [one["state"] for one in again.await_standbys(2)] == ["warm"]
    assert len(again.workers()) == 2
    assert answers_by(again, request_of) == "1.0.1"


def test_what_nothing_is_live_beside_is_warm_and_answers_nobody(workspace, start_plane, request_of):
    workspace.deploy(1, release="", standby=(workspace.endpoint(FIRST),))
    plane = start_plane()
    assert [one["state"] for one in plane.await_standbys(1)] == ["warm"]
    status, health, _ = plane.ask("GET", "/v2/health/ready")
    assert (status, health["ready"]) == (503, False)
    assert health["message"] == "Nothing is deployed in production yet."
    assert plane.ask("POST", INFER, request_of(12))[0] == 404
    before = plane.workers()
    workspace.deploy(2, workspace.endpoint(FIRST))
    assert plane.await_snapshot(2)["version"] == 2
    assert plane.workers() == before
    workspace.deploy(3, release="")
    assert plane.await_snapshot(3)["version"] == 3
    assert plane.ask("POST", INFER, request_of(12))[0] == 404


def test_a_snapshot_of_no_release_serves_nothing(workspace):
    with pytest.raises(InvalidInput, match="digest"):
        workspace.deploy(1, workspace.endpoint(), release="")
