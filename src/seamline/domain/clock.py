"""The one Clock: all code takes time from an instance that is passed in."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    def now(self) -> datetime:
        """The present moment, aware, UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time_ns() / 1e9, UTC)


@dataclass
class ManualClock:
    """A clock for tests: stands still until `advance` moves it."""

    at: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def new_id(clock: Clock) -> str:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then 74 random bits.

    >>> new_id(ManualClock())[:15]
    '019b76da-a800-7'
    """
    return id_at(clock.now(), os.urandom(10))


def id_at(at: datetime, tail: bytes) -> str:
    """The UUIDv7 of this moment; `tail`: ten random bytes, of which six bits are not used."""
    raw = bytearray(int(at.timestamp() * 1000).to_bytes(6, "big") + tail)
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_time(identifier: str) -> datetime | None:
    """When `new_id` made this one, to the millisecond; None for anything but a UUIDv7.

    >>> id_time(new_id(ManualClock())) == ManualClock().now(), id_time("late-arrival")
    (True, None)
    >>> id_time("ffffffff-ffff-7fff-8fff-ffffffffffff")  # the year 10889
    """
    try:
        parsed = UUID(identifier)
        made_at = datetime.fromtimestamp((parsed.int >> 80) / 1e3, UTC)
    except (ValueError, OverflowError):
        return None
    return made_at if parsed.version == 7 else None


def iso(at: datetime) -> str:
    """
    >>> iso(datetime(2026, 1, 2, tzinfo=UTC))
    '2026-01-02T00:00:00.000000Z'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_iso(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
