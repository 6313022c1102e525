"""A data plane elsewhere tells its origin what it has answered: what it refuses is in no log."""

from __future__ import annotations

import hashlib
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from seamline.app.serve.ask_plane import ask_plane, counts_of, read_figures
from seamline.app.serve.data_plane import DataPlane, find_data_plane
from seamline.app.serve.far.origin import Origin
from seamline.app.serve.far.patience import keep_trying
from seamline.domain.errors import Unavailable
from seamline.serve.far_counts import Counts, Told

TELL_PAUSE_S = 5.0


@dataclass
class Teller:
    root: Path
    origin: Origin
    environment: str
    _told: Told | None = None

    @property
    def plane(self) -> str:
        """This root's, and no other's on the machine."""
        return (
            "plane-"
            + hashlib.sha256(f"{socket.gethostname()}:{self.root}".encode()).hexdigest()[:16]
        )

    def tell(self) -> bool:
        """Whether there was something new to tell. Raises why it was not taken."""
        found = find_data_plane(self.root)
        if found is None:
            return False
        status, text = ask_plane(found.url, "GET", "/metrics")
        if status != 200:
            raise Unavailable(f"The data plane at {found.url} answered with {status}.")
        told = Told(socket.gethostname(), _life_of(found), _counts(text, self.environment))
        if told == self._told or not told.counts:
            return False
        self.origin.send_counts(self.environment, self.plane, told)
        self._told = told
        return True

    def follow(self, stop: threading.Event) -> None:
        """Until `stop`. Nothing is lost by what is not taken: the next time tells of it, too."""
        keep_trying(stop, self.tell, "Counts are told later: %s", TELL_PAUSE_S)


def _life_of(plane: DataPlane) -> str:
    one = plane.identity
    return f"{one.boot_id}-{one.start_time}-{one.pid}"


def _counts(text: bytes, environment: str) -> Counts:
    return counts_of(read_figures(text.decode()), environment)
