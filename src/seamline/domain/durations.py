"""Durations as people write them: 30s, 15m, 24h, 7d."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from seamline.domain.errors import InvalidInput

_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_duration_s(text: str) -> float:
    """
    >>> parse_duration_s("24h"), parse_duration_s("0s")
    (86400.0, 0.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if match is None:
        raise InvalidInput(
            f"{text!r} is not a duration.", next_step="Write a number and s, m, h or d: 24h."
        )
    return float(match[1]) * _UNIT_S[match[2]]


def parse_moment(text: str, now: datetime) -> datetime:
    """A date or time (UTC where it says no zone), or how long ago.

    >>> now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    >>> parse_moment("2026-11-01", now).isoformat(), parse_moment("2h", now).isoformat()
    ('2026-11-01T00:00:00+00:00', '2026-11-21T10:00:00+00:00')
    """
    try:
        if re.fullmatch(r"[\d.]+\s*[smhd]", text.strip()):
            return now - timedelta(seconds=parse_duration_s(text))
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{text[:80]!r} is no moment.",
            next_step="Write a date (2026-11-21), a time (2026-11-21T08:00+01:00), or how long "
            "ago (7d).",
        ) from None


def say_duration(seconds: float) -> str:
    """The two largest units, rounded down; never "0 s" for what is left of a second.

    >>> say_duration(86_398), say_duration(3600), say_duration(0.2), say_duration(0)
    ('23 h 59 min', '1 h', '1 s', '0 s')
    """
    left = math.ceil(seconds)
    parts = []
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"
