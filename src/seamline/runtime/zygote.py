"""The control plane's end of one zygote: start it, speak to it without ever blocking."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seamline.runtime.requirements import ISOLATED

_SCRIPT = Path(__file__).with_name("zygote_main.py")
_CHUNK_BYTES = 65536
_TAIL_BYTES = 2000
#: Of our own process, and no business of a task.
_WITHHELD = ("SEAMLINE_", "PYTHON", "VIRTUAL_ENV")


class Zygote:
    """A fork server of one environment (see zygote_main.py).

    Start it from a thread that lives as long as it shall: on Linux it is told to end when its
    starting *thread* ends. (Without such a thread it still ends with this process.)
    """

    def __init__(
        self,
        python: Path,
        config: Mapping[str, Any],
        log_path: Path,
        environ: Mapping[str, str],
    ) -> None:
        """`config` is what zygote_main.py reads: kind, preload, left_out, workers, idle_s."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self.log_path = log_path
        self.socket, theirs = socket.socketpair()
        self._unsent = b""
        self._unread = b""
        try:
            # By a file and not by argv: what there is to preload may be thousands of names.
            with theirs, log_path.open("wb") as log, tempfile.TemporaryFile() as given:
                given.write(json.dumps(config).encode())
                given.seek(0)
                self._process = subprocess.Popen(
                    [str(python), *ISOLATED, str(_SCRIPT), str(theirs.fileno())],
                    env={k: v for k, v in environ.items() if not k.startswith(_WITHHELD)},
                    stdin=given,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs.fileno(),),
                    # A group of its own: what a terminal sends to us is ours to handle.
                    start_new_session=True,
                )
        except BaseException:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        self._unsent += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Sends what the socket takes now. A broken socket is noticed by `receive`."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = b""

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def receive(self) -> list[dict[str, Any]] | None:
        """The reports that have arrived; None when the zygote is gone."""
        try:
            chunk = self.socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            chunk = b""
        if not chunk:
            return None
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """Asks it to end with all its tasks; `receive` says None when that is done."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def kill(self) -> None:
        """For one that runs no task yet: what it runs would not be told."""
        self._process.kill()

    def close(self, wait_s: float = 6.0) -> int:
        """Waits for its end (kills it after `wait_s`) and returns its exit code."""
        self.socket.close()
        try:
            return self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def read_log_tail(self) -> str:
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return log.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""
