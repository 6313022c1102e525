"""Waiting for what another process does: it sends us no event, so we look again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_S = 120.0


def wait_until(
    is_so: Callable[[], object],
    timeout_s: float = DEADLINE_S,
    what: str = "it did not happen in time",
) -> None:
    """Fails, saying `what`, where it does not come true in time."""
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.005)
