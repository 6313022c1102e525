"""Reads a run's news until its end: held requests, at a pace that a busy server can bear."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seamline.cli.client import Client
from seamline.cli.run_words import ENDED_RUN
from seamline.domain.errors import Unavailable

_HOLD_S = 20.0
#: Between two questions; and so many times as long as the last answer took.
_PAUSE_S, _SHARE = 0.25, 5.0
#: A server that is started anew is waited for.
_PATIENCE_S, _ASK_AGAIN_S = 60.0, 1.0


@dataclass
class Patient:
    """Asks again while a server that has answered before does not: it may be starting anew."""

    client: Client
    has_answered: bool = False

    def get(self, path: str, **query: Any) -> Any:
        deadline = time.monotonic() + _PATIENCE_S
        has_told = False
        while True:
            try:
                found = self.client.get(path, **query)
            except Unavailable:
                if not self.has_answered or time.monotonic() > deadline:
                    raise
                if not has_told:
                    sys.stderr.write("The server does not answer; asking again for a minute.\n")
                    has_told = True
                time.sleep(_ASK_AGAIN_S)
            else:
                self.has_answered = True
                return found


def read_news(client: Client, run_id: str, *, newest: int | None = None) -> Iterator[Any]:
    """Answers of `/runs/…/progress`, the first at once, the last when the run has ended.

    `newest`: with the first answer only so many events, the last ones.
    """
    patient = Patient(client)
    query: dict[str, Any] = {"limit": 500}
    if newest is not None:
        query = {"limit": newest, "newest": True}
    found = None
    while found is None or found["has_more"] or found["state"] not in ENDED_RUN:
        if found is not None:
            hold_s = 0 if found["has_more"] else _HOLD_S
            query = {"limit": newest or 500, "cursor": found["cursor"], "wait_s": hold_s}
            if newest is not None:
                query["newest"] = True
        asked_at = time.monotonic()
        found = patient.get(f"/runs/{run_id}/progress", **query)
        yield found
        took_s = time.monotonic() - asked_at
        if not found["has_more"] and found["state"] not in ENDED_RUN and took_s < _HOLD_S / 2:
            time.sleep(max(0.0, min(_PAUSE_S, took_s * _SHARE)))


def await_end(client: Client, run_id: str) -> Any:
    """The whole run, once it has ended; nothing is told meanwhile."""
    patient = Patient(client)
    found = patient.get(f"/runs/{run_id}", wait_s=_HOLD_S)
    while found["state"] not in ENDED_RUN:
        found = patient.get(f"/runs/{run_id}", wait_s=_HOLD_S)
    return found
