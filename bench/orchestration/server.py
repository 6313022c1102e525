"""A `seamline up` of its own, in a workspace of its own, spoken to over HTTP only."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from bench.memory import pss_bytes

SEAMLINE = str(Path(sys.executable).with_name("seamline"))
ENDED = {"succeeded", "partially_failed", "failed", "canceled"}
#: How long one request is held at the most.
HOLD_S = 20.0
_SAMPLE_S = 0.25


@dataclass(frozen=True)
class Finished:
    """A run from its submission until whoever waited for it knew that it had ended."""

    id: str
    #: The run as the API shows it.
    shown: dict[str, Any]
    inner_s: float
    #: Until the end that is recorded; the rest of `inner_s` is telling us.
    recorded_s: float

    @property
    def output(self) -> Any:
        (value,) = self.shown["outputs"]["parameters"].values()
        return value

    @property
    def states(self) -> dict[str, int]:
        return dict(Counter(task["state"] for task in self.shown["tasks"]))

    @property
    def processes(self) -> int:
        """Distinct ones that are recorded of tasks."""
        return len({task["pid"] for task in self.shown["tasks"]} - {None})


class Server:
    def __init__(self, workspace: Path, slots: int) -> None:
        self._workspace = workspace
        self._slots = slots
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Seconds until it answers."""
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        command = [SEAMLINE, "--workspace", str(self._workspace), "up", "--json"]
        command += ["--port", "0", "--serve-port", "0", "--slots", str(self._slots)]
        began = time.perf_counter()
        self._process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.url = said["url"]
        return time.perf_counter() - began

    def kill(self) -> None:
        """As the kernel would: no handler runs, nothing is tidied up."""
        assert self._process is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._process = None

    def stop(self) -> None:
        if self._process is None:  # Killed, and not started again: its data plane outlives it.
            with contextlib.suppress(OSError):
                plane = json.loads((self._workspace / "dataplane.json").read_text())
                os.kill(plane["pid"], signal.SIGTERM)
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    # -- its API -------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
        target = "/api/v1" + quote(path) + (f"?{urlencode(query)}" if query else "")
        payload = None if body is None else json.dumps(body)
        with contextlib.closing(connection):
            connection.request(method, target, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{method} {target}: {response.status} {data[:800]!r}")
        return json.loads(data)

    def submit(self, ir: str, arguments: dict[str, Any], options: Mapping[str, Any]) -> str:
        body = {"ir": ir, "arguments": arguments, **({"options": dict(options)} if options else {})}
        return str(self.ask("POST", "/runs", body)["id"])

    def wait(self, run_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = {"state": ""}
        while shown["state"] not in ENDED:
            shown = self.ask("GET", f"/runs/{run_id}", wait_s=HOLD_S)
        return shown

    def run(
        self, ir: str, arguments: dict[str, Any], options: Mapping[str, Any] | None = None
    ) -> Finished:
        """Raises unless it succeeded, and in the way that was asked for."""
        at, began = time.time(), time.perf_counter()
        run_id = self.submit(ir, arguments, options or {})
        shown = self.wait(run_id)
        inner_s = time.perf_counter() - began
        if shown["state"] != "succeeded":
            raise RuntimeError(f"run {run_id} {shown['state']}: {shown['sentence']}")
        kept = shown["options"]
        if (json.loads(kept) if isinstance(kept, str) else kept) != dict(options or {}):
            raise RuntimeError(f"run {run_id} was to run with {options}, and ran with {kept}")
        return Finished(run_id, shown, inner_s, epoch_of(shown["ended_at"]) - at)


def epoch_of(iso: str) -> float:
    """Seconds, as `time.time()` tells them.

    >>> epoch_of("1970-01-01T00:01:00.500000Z")
    60.5
    """
    return datetime.fromisoformat(iso).timestamp()


class MemoryWatch:
    """The highest proportional set size of a process while the block runs (Linux)."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, pss_bytes(self._pid))
