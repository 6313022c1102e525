"""What a schedule does now: rules without effects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from seamline.train.schedule.rhythm import Rhythm, latest_until

#: A run that can start this long after its time is late, not missed.
GRACE = timedelta(seconds=60)
_SECOND = timedelta(seconds=1)


class MissedPolicy(StrEnum):
    """What becomes of times that passed while the schedule was paused, full or not watched."""

    #: Each gets its run, one after the other.
    ALL = "all"
    #: Only the last of them.
    LATEST = "latest"
    #: None of them.
    NONE = "none"


@dataclass(frozen=True)
class Timing:
    rhythm: Rhythm
    missed: MissedPolicy
    max_concurrency: int
    #: The first time that nothing has been decided about; None: there is none any more.
    next_at: datetime | None
    end_at: datetime | None

    def next_after(self, at: datetime) -> datetime | None:
        """The first time after `at` that is not behind the schedule's end."""
        found = self.rhythm.next_after(at)
        return None if found and self.end_at and found > self.end_at else found


@dataclass(frozen=True)
class Decision:
    #: The time whose run is to be requested.
    run_at: datetime | None = None
    #: Times from the first to the last of these two get no run.
    skipped: tuple[datetime, datetime] | None = None
    #: All is decided up to this time; None: nothing is, look again.
    handled_until: datetime | None = None
    #: As many of its runs are going as may: it goes on when one of them ends.
    is_full: bool = False
    #: When looking again may give another answer, besides the end of a run.
    look_again_at: datetime | None = None


def decide_due(timing: Timing, now: datetime, going: int) -> Decision:
    """`going`: how many runs of the schedule have not ended."""
    first = timing.next_at
    if first is None or first > now:
        return Decision(look_again_at=first)
    last = first
    if timing.missed is not MissedPolicy.ALL:
        until = min(now, timing.end_at) if timing.end_at else now
        last = latest_until(timing.rhythm, first, until)
    is_late = timing.missed is MissedPolicy.NONE and now - last > GRACE
    if is_late:
        return Decision(skipped=(first, last), handled_until=last)
    if going >= timing.max_concurrency:
        is_patient = timing.missed is not MissedPolicy.NONE
        given_up_at = None if is_patient else last + GRACE + _SECOND
        return Decision(is_full=True, look_again_at=given_up_at)
    skipped = None if last == first else (first, _before(timing, first, last))
    return Decision(run_at=last, skipped=skipped, handled_until=last)


def _before(timing: Timing, first: datetime, last: datetime) -> datetime:
    return latest_until(timing.rhythm, first, last - _SECOND)
