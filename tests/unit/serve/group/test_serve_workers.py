"""Several processes on one port: one version, one scrape, and what becomes of it when some die."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from seamline.runtime.processes import group_members
from seamline.serve.group.processes import start_plane
from seamline.serve.group.supervisor import Supervisor
from seamline.serve.log import prediction_log
from seamline.serve.log.segments import list_segments, read_segment
from seamline.serve.place import claim_port

INFER = "/v2/models/late-arrival/infer"
ANSWERED = 'seamline_requests_total{environment="production",endpoint="late-arrival",status="200"}'


@dataclass(frozen=True)
class Asked:
    began: float
    ended: float
    status: int
    version: str


@dataclass
class Load:
    """Callers that ask until they are told to stop, each over a connection that is kept."""

    port: int
    body: bytes
    callers: int = 4
    asked: list[Asked] = field(default_factory=list)
    #: Requests that got no answer, and connections that were not made.
    broken: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self.threads = [threading.Thread(target=self._ask) for _ in range(self.callers)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        turn = 0
        while not self.stop.is_set():
            turn += 1
            began = time.monotonic()
            try:
                connection.request("POST", INFER, self.body)
                response = connection.getresponse()
                reply = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(type(error).__name__)
                connection.close()
                continue
            version = reply.get("model_version", "")
            self.asked.append(Asked(began, time.monotonic(), response.status, version))
            if turn % 20 == 0:
                connection.close()  # the next one may be another process's
        connection.close()


@pytest.fixture(scope="module")
def group(make_group):
    return make_group()


def scrape(plane) -> dict[str, float]:
    lines = plane.ask("GET", "/metrics")[1]["text"].splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def by_plane(metrics, name):
    return {
        found[1]: value
        for series, value in metrics.items()
        if (found := re.fullmatch(rf'{name}{{plane="(\d+)"}}', series))
    }


def test_all_processes_answer_and_are_counted_as_one(group, request_of, until):
    _, plane = group
    assert plane.address()["workers"] == 2
    before = scrape(plane)
    asked = 0
    while not all(by_plane(scrape(plane), "seamline_plane_requests_total").values()):
        assert plane.ask("POST", INFER, request_of(12))[0] == 200
        asked += 1
        assert asked < 20_000  # one may be given no processor for a while
    after = scrape(plane)
    assert after[ANSWERED] - before.get(ANSWERED, 0) == asked
    assert sum(by_plane(after, "seamline_plane_requests_total").values()) == after[ANSWERED]
    rows = 'seamline_log_rows_total{log="predictions",environment="production"}'
    until(lambda: scrape(plane).get(rows, 0) >= after[ANSWERED])
    found = logged(plane.root)
    assert found.num_rows == len(set(found["prediction_id"].to_pylist())) == after[ANSWERED]
    assert len(list_segments(plane.root / "logs" / "predictions" / "production")) >= 2


def logged(root: Path) -> pa.Table:
    folder = root / "logs" / prediction_log.FOLDER / "production"
    return pa.concat_tables(
        read_segment(path, prediction_log.SCHEMA) for path in list_segments(folder)
    )


def test_eight_swaps_under_load_fail_nobody_and_never_mix_versions(group, request_of, until):
    workspace, plane = group
    told: list[tuple[float, int]] = []
    first = plane.await_snapshot(1)["version"]
    with Load(plane.port, json.dumps(request_of(12)).encode()) as load:
        for version in range(first + 1, first + 9):
            workspace.deploy(version, workspace.endpoint(float(version)))
            state = plane.await_snapshot(version)
            assert (state["version"], state["error"]) == (version, None)
            told.append((time.monotonic(), version))
            until(lambda served=f"1.0.{version}": load.asked[-1].version == served)
    assert load.broken == []
    assert {one.status for one in load.asked} == {200}
    for at, version in told:
        after = {int(one.version.split(".")[2]) for one in load.asked if one.began > at}
        assert min(after, default=version) >= version
    assert len({one.version for one in load.asked}) >= 8


TRAP = """
import os
try:
    os.mkdir({!r})
except OSError:
    raise RuntimeError('I am the second')
"""


def test_one_that_cannot_be_prepared_in_all_is_served_by_none(group, request_of):
    """A model that can be loaded once: whichever process comes second finds that it does not."""
    workspace, plane = group
    before = plane.await_snapshot(1)["version"]
    trap = workspace.root / "first"
    spec = workspace.endpoint(50.0)
    wheel = with_preamble(Path(spec.wheel_path).read_bytes(), TRAP.format(str(trap)))
    digest = workspace.blobs.put(wheel)
    path = str(workspace.blobs.path_of(digest))
    workspace.deploy(before + 1, workspace.endpoint(50.0, package_digest=digest, wheel_path=path))
    state = plane.await_snapshot(before + 1)
    assert state["version"] == before
    assert "I am the second" in state["error"]
    assert trap.exists()  # the first has prepared it
    for _ in range(20):
        status, reply, _ = plane.ask("POST", INFER, request_of(12))
        assert (status, reply["model_version"] == "1.0.50") == (200, False)
        status, ready, _ = plane.ask("GET", "/v2/health/ready")
        assert (status, ready["snapshot_version"]) == (200, before)
        assert "I am the second" in ready["refused"]["message"]
    failures = 'seamline_load_failures_total{environment="production"}'
    assert scrape(plane)[failures] >= 1
    workspace.deploy(before + 2, workspace.endpoint())
    assert plane.await_snapshot(before + 2)["version"] == before + 2
    assert "refused" not in plane.ask("GET", "/v2/health/ready")[1]


def with_preamble(wheel: bytes, source: str) -> bytes:
    found, memory = zipfile.ZipFile(io.BytesIO(wheel)), io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in found.namelist():
            is_module = name == "late_arrival/__init__.py"
            archive.writestr(name, source.encode() * is_module + found.read(name))
    return memory.getvalue()


def test_what_is_unloaded_rests_in_all_and_is_loaded_in_all(group, until):
    _, plane = group
    # What served before the last swap may still be going.
    until(lambda: [len(children(worker)) for worker in plane.workers()] == [1, 1])
    assert plane.ask("POST", "/v2/repository/models/late-arrival/unload")[0] == 200
    until(lambda: not any(children(worker) for worker in plane.workers()))
    status, reply, _ = plane.ask("POST", "/v2/repository/models/late-arrival/load")
    assert (status, reply["state"]) == (200, "READY")
    assert all(children(worker) for worker in plane.workers())


def children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # a process that has ended
        for path in list(Path(f"/proc/{pid}/task").glob("*/children")):
            with contextlib.suppress(OSError):  # a thread that has ended
                found += map(int, path.read_text().split())
    return found


def test_a_killed_process_costs_its_own_requests_and_comes_back(group, request_of, until):
    _, plane = group
    version = plane.ask("POST", INFER, request_of(12))[1]["model_version"]
    with Load(plane.port, json.dumps(request_of(12)).encode(), callers=4) as load:
        until(lambda: len(load.asked) > 20)
        victim = min(plane.workers())
        before = scrape(plane)
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(plane.workers()) == 1)
        seen = len(load.asked)
        until(lambda: len(load.asked) > seen + 20)  # the other one goes on
        until(lambda: calm(lambda: scrape(plane)).get("seamline_planes") == 2)
        until(lambda: len(load.asked) > seen + 40)
    # At most one request was on each connection; a connection that waited there is one, too.
    assert len(load.broken) <= 2 * load.callers
    assert {(one.status, one.version) for one in load.asked} == {(200, version)}
    after = scrape(plane)
    assert sum(by_plane(after, "seamline_plane_restarts_total").values()) == 1
    assert after[ANSWERED] >= before[ANSWERED]


def calm(ask):
    """A scrape may be on the very process that is killed."""
    try:
        return ask()
    except (OSError, http.client.HTTPException):
        return {}


def test_a_second_one_does_not_share_the_port(group, tmp_path):
    _, plane = group
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(tmp_path)]
    command += ["--port", str(plane.port), "--workers", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        f"seamline dataplane: cannot bind to 127.0.0.1:{plane.port}: Address already in use"
    ]


def test_stopping_leaves_nothing(group):
    """The last one that uses the group."""
    _, plane = group
    assert plane.stop() == 0
    assert group_members(plane.process.pid) == []
    assert not (plane.root / "dataplane.json").exists()


def test_all_end_with_a_killed_supervisor(make_group, until):
    _, plane = make_group()
    # What the kernel tells of children may lack some while others end.
    until(lambda: [len(children(worker)) for worker in plane.workers()] == [1, 1])
    workers = plane.workers()
    models = {pid for worker in workers for pid in children(worker)}
    plane.stop(signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers | models))


def test_one_that_is_stuck_is_started_again(workspace, monkeypatch, until):
    supervising = "seamline.serve.group.supervisor"
    for name, seconds in (("COUNTS_PAUSE_S", 0.1), ("COUNTS_S", 0.2)):
        monkeypatch.setattr(f"{supervising}.{name}", seconds)
    workspace.deploy(1, workspace.endpoint())

    async def run():
        with claim_port("127.0.0.1", 0) as claim:
            place = ["--root", str(workspace.root), "--port", str(claim.getsockname()[1])]
            started = []

            async def start(number, answer):
                started.append(await start_plane(number, place, answer))
                return started[-1]

            supervisor = Supervisor(workspace.root, 1, start)
            await supervisor.start()
            os.kill(started[0].process.pid, signal.SIGSTOP)
            async with asyncio.timeout(240):
                with monkeypatch.context() as impatient:  # a busy machine makes others silent, too
                    impatient.setattr(f"{supervising}.STUCK_S", 0.5)
                    code = await started[0].process.wait()
                while len(started) < 2:
                    await asyncio.sleep(0.01)
                await supervisor.is_whole.wait()
            await supervisor.close(60)
            return code, [one.process.returncode for one in started]

    assert asyncio.run(run()) == (-signal.SIGKILL, [-signal.SIGKILL, 0])
