"""Windows of event time: days, ISO weeks and months."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from seamline.domain.errors import InvalidInput

_DAY = timedelta(days=1)


class WindowKind(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, order=True)
class Window:
    """From `start` up to, without, `end`."""

    start: date
    end: date
    label: str

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    def to_json(self) -> dict[str, str]:
        return {"window": self.label, "start": str(self.start), "end": str(self.end)}


def window_of(day: date, kind: WindowKind | str) -> Window:
    """The window that holds a day.

    >>> window_of(date(2013, 9, 17), "month")
    Window(start=datetime.date(2013, 9, 1), end=datetime.date(2013, 10, 1), label='2013-09')
    >>> window_of(date(2014, 12, 31), "week").label, window_of(date(2013, 9, 17), "day").label
    ('2015-W01', '2013-09-17')
    """
    match parse_kind(kind):
        case WindowKind.DAY:
            return Window(day, day + _DAY, day.isoformat())
        case WindowKind.WEEK:
            start = day - timedelta(days=day.weekday())
            year, week, _ = day.isocalendar()
            return Window(start, start + 7 * _DAY, f"{year}-W{week:02d}")
        case WindowKind.MONTH:
            start = day.replace(day=1)
            return Window(start, (start + 31 * _DAY).replace(day=1), f"{start:%Y-%m}")


def parse_kind(kind: WindowKind | str) -> WindowKind:
    try:
        return WindowKind(kind)
    except ValueError:
        raise InvalidInput(
            f"{kind!r} is not a length of windows.", next_step="Write day, week or month."
        ) from None


def parse_window(label: str) -> Window:
    """The window of a label.

    >>> parse_window("2013-09").end, parse_window("2015-W01").start
    (datetime.date(2013, 10, 1), datetime.date(2014, 12, 29))
    """
    try:
        if match := re.fullmatch(r"(\d{4})-W(\d{2})", label):
            day = date.fromisocalendar(int(match[1]), int(match[2]), 1)
            return window_of(day, WindowKind.WEEK)
        if re.fullmatch(r"\d{4}-\d{2}", label):
            return window_of(date.fromisoformat(f"{label}-01"), WindowKind.MONTH)
        return window_of(date.fromisoformat(label), WindowKind.DAY)
    except ValueError:
        raise InvalidInput(
            f"{label!r} is not a window.",
            next_step="Write a day (2013-09-17), an ISO week (2013-W38) or a month (2013-09).",
        ) from None


def windows_from(first: date, kind: WindowKind | str) -> Iterator[Window]:
    """The window that holds `first`, and those after it, without end."""
    while True:
        window = window_of(first, kind)
        yield window
        first = window.end


def complete_windows(
    days: Collection[date], kind: WindowKind | str, until: date | None = None
) -> list[Window]:
    """The windows that hold rows and are over, given the event days seen.

    `until` is the last day that counts as complete; without it, the day before the last one seen,
    which may still be going on.

    >>> days = [date(2013, 7, 3), date(2013, 8, 31), date(2013, 9, 30)]
    >>> [window.label for window in complete_windows(days, "month")]
    ['2013-07', '2013-08']
    >>> [window.label for window in complete_windows(days, "month", until=date(2013, 9, 30))]
    ['2013-07', '2013-08', '2013-09']
    """
    if not days:
        return []
    reached = watermark(days) if until is None else until
    held = {window_of(day, kind) for day in days}
    return sorted(window for window in held if window.end <= reached + _DAY)


def watermark(days: Collection[date]) -> date:
    """The last day that must be over, because a later one has been seen.

    >>> watermark([date(2013, 9, 2), date(2013, 9, 30)])
    datetime.date(2013, 9, 29)
    """
    return max(days) - _DAY
