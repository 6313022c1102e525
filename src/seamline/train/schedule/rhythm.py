"""When a schedule is due: a cron expression, or every so many seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from seamline.domain.errors import InvalidInput
from seamline.train.schedule.expression import read_cron, read_zone, split_zone

MAX_INTERVAL_S = 10 * 366 * 86_400
_SECOND = timedelta(seconds=1)
_EVERY = re.compile(r"@every\s+(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.IGNORECASE)


class Rhythm(Protocol):
    def next_after(self, at: datetime) -> datetime | None:
        """The first time after `at`, in UTC and in whole seconds; None when there is none."""
        ...


@dataclass(frozen=True)
class Interval:
    """start + seconds, start + 2 x seconds, …"""

    seconds: int
    start: datetime

    def next_after(self, at: datetime) -> datetime | None:
        """
        >>> from datetime import UTC
        >>> start = datetime(2026, 11, 21, tzinfo=UTC)
        >>> Interval(90, start).next_after(start + timedelta(seconds=90)).isoformat()
        '2026-11-21T00:03:00+00:00'
        """
        passed = max(0, (at - self.start) // timedelta(seconds=self.seconds))
        return self.start + timedelta(seconds=self.seconds * (passed + 1))


def read_rhythm(
    cron: str | None, interval_s: int | None, time_zone: str, start: datetime
) -> Rhythm:
    """Exactly one of `cron` and `interval_s`; raises InvalidInput.

    >>> from datetime import UTC
    >>> read_rhythm("@every 1h30m", None, "", datetime(2026, 11, 21, tzinfo=UTC)).seconds
    5400
    """
    if (cron is None) == (interval_s is None):
        raise InvalidInput("A schedule has either a cron expression or an interval in seconds.")
    start = start.replace(microsecond=0)
    if cron is None:
        read_zone(time_zone)
        return _interval(interval_s or 0, start)
    expression, _ = split_zone(cron, time_zone)
    if not expression.lower().startswith("@every"):
        return read_cron(cron, time_zone)
    match = _EVERY.fullmatch(expression)
    hours, minutes, seconds = (int(one or 0) for one in (match.groups() if match else ("", "", "")))
    if not match:
        raise InvalidInput(
            f"{expression!r} is no interval.", next_step="Write @every 90m, or @every 1h30m."
        )
    return _interval(hours * 3600 + minutes * 60 + seconds, start)


def _interval(seconds: int, start: datetime) -> Interval:
    if not 1 <= seconds <= MAX_INTERVAL_S:
        raise InvalidInput(
            f"The interval is {seconds} seconds; it can be 1 second to ten years.",
        )
    return Interval(seconds, start)


def latest_until(rhythm: Rhythm, first: datetime, until: datetime) -> datetime:
    """The last time of `rhythm` up to `until`; `first` is one of its times, not behind `until`.

    Halves the span instead of walking it: a schedule by the second may have slept for a year.

    >>> from datetime import UTC
    >>> start = datetime(2026, 11, 21, tzinfo=UTC)
    >>> latest_until(Interval(60, start), start, start + timedelta(days=365, seconds=59))
    datetime.datetime(2027, 11, 21, 0, 0, tzinfo=datetime.timezone.utc)
    """
    found, low, high = first, 0, (until - first) // _SECOND
    while low <= high:
        middle = (low + high) // 2
        following = rhythm.next_after(first + middle * _SECOND)
        if following is not None and following <= until:
            found = following
            low = (following - first) // _SECOND
        else:
            high = middle - 1
    return found
