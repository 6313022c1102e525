"""Cron expressions as Kubeflow Pipelines takes them (robfig/cron): six fields, seconds first.

Local time decides, so two days a year need a rule. An expression that restricts the hour stands
for times on the clock, and each of them happens once a day: in the repeated hour of autumn the
first time, in the hour that spring leaves out at the moment after it. An expression for every
hour goes on as time passes: also in the repeated hour, and not in the one that is left out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

#: 29 February can be eight years away.
_HORIZON = timedelta(days=9 * 366)
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)


@dataclass(frozen=True)
class Cron:
    """What each field allows, ascending; weekdays count from Sunday, 0."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    #: Day of month and day of week are both restricted: a day that fits one of them will do.
    is_either_day: bool
    zone: ZoneInfo

    def next_after(self, at: datetime) -> datetime | None:
        """The first time after `at`, in UTC; None when none comes within nine years."""
        if len(self.hours) == 24:
            return self._next_in_passing(at)
        return self._next_on_the_clock(at)

    def _next_on_the_clock(self, at: datetime) -> datetime | None:
        count = len(self.hours) * len(self.minutes) * len(self.seconds)
        # From the day before: what its clock left out may have been put behind midnight.
        for day in self._days_from(at.astimezone(self.zone).date() - _DAY):

            def moment(index: int, day: date = day) -> datetime:
                return instant_of(datetime.combine(day, self._time_of_day(index)), self.zone)

            index = bisect_right(range(count), at, key=moment)
            if index < count:
                return moment(index)
        return None

    def _time_of_day(self, index: int) -> time:
        """The index-th of all combinations of hour, minute and second."""
        rest, second = divmod(index, len(self.seconds))
        hour, minute = divmod(rest, len(self.minutes))
        return time(self.hours[hour], self.minutes[minute], self.seconds[second])

    def _next_in_passing(self, after: datetime) -> datetime | None:
        at = after.astimezone(UTC).replace(microsecond=0) + _SECOND
        end = at + _HORIZON
        while at < end:
            local = at.astimezone(self.zone)
            to_next_minute = timedelta(seconds=60 - local.second)
            if not self._fits(local.date()):
                day = next(self._days_from(local.date() + _DAY), None)
                if day is None:
                    return None
                start = instant_of(datetime.combine(day, time()), self.zone)
                # Where clocks go back over midnight, that day has begun before.
                at = max(start, at + to_next_minute)
            elif local.minute not in self.minutes or local.second > self.seconds[-1]:
                at += to_next_minute
            else:
                second = self.seconds[bisect_left(self.seconds, local.second)]
                return at + timedelta(seconds=second - local.second)
        return None

    def _days_from(self, first: date) -> Iterator[date]:
        day = first
        while day - first < _HORIZON:
            if self._fits(day):
                yield day
            day += _DAY

    def _fits(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.is_either_day else by_date and by_weekday


def instant_of(local: datetime, zone: ZoneInfo) -> datetime:
    """When a clock in `zone` first shows `local`, in UTC; if it never does, the moment after.

    >>> instant_of(datetime(2026, 10, 25, 2, 30), ZoneInfo("Europe/Berlin")).isoformat()
    '2026-10-25T00:30:00+00:00'
    >>> instant_of(datetime(2026, 3, 29, 2, 30), ZoneInfo("Europe/Berlin")).isoformat()
    '2026-03-29T01:00:00+00:00'
    """
    found = local.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == local:
        return found
    # Left out: the clock jumps between these two, from before `local` to behind it.
    low, high = local.replace(tzinfo=zone, fold=1).astimezone(UTC), found
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        if middle.astimezone(zone).replace(tzinfo=None) < local:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)
