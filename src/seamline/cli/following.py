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
#: Of one answer.
_EVENTS = 500
#: A server that is started anew is waited for.
_PATIENCE_S = 60.0


@dataclass
class Patient:
    """Asks again while a server that has answered before does not: it may be starting anew."""

    client: Client
    ask_again_s: float = 1.0
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
                time.sleep(self.ask_again_s)
            else:
                self.has_answered = True
                return found


def read_news(client: Client, run_id: str, *, newest: int | None = None) -> Iterator[Any]:
    """Answers of `/runs/…/progress`, the first at once, the last when the run has ended.

    `newest`: with each answer only so many events, the last ones.
    """
    patient = Patient(client)
    path = f"/runs/{run_id}/progress"
    query: dict[str, Any] = {"limit": newest or _EVENTS, "newest": newest is not None}
    found = patient.get(path, **query)
    yield found
    while found["has_more"] or found["state"] not in ENDED_RUN:
        if not found["has_more"]:
            time.sleep(pause_s(sum(found["tasks"].values())))
        hold_s = 0 if found["has_more"] else _HOLD_S
        found = patient.get(path, **query, cursor=found["cursor"], wait_s=hold_s)
        yield found


def pause_s(tasks: int) -> float:
    """Between two questions: a larger run costs the server more to describe.

    >>> pause_s(2_000), pause_s(100_000)
    (0.5, 1.0)
    """
    return min(1.0, 0.1 + tasks / 5_000)


def await_end(client: Client, run_id: str) -> Any:
    """The whole run, once it has ended; nothing is told meanwhile."""
    patient = Patient(client)
    found = patient.get(f"/runs/{run_id}", wait_s=_HOLD_S)
    while found["state"] not in ENDED_RUN:
        found = patient.get(f"/runs/{run_id}", wait_s=_HOLD_S)
    return found
