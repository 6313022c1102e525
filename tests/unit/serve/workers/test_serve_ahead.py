"""Workers that are started before the plane that asks for them."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from pathlib import Path

import pytest

from seamline.domain.errors import DigestMismatch
from seamline.serve.snapshots.snapshot import TwinPolicy, snapshot_path
from seamline.serve.workers.ahead import StartedAhead, start_header
from seamline.serve.workers.worker import WorkerProcess


async def started(workspace, run):
    """What `run(ahead)` returns, with what the snapshots name started ahead of it."""
    ahead = StartedAhead()
    await ahead.start(workspace.root, workspace.root / "keys" / "signing.pub")
    processes = [one[2] for one in ahead._started]
    try:
        return await run(ahead)
    finally:
        ahead.close()
        for process in processes:
            await process.wait()


def pids_of(ahead, spec):
    found = []
    while (process := ahead.take(spec.python, start_header(spec))) is not None:
        found.append(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
    return found


def test_it_is_the_worker_that_the_plane_then_asks(workspace):
    spec = workspace.endpoint()
    workspace.deploy(1, spec)

    async def run(ahead):
        (process,) = [one[2] for one in ahead._started]
        worker = await WorkerProcess.start(spec, ahead)
        outputs = await worker.predict({"hour": [6], "carrier": ["UA"], "temp": [None]}, 1)
        await worker.close()
        return worker.process.pid == process.pid, outputs["score"].tolist(), worker.samples

    assert asyncio.run(started(workspace, run)) == (True, [0.25], 2)


def test_one_that_is_asked_for_in_other_words_is_another(workspace):
    spec = workspace.endpoint()
    workspace.deploy(1, spec)
    renamed = dataclasses.replace(spec, package_digest="sha256:" + "0" * 64)

    async def run(ahead):
        with pytest.raises(DigestMismatch):
            await WorkerProcess.start(renamed, ahead)
        (process,) = [one[2] for one in ahead._started]
        ahead.close()
        return await process.wait()

    assert asyncio.run(started(workspace, run)) == -signal.SIGKILL


def test_it_verifies_its_wheel_itself(workspace):
    spec = workspace.endpoint()
    workspace.deploy(1, spec)
    wheel = Path(spec.wheel_path)
    wheel.chmod(0o600)
    wheel.write_bytes(wheel.read_bytes() + b" ")

    async def run(ahead):
        assert len(ahead._started) == 1
        with pytest.raises(DigestMismatch):
            await WorkerProcess.start(spec, ahead)

    asyncio.run(started(workspace, run))


def test_one_that_has_ended_is_started_again(workspace):
    spec = workspace.endpoint()
    workspace.deploy(1, spec)

    async def run(ahead):
        (process,) = [one[2] for one in ahead._started]
        process.kill()
        await process.wait()
        worker = await WorkerProcess.start(spec, ahead)
        await worker.close()
        return worker.samples

    assert asyncio.run(started(workspace, run)) == 2


def test_what_needs_no_worker_or_does_not_hold_starts_none(workspace, graph_of):
    spec = workspace.endpoint()
    twinned = workspace.endpoint(graph=graph_of(1.0))
    required = dataclasses.replace(spec, twin=TwinPolicy.REQUIRE)
    never = dataclasses.replace(twinned, twin=TwinPolicy.NEVER)
    found = []

    async def run(ahead):
        return [len(pids_of(ahead, one)) for one in (spec, twinned)]

    for deployed in (spec, twinned, required, never):
        workspace.deploy(1, deployed)
        found.append(asyncio.run(started(workspace, run)))
    assert found == [[1, 0], [0, 0], [0, 0], [0, 1]]

    path = snapshot_path(workspace.root, "production")
    path.write_bytes(path.read_bytes().replace(b'"sig":"', b'"sig":"AAAA'))
    assert asyncio.run(started(workspace, run)) == [0, 0]
    workspace.deploy(1, spec)
    (workspace.root / "places.json").write_text("{}")
    assert asyncio.run(started(workspace, run)) == [0, 0]
