"""Waiting for a promotion as a CI job does: until it is live or never will be, or for so long."""

from __future__ import annotations

import sys
import time
from typing import Any

from seamline.cli.client import Client
from seamline.cli.following import Patient
from seamline.domain.errors import Refused

#: The time is over and nothing is decided: neither done (0) nor refused (1).
STILL_WAITING = 3
_HOLD_S = 20.0
_OPEN = ("requested", "checking", "awaiting_approval", "applying", "verifying")


def await_live(client: Client, promotion_id: str, timeout_s: float) -> tuple[Any, bool]:
    """The promotion, and whether it has ended within the time. Raises Refused where it has and is
    not live. What it waits for is said on stderr, once per change; a server that is started anew
    meanwhile is waited for."""
    patient, deadline, said = Patient(client), time.monotonic() + timeout_s, ""
    found = patient.get(f"/promotions/{promotion_id}")
    while found["phase"] in _OPEN:
        said = _say(found, said)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return found, False
        found = patient.get(
            f"/promotions/{promotion_id}", until="end", wait_s=round(min(_HOLD_S, left_s), 3)
        )
    if not _went_live(found):
        raise Refused(
            f"Promotion {promotion_id} of {found['release_alias']} to {found['environment']} is "
            f"{found['phase']}: {found['reason'] or 'no reason was given'}",
            next_step=f"See the evidence: seamline promotion show {promotion_id}.",
        )
    return found, True


def _went_live(found: dict[str, Any]) -> bool:
    """Also where another one has come after it since.

    >>> _went_live({"phase": "superseded", "live_number": None})
    False
    """
    was_live = found["live_number"] is not None
    return found["phase"] == "live" or (found["phase"] == "superseded" and was_live)


def _say(found: dict[str, Any], said: str) -> str:
    words = found["phase"].replace("_", " ")
    waits = "; ".join(found["why_not_yet"])
    text = f"{words}: {waits}" if waits else words
    if text != said:
        sys.stderr.write(f"{found['id']} {text}\n")
    return text
