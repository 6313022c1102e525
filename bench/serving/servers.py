"""How a server is started and measured; ours, and bare floors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

JSON = "application/json"


@dataclass(frozen=True)
class Server:
    """`command` and `environment` may hold {port}, and {port1} and {port2} for further ones;
    `path` is that of an inference."""

    name: str
    command: tuple[str, ...]
    path: str
    body: bytes
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()


@dataclass(frozen=True)
class Running:
    server: Server
    url: str
    pid: int
    start_s: float


def ours(name: str, root: Path, body: bytes, processes: int = 1) -> Server:
    """As `seamline up` starts its data plane; the workspace has been deployed to before."""
    command = (sys.executable, "-m", "seamline.dataplane", "--root", str(root), "--port", "{port}")
    if processes > 1:
        command = (*command, "--workers", str(processes))
    return Server(name, command, "/v2/models/bench/infer", body)


def floor(kind: str, python: Path, model: Path, body: bytes) -> Server:
    command = (
        str(python), "-m", "uvicorn", "floor_app:app", "--host", "127.0.0.1", "--port", "{port}",
        "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
        "--lifespan", "off",
    )  # fmt: skip
    environment = {"FLOOR": kind, "MODEL": str(model)}
    return Server(f"floor: {kind}", command, "/", body, environment, Path(__file__).parent)


def request_body(row: list[float]) -> bytes:
    tensor = {"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return json.dumps({"inputs": [tensor]}).encode()


@contextmanager
def running(server: Server, log: Path) -> Iterator[Running]:
    """From the start to the first right answer; ended with all that it has started."""
    ports = _free_ports()
    url = f"http://127.0.0.1:{ports['{port}']}{server.path}"

    def filled(text: str) -> str:
        for place, port in ports.items():
            text = text.replace(place, str(port))
        return text

    with log.open("ab") as told:
        started_s = time.monotonic()
        process = subprocess.Popen(
            [filled(word) for word in server.command],
            cwd=server.folder,
            env=os.environ
            | {"OMP_NUM_THREADS": "1"}
            | {name: filled(text) for name, text in server.environment.items()},
            stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True,
        )  # fmt: skip
    try:
        while not _answers(url, server.body):
            if process.poll() is not None or time.monotonic() - started_s > 120:
                raise RuntimeError(f"{server.name} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.01)
        yield Running(server, url, process.pid, time.monotonic() - started_s)
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):  # some leave their own workers behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_ports() -> dict[str, int]:
    with ExitStack() as held:
        found = {}
        for place in ("{port}", "{port1}", "{port2}"):
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found[place] = one.getsockname()[1]
        return found


def _answers(url: str, body: bytes) -> bool:
    request = urllib.request.Request(url, body, {"Content-Type": JSON})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_s(pid: int) -> float:
    """Processor time of all that the server has started; waiting for a core is not in it."""
    ticks = 0
    for one in tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Proportional set size of the same."""
    total = 0
    for one in tree(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1e3
