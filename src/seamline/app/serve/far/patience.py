"""What is done for as long as a process lives, whatever comes in between."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from seamline.domain.errors import SeamlineError

LOG = logging.getLogger("seamline.serve")
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


def keep_trying(
    stop: threading.Event, step: Callable[[], object], says: str, rest_s: float = 0.0
) -> None:
    """`step`, again and again until `stop`: `rest_s` later, or ever later where it raises, which is
    said once. A full disk is as little the end of it as a server that is not there; a defect is
    neither, and leaves its traceback."""
    pause_s, said = FIRST_PAUSE_S, ""
    while not stop.wait(rest_s):
        try:
            step()
            pause_s, said = FIRST_PAUSE_S, ""
        except Exception as error:
            if str(error) != said:
                is_known = isinstance(error, SeamlineError | OSError)
                LOG.error(says, error, exc_info=None if is_known else error)
            said = str(error)
            stop.wait(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
