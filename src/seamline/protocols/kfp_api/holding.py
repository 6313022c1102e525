"""Which requests for a run are held until it ends, so that a client that polls learns at once.

`kfp.Client.wait_for_run_completion` asks, sleeps five seconds, and asks again; it says nothing
that tells it from somebody who just looks. What tells it is that it comes back: a client that
asks again for a run within seconds is held until the run ends. One that has just created the
run is held for a short while at once, which is long enough for a short run.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

#: The client sleeps five seconds between two requests.
COMES_BACK_WITHIN_S = 15.0
HELD_S = 600.0
JUST_CREATED_S = 2.0
HELD_AFTER_CREATION_S = 5.0
_MANY = 4096


@dataclass(frozen=True)
class Visitor:
    """As far as two requests can be told to come from the same client."""

    principal: str
    address: str
    user_agent: str


@dataclass(frozen=True)
class Seen:
    """When a visitor created a run, and when it was last answered about it (monotonic seconds)."""

    created_at: float | None = None
    answered_at: float | None = None


def decide_hold_s(seen: Seen | None, now: float) -> float:
    """How long a request for a run that has not ended is held; 0: answered at once.

    >>> decide_hold_s(None, 100.0), decide_hold_s(Seen(answered_at=95.0), 100.0)
    (0.0, 600.0)
    >>> decide_hold_s(Seen(created_at=99.9), 100.0), decide_hold_s(Seen(created_at=90.0), 100.0)
    (5.0, 0.0)
    """
    if seen is None:
        return 0.0
    if seen.answered_at is not None:
        return HELD_S if now - seen.answered_at <= COMES_BACK_WITHIN_S else 0.0
    is_fresh = seen.created_at is not None and now - seen.created_at <= JUST_CREATED_S
    return HELD_AFTER_CREATION_S if is_fresh else 0.0


class Attention:
    """Remembers, for some seconds, who asked for which run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[Visitor, str], Seen] = {}

    def hold_s(self, visitor: Visitor, run_id: str, now: float) -> float:
        return decide_hold_s(self._seen.get((visitor, run_id)), now)

    def note_created(self, visitor: Visitor, run_id: str, now: float) -> None:
        self._note(visitor, run_id, Seen(created_at=now), now)

    def note_answered(self, visitor: Visitor, run_id: str, now: float) -> None:
        self._note(visitor, run_id, Seen(answered_at=now), now)

    def _note(self, visitor: Visitor, run_id: str, seen: Seen, now: float) -> None:
        with self._lock:
            if len(self._seen) >= _MANY:
                self._forget(now)
            self._seen[visitor, run_id] = seen

    def _forget(self, now: float) -> None:
        kept = {key: seen for key, seen in self._seen.items() if decide_hold_s(seen, now) > 0}
        self._seen = kept if len(kept) < _MANY else {}
