"""Start the data plane, or adopt one that outlived the control plane before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.domain.errors import Conflict, MachineryError
from seamline.runtime.processes import ProcessIdentity, is_alive

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 15.0
#: Whoever looks at a page is not kept waiting by a data plane that is.
LOOK_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class DataPlane:
    identity: ProcessIdentity
    url: str


def find_data_plane(root: Path) -> DataPlane | None:
    """The living data plane of this workspace, or None."""
    try:
        document = json.loads((root / "dataplane.json").read_text())
        identity = ProcessIdentity(document["pid"], document["start_time"], document["boot_id"])
        url = f"http://{document['host']}:{document['port']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return DataPlane(identity, url) if is_alive(identity) else None


def list_standbys(url: str | None, environment: str) -> list[dict[str, Any]]:
    """What the data plane keeps warm: release, alias, state (warming, warm, failed) and why not.
    Empty where there is none to ask, or it does not answer."""
    if url is None:
        return []
    try:
        query = f"{url}/snapshots/{environment}"
        with urllib.request.urlopen(query, timeout=LOOK_TIMEOUT_S) as response:  # noqa: S310
            standbys: list[dict[str, Any]] = json.load(response).get("standbys", [])
    except (urllib.error.URLError, OSError, ValueError):
        return []
    return standbys


def start_or_adopt(root: Path, host: str, port: int) -> tuple[DataPlane, bool]:
    """(the plane, whether it was adopted). It runs in a session of its own: it outlives us."""
    found = find_data_plane(root)
    if found is not None:
        return found, True
    logs = root / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log_path = logs / "dataplane.log"
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root)]
    command += ["--host", host, "--port", str(port)]
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        found = find_data_plane(root)
        if found is not None:
            return found, False
        if process.poll() is not None:
            raise Conflict(
                f"The data plane did not start on port {port}: {_last_line(log_path)}.",
                next_step="Choose another port with --serve-port (0 takes a free one).",
            )
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    raise MachineryError(f"The data plane was not ready after {START_TIMEOUT_S:.0f} s.")


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
