"""kill -9 while a schedule makes up for what it missed: each due time has exactly one run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from seamline.domain.clock import from_iso
from seamline.train.schedule.scheduler import run_id_of

SEED = 20261121
PATIENCE_S = 600.0
ENDED = ("succeeded", "failed", "partially_failed", "canceled")
#: One importer that finds nothing: a run that is over as soon as it has begun.
IMPORTER = {
    "schemaVersion": "2.1.0",
    "pipelineInfo": {"name": "quick"},
    "root": {"dag": {"tasks": {"load": {"componentRef": {"name": "comp-load"}}}}},
    "components": {
        "comp-load": {
            "executorLabel": "exec-load",
            "outputDefinitions": {
                "artifacts": {"artifact": {"artifactType": {"schemaTitle": "system.Dataset"}}}
            },
        }
    },
    "deploymentSpec": {
        "executors": {
            "exec-load": {
                "importer": {
                    "artifactUri": {"constant": "datasets://nothing@1"},
                    "typeSchema": {"schemaTitle": "system.Dataset"},
                }
            }
        }
    },
}


class Server:
    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self._process: subprocess.Popen[str] | None = None
        self.up()

    def up(self) -> None:
        program = str(Path(sys.executable).with_name("seamline"))
        command = [program, "--workspace", str(self.workspace), "up", "--json"]
        environ = {key: value for key, value in os.environ.items() if "SEAMLINE" not in key}
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--serve-port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.url = json.loads(self._process.stdout.readline())["url"]

    def kill(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()

    def end(self) -> None:
        """With its data plane, which outlives it."""
        plane = json.loads((self.workspace / "dataplane.json").read_text())["pid"]
        self.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(plane).kill()

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return json.load(response)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(self.workspace / "seamline.db", timeout=PATIENCE_S)
        with contextlib.closing(database):
            return database.execute(query).fetchall()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "workspace")
    yield started
    started.end()


def test_each_due_time_has_one_run(server: Server, soak: bool) -> None:
    missed, kills = (600, 40) if soak else (150, 4)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=missed)
    made = server.ask(
        "/schedules",
        {
            "name": "every second",
            "ir": json.dumps(IMPORTER),
            "interval_s": 1,
            "start_at": start.isoformat(),
            "missed": "all",
            "max_concurrency": 100,
        },
    )
    drawn = random.Random(SEED)
    for _ in range(kills):
        # The moment itself is what is drawn here: there is no event to wait for.
        time.sleep(drawn.uniform(0.05, 0.6))
        server.kill()
        server.up()
    deadline = time.monotonic() + PATIENCE_S
    while server.rows("SELECT count(*) FROM runs")[0][0] < missed:
        assert time.monotonic() < deadline, "it does not catch up"
        time.sleep(0.05)
    server.ask(f"/schedules/{made['id']}/pause", {})
    going = f"SELECT count(*) FROM runs WHERE state NOT IN {ENDED}"
    while server.rows(going)[0][0]:
        assert time.monotonic() < deadline, "runs do not end"
        time.sleep(0.05)
    found = server.rows("SELECT id, scheduled_for FROM runs ORDER BY scheduled_for")
    due = [from_iso(at) for _, at in found]
    assert due == [start + timedelta(seconds=n + 1) for n in range(len(due))], "one each, no gap"
    assert [run_id for run_id, _ in found] == [run_id_of(made["id"], at) for at in due]
    requested = server.rows("SELECT subject FROM facts WHERE kind = 'run.requested'")
    assert sorted(requested) == sorted((run_id,) for run_id, _ in found)
    assert server.rows("SELECT count(*) FROM facts WHERE kind = 'schedule.skipped'") == [(0,)]
    assert server.ask("/audit/verify")["broken"] is None
