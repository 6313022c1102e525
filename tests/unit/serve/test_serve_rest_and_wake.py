"""What is unloaded gives its memory back, and answers again when it is asked or loaded."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from seamline.domain.errors import DigestMismatch, Unavailable
from seamline.serve.workers.worker import ModelWorker

INFER = "/v2/models/late-arrival/infer"
LOAD = "/v2/repository/models/late-arrival/load"
UNLOAD = "/v2/repository/models/late-arrival/unload"


def columns(*hours):
    return {
        "hour": np.array(hours),
        "carrier": ["UA"] * len(hours),
        "temp": np.full(len(hours), np.nan),
    }


def test_the_process_of_one_that_rests_is_gone_and_comes_back_when_asked(workspace):
    async def run():
        worker = await ModelWorker.start(workspace.endpoint())
        pid = worker.pid
        answering = asyncio.create_task(worker.predict(columns(12), 1))
        await asyncio.sleep(0)
        await worker.rest()
        first = await answering  # what was in work is answered
        gone = not Path(f"/proc/{pid}").exists()
        state = (worker.is_alive, worker.can_answer, worker.is_resting, worker.problem)
        await worker.rest()
        second = await asyncio.gather(*(worker.predict(columns(12), 1) for _ in range(3)))
        other = worker.pid
        await worker.wake()
        same = worker.pid == other
        await worker.close()
        return first, gone, state, second, pid != other, same

    first, gone, state, second, is_new, same = asyncio.run(run())
    assert first["score"].tolist() == [0.5]
    assert gone
    assert state[:3] == (False, True, True)
    assert "was unloaded" in state[3]
    assert [one["score"].tolist() for one in second] == [[0.5]] * 3
    assert is_new
    assert same


def test_bytes_that_changed_meanwhile_are_not_loaded(workspace):
    spec = workspace.endpoint()
    path = Path(spec.wheel_path)
    approved = path.read_bytes()

    async def run():
        worker = await ModelWorker.start(spec)
        await worker.rest()
        path.write_bytes(approved + b"x")
        with pytest.raises(DigestMismatch):
            await worker.predict(columns(12), 1)
        still = (worker.is_alive, worker.is_resting)
        path.write_bytes(approved)
        answer = await worker.predict(columns(12), 1)
        await worker.close()
        return still, answer

    still, answer = asyncio.run(run())
    assert still == (False, True)
    assert answer["score"].tolist() == [0.5]


def test_closing_ends_one_that_is_being_loaded(workspace, tmp_path):
    gate = tmp_path / "gate"
    waits = f"import os, time\nwhile os.path.exists({str(gate)!r}): time.sleep(0.01)\n"

    async def run():
        worker = await ModelWorker.start(workspace.endpoint(prelude=waits))
        await worker.rest()
        gate.touch()
        waking = asyncio.create_task(worker.wake())
        await asyncio.sleep(0.01)
        await worker.close()
        with pytest.raises(Unavailable, match="no longer served"):
            await waking
        await worker.wake()
        return worker.is_alive

    assert asyncio.run(run()) is False


def test_unload_and_load_over_the_wire(plane, request_of):
    before = plane.workers()
    assert plane.ask("POST", UNLOAD, b"")[1]["state"] == "UNAVAILABLE"
    assert plane.workers() == set()
    status, ready, _ = plane.ask("GET", "/v2/models/late-arrival/ready")
    assert (status, "was unloaded" in ready["reason"]) == (503, True)
    assert plane.ask("GET", "/v2/health/ready")[0] == 200  # who asks gets an answer
    index = plane.ask("POST", "/v2/repository/index", b"")[1]
    assert [(one["name"], one["state"]) for one in index] == [("late-arrival", "UNAVAILABLE")]
    assert plane.ask("POST", "/v2/repository/index", {"ready": True})[1] == []
    assert plane.ask("POST", LOAD, b"")[1]["state"] == "READY"
    assert len(plane.workers()) == 1
    assert plane.workers() != before
    plane.ask("POST", UNLOAD, b"")
    status, reply, _ = plane.ask("POST", INFER, request_of(12))
    assert (status, reply["outputs"][1]["data"]) == (200, [0.5])


def test_nothing_comes_in_that_the_release_does_not_name(plane):
    foreign = {"parameters": {"file:1/model.py": "cHJpbnQoMSk="}}
    status, error, _ = plane.ask("POST", LOAD, foreign)
    assert (status, "approved release" in error["error"]) == (422, True)
    status, error, _ = plane.ask("POST", "/v2/repository/models/foreign/load", b"")
    assert (status, "Known: late-arrival" in error["error"]) == (404, True)


def test_load_tries_what_could_not_be_taken_again_now(workspace, start_plane, request_of):
    spec = workspace.endpoint()
    path = Path(spec.wheel_path)
    approved = path.read_bytes()
    path.write_bytes(approved + b"x")
    workspace.deploy(1, spec)
    plane = start_plane()
    assert plane.await_snapshot(1)["version"] is None
    status, error, _ = plane.ask("POST", LOAD, b"")
    assert (status, spec.package_digest in error["error"]) == (503, True)
    index = plane.ask("POST", "/v2/repository/index", b"")[1]
    assert [(one["state"], spec.package_digest in one["reason"]) for one in index] == [
        ("UNAVAILABLE", True)
    ]
    path.write_bytes(approved)
    assert plane.ask("POST", LOAD, b"")[1]["state"] == "READY"
    assert plane.ask("POST", INFER, request_of(12))[0] == 200


def test_one_that_is_to_be_started_again_later_is_loaded_now(workspace, monkeypatch):
    monkeypatch.setattr("seamline.serve.workers.worker.FIRST_PAUSE_S", 3600.0)

    async def run():
        worker = await ModelWorker.start(workspace.endpoint())
        os.kill(worker.pid, signal.SIGKILL)
        while worker.is_alive:
            await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="signal 9"):
            await worker.predict(columns(12), 1)
        await worker.wake()
        answer = await worker.predict(columns(12), 1)
        await worker.close()
        return answer

    assert asyncio.run(run())["score"].tolist() == [0.5]


def test_what_rested_while_it_answered_is_loaded_when_it_stands_by(workspace, plane):
    """Rolled back to in no time: a standby that rests would be none."""
    first = workspace.endpoint()
    plane.ask("POST", UNLOAD, b"")
    workspace.deploy(2, workspace.endpoint(2.0), standby=(first,))
    assert [one["state"] for one in plane.await_standbys(2)] == ["warm"]
    assert len(plane.workers()) == 2
