"""Start the data plane, or adopt one that outlived the control plane before."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from seamline.domain.errors import Conflict, MachineryError, Unavailable
from seamline.runtime.processes import ProcessIdentity, is_alive

START_TIMEOUT_S = 20.0
#: For each process more: they start side by side, on however many cores there are.
MORE_S = 5.0
STOP_TIMEOUT_S = 15.0
#: Whoever looks at a page is not kept waiting by a data plane that is.
LOOK_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class DataPlane:
    identity: ProcessIdentity
    url: str
    #: host:port, where it speaks gRPC.
    grpc: str | None = None
    #: Processes that answer on its port.
    workers: int = 1


def find_data_plane(root: Path) -> DataPlane | None:
    """The living data plane of this workspace, or None."""
    try:
        document = json.loads((root / "dataplane.json").read_text())
        identity = ProcessIdentity(document["pid"], document["start_time"], document["boot_id"])
        # Where it listens everywhere, this machine reaches it here.
        host = document["host"]
        host = "127.0.0.1" if ip_address(host).is_unspecified else host
        url = f"http://{host}:{document['port']}"
        port = document.get("grpc_port")
        grpc = None if port is None else f"{host}:{port}"
        workers = int(document.get("workers", 1))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return DataPlane(identity, url, grpc, workers) if is_alive(identity) else None


def list_standbys(url: str | None, environment: str) -> list[dict[str, Any]]:
    """What the data plane keeps warm: release, alias, state (warming, warm, failed) and why not.
    Empty where there is none to ask, or it does not answer."""
    if url is None:
        return []
    try:
        state = ask_snapshot(url, environment, timeout_s=LOOK_TIMEOUT_S)
    except Unavailable:
        return []
    standbys: list[dict[str, Any]] = state.get("standbys", [])
    return standbys


def ask_snapshot(
    url: str, environment: str, query: str = "", *, timeout_s: float
) -> dict[str, Any]:
    """What the data plane at `url` says of the environment's snapshot. Raises Unavailable."""
    target = f"/snapshots/{environment}{query}"
    try:
        with contextlib.suppress(ConnectionError):
            return _ask(url, target, timeout_s)
        # One process of several may have died with the question; the others know, too.
        return _ask(url, target, timeout_s)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"The data plane at {url} did not answer: {error}.") from error


def _ask(url: str, target: str, timeout_s: float) -> dict[str, Any]:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.netloc, timeout=timeout_s)
    try:
        connection.request("GET", target)
        found: dict[str, Any] = json.load(connection.getresponse())
    finally:
        connection.close()
    return found


def start_or_adopt(
    root: Path,
    host: str,
    port: int,
    grpc_port: int = 0,
    workers: int = 1,
    *,
    require_tokens: bool = False,
) -> tuple[DataPlane, bool]:
    """(the plane, whether it was adopted). It runs in a session of its own: it outlives us.

    `grpc_port`: 0 does without gRPC. `require_tokens`: whatever the access list says.
    """
    found = find_data_plane(root)
    if found is not None:
        return found, True
    logs = root / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log_path = logs / "dataplane.log"
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root)]
    command += ["--host", host, "--port", str(port)]
    command += ["--grpc-port", str(grpc_port)] if grpc_port else []
    command += ["--require-tokens"] if require_tokens else []
    command += ["--workers", str(workers)] if workers > 1 else []
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    patience_s = START_TIMEOUT_S + MORE_S * (workers - 1)
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = find_data_plane(root)
        if found is not None:
            return found, False
        if process.poll() is not None:
            raise _not_started(port, _last_line(log_path))
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    raise MachineryError(f"The data plane was not ready after {patience_s:.0f} s.")


def _not_started(port: int, why: str) -> Conflict:
    if "gRPC" in why:  # it says itself what to do
        return Conflict(f"The data plane did not start: {why}")
    return Conflict(
        f"The data plane did not start on port {port}: {why}.",
        next_step="Choose another port with --serve-port (0 takes a free one).",
    )


def stop_data_plane(plane: DataPlane) -> None:
    """Asks it to drain and end; its workers end with it."""
    try:
        os.kill(plane.identity.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while is_alive(plane.identity) and time.monotonic() < deadline:
        time.sleep(0.02)
    if is_alive(plane.identity):
        os.killpg(plane.identity.pid, signal.SIGKILL)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("seamline dataplane: ") if lines else "it said nothing"
