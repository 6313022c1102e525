"""When promotions may be applied: days of the week and hours, in a time zone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from seamline.domain.errors import InvalidInput, nearest

_TEXT = re.compile(r"(\S+) (\d{2}:\d{2})-(\d{2}:\d{2}) (\S+)")
_NEXT_STEP = "Write days, hours and a time zone: mon-thu 08:00-16:00 Europe/Paris."


class Day(IntEnum):
    """As `date.weekday` counts them."""

    MON = 0
    TUE = 1
    WED = 2
    THU = 3
    FRI = 4
    SAT = 5
    SUN = 6


@dataclass(frozen=True)
class Window:
    """From `opens` to `closes`, local time, on each of the days; over midnight where `closes` is
    not later than `opens` (the day is the one on which it opens)."""

    days: frozenset[Day]
    opens: time
    closes: time
    zone: str

    def spans(self, day: date) -> tuple[datetime, datetime] | None:
        """The instants between which it is open, if it opens on this local day."""
        if Day(day.weekday()) not in self.days:
            return None
        ends = day + timedelta(days=self.closes <= self.opens)
        zone = ZoneInfo(self.zone)
        opens = datetime.combine(day, self.opens, zone).astimezone(UTC)
        return opens, datetime.combine(ends, self.closes, zone).astimezone(UTC)


def parse_window(text: str) -> Window:
    """
    >>> parse_window("mon-wed,fri 08:00-16:30 UTC").closes
    datetime.time(16, 30)
    >>> sorted(day.name for day in parse_window("fri-mon 22:00-02:00 UTC").days)
    ['FRI', 'MON', 'SAT', 'SUN']
    """
    match = _TEXT.fullmatch(" ".join(text.split()))
    if match is None:
        raise InvalidInput(f"{text[:80]!r} is no window.", next_step=_NEXT_STEP)
    days = frozenset(day for part in match[1].split(",") for day in _days(part))
    _check_zone(match[4])
    return Window(days, _time(match[2]), _time(match[3]), match[4])


def is_open(windows: Sequence[Window], now: datetime) -> bool:
    """Without any window it is always open.

    >>> weekdays = [parse_window("mon-fri 09:00-17:00 Europe/Paris")]
    >>> is_open(weekdays, datetime(2026, 11, 20, 8, 30, tzinfo=UTC))  # Friday, 9:30 in Paris
    True
    >>> is_open(weekdays, datetime(2026, 11, 21, 8, 30, tzinfo=UTC))
    False
    """
    return not windows or any(
        opens <= now < closes for one in windows for opens, closes in _around(one, now)
    )


def opens_at(windows: Sequence[Window], now: datetime) -> datetime:
    """When the next one opens, `now` itself where one is open.

    >>> str(opens_at([parse_window("mon 09:00-17:00 UTC")], datetime(2026, 11, 21, tzinfo=UTC)))
    '2026-11-23 09:00:00+00:00'
    """
    if is_open(windows, now):
        return now
    return min(opens for one in windows for opens, _ in _around(one, now) if opens > now)


def _around(window: Window, now: datetime) -> list[tuple[datetime, datetime]]:
    """Its spans from the day before to a week and a day after: each kind of day is among them."""
    today = now.astimezone(ZoneInfo(window.zone)).date()
    spans = (window.spans(today + timedelta(days=ahead)) for ahead in range(-1, 9))
    return [span for span in spans if span is not None]


def _days(part: str) -> list[Day]:
    first, _, last = part.partition("-")
    start, end = _day(first), _day(last or first)
    return [Day((start + step) % 7) for step in range((end - start) % 7 + 1)]


def _day(text: str) -> Day:
    names = [day.name.lower() for day in Day]
    if text.lower() not in names:
        raise InvalidInput(
            f"{text[:20]!r} is no day of the week.", next_step=f"Write one of {', '.join(names)}."
        )
    return Day(names.index(text.lower()))


def _time(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is no time of day.", next_step=_NEXT_STEP) from None


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise InvalidInput(
            f"There is no time zone {name!r}.", next_step=nearest(name, available_timezones())
        ) from None
