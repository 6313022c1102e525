"""Start the data plane again when it ends unasked: killed, out of memory, by a defect.

It comes back by itself from the snapshots on disk; all that it needs is somebody who starts it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from seamline.app.serve.data_plane import DataPlane
from seamline.domain.errors import SeamlineError
from seamline.runtime.processes import is_alive

LOG = logging.getLogger(__name__)
LOOK_S = 1.0

#: Starts one on this port, or finds the one that lives: (the plane, whether it was there).
Start = Callable[[int], tuple[DataPlane, bool]]


def start_again(before: DataPlane, start: Start) -> DataPlane:
    """On the port that callers know; `before` where that fails, so that it is tried again."""
    LOG.error("The data plane (pid %d) has ended. It is started again.", before.identity.pid)
    try:
        found, _ = start(int(before.url.rpartition(":")[2]))
    except SeamlineError as error:
        LOG.error("%s", error)
        return before
    return found


class PlaneKeeper:
    """Looks after `plane` in a thread, until it is stopped."""

    def __init__(self, plane: DataPlane, start: Start, look_s: float = LOOK_S) -> None:
        self.plane = plane
        self._start, self._look_s = start, look_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="plane-keeper", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> DataPlane:
        """The one that lives by then: none is started any more."""
        self._stopping.set()
        self._thread.join()
        return self.plane

    def _keep(self) -> None:
        while not self._stopping.wait(self._look_s):
            if not is_alive(self.plane.identity):
                self.plane = start_again(self.plane, self._start)
