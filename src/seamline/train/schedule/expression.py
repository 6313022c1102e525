"""Reads a cron expression; whatever is wrong with it is said with the field and the value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, available_timezones

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.schedule.cron import Cron

MAX_LENGTH = 200
MACROS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_LONGEST = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
_ZONE_PREFIX = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)")
_SHAPE = (
    "Write six fields, seconds first: '0 30 6 * * 1-5' is half past six, Monday to Friday; "
    "or @hourly, @daily, @weekly, @monthly, @yearly, @every 90m."
)


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    # 7 is Sunday, too.
    _Field("day of the week", 0, 7, {name: number for number, name in enumerate(_WEEKDAYS)}),
)


def read_cron(text: str, time_zone: str = "") -> Cron:
    """`time_zone`: an IANA name, which CRON_TZ=NAME before the expression says too; else UTC.

    >>> from datetime import UTC, datetime
    >>> rule = read_cron("CRON_TZ=Europe/Berlin 0 30 6 ? * MON-FRI")
    >>> rule.next_after(datetime(2026, 11, 21, tzinfo=UTC)).isoformat()
    '2026-11-23T05:30:00+00:00'
    >>> read_cron("*/15 * * * *").minutes  # five fields begin with the minute
    (0, 15, 30, 45)
    """
    expression, zone = split_zone(text, time_zone)
    words = MACROS.get(expression.lower(), expression).split()
    if len(words) == 5:
        words = ["0", *words]
    if len(words) != 6:
        raise _wrong(text, f"it has {len(words)} fields")
    sets = [_read_field(text, one, word) for one, word in zip(_FIELDS, words, strict=True)]
    seconds, minutes, hours, days, months, weekdays = (tuple(sorted(one)) for one in sets)
    is_either = not words[3].startswith(("*", "?")) and not words[5].startswith(("*", "?"))
    if not is_either and min(days) > max(_LONGEST[month] for month in months):
        raise _wrong(text, f"no such month has a day {min(days)}")
    return Cron(seconds, minutes, hours, days, months, weekdays, is_either, zone)


def split_zone(text: str, time_zone: str) -> tuple[str, ZoneInfo]:
    """The expression without its time zone, and the zone; InvalidInput when two are given."""
    if len(text) > MAX_LENGTH:
        raise _wrong(text[:40] + "…", f"it has more than {MAX_LENGTH} characters")
    expression, name = text.strip(), time_zone
    if match := _ZONE_PREFIX.fullmatch(expression):
        name, expression = match[1], match[2].strip()
        if time_zone and time_zone != name:
            raise InvalidInput(
                f"The schedule has two time zones: {name} in its expression, and {time_zone}.",
                next_step="Leave one of them out.",
            )
    return expression, read_zone(name)


def read_zone(name: str) -> ZoneInfo:
    """
    >>> read_zone(""), read_zone("Asia/Kolkata")
    (zoneinfo.ZoneInfo(key='UTC'), zoneinfo.ZoneInfo(key='Asia/Kolkata'))
    """
    known = available_timezones()
    if name and name not in known:
        raise InvalidInput(
            f"There is no time zone {name!r}.",
            next_step=nearest(name, known)
            if known
            else "This machine knows none: install the package tzdata.",
        )
    return ZoneInfo(name or "UTC")


def _read_field(text: str, wanted: _Field, word: str) -> set[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        low, high = _read_span(text, wanted, span, is_open=bool(slash))
        if slash and (_number(step_text) or 0) < 1:
            raise _wrong(text, f"the step of its {wanted.name} is {step_text!r}")
        found.update(range(low, high + 1, int(step_text) if slash else 1))
    # Sunday has two numbers.
    return {one % 7 for one in found} if wanted is _FIELDS[5] else found


def _read_span(text: str, wanted: _Field, span: str, *, is_open: bool) -> tuple[int, int]:
    """`is_open`: a step follows, so that a single number means "from there on"."""
    top = 6 if wanted is _FIELDS[5] else wanted.high
    if span in ("*", "?"):
        return wanted.low, top
    first, dash, last = span.partition("-")
    low = _read_number(text, wanted, first)
    if not dash:
        return low, (max(low, top) if is_open else low)
    high = _read_number(text, wanted, last)
    if high < low:
        raise _wrong(text, f"its {wanted.name} goes backwards: {span!r}")
    return low, high


def _read_number(text: str, wanted: _Field, word: str) -> int:
    named = wanted.names.get(word.upper())
    if named is not None:
        return named
    value = _number(word)
    if value is None or not wanted.low <= value <= wanted.high:
        raise _wrong(
            text, f"its {wanted.name} is {word!r}; it goes from {wanted.low} to {wanted.high}"
        )
    return value


def _number(word: str) -> int | None:
    """Only of the digits 0 to 9, and of few of them."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 4 else None


def _wrong(text: str, why: str) -> InvalidInput:
    return InvalidInput(f"The cron expression {text!r} cannot be read: {why}.", next_step=_SHAPE)
