"""One payload from one location, in parts that are fetched at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TypeVar

from seamline_loader.errors import Unreachable
from seamline_loader.locations import Interrupted, Location, Offer
from seamline_loader.partial import PART_BYTES, Partial

T = TypeVar("T")


@dataclass(frozen=True)
class Manner:
    """How to fetch. An attempt that brought bytes starts the count of attempts anew."""

    part_bytes: int = PART_BYTES
    parallel: int = 4
    attempts: int = 5
    pause: Callable[[float], None] = time.sleep

    def wait_before(self, attempt: int) -> None:
        """0.2 s, 0.4 s, 0.8 s, …"""
        self.pause(0.1 * 2**attempt)


def look(location: Location, name: str, manner: Manner) -> Offer:
    """What the location has, also when it stumbles at first."""
    for attempt in range(1, manner.attempts + 1):
        try:
            return location.look(name)
        except Interrupted as error:
            if attempt == manner.attempts:
                raise _gave_up(error, attempt) from error
            manner.wait_before(attempt)
    raise AssertionError("unreachable")


def fetch_parts(
    location: Location, name: str, offer: Offer, partial: Partial, manner: Manner
) -> None:
    """Into `partial`, which is whole afterwards; what an earlier process fetched is kept."""
    part_bytes = manner.part_bytes if offer.in_ranges else max(offer.size, 1)
    done = partial.open(offer.size, part_bytes)
    parts = range(-(-offer.size // part_bytes))
    try:
        with ThreadPoolExecutor(manner.parallel, "seamline-loader") as pool:
            waiting = {
                pool.submit(
                    _fetch_part,
                    location,
                    name,
                    offer,
                    (part * part_bytes, min((part + 1) * part_bytes, offer.size)),
                    partial,
                    manner,
                ): part
                for part in parts
                if part not in done
            }
            try:
                for finished in as_completed(waiting):
                    finished.result()
                    partial.note(waiting[finished])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        partial.close()


def _fetch_part(
    location: Location,
    name: str,
    offer: Offer,
    extent: tuple[int, int],
    partial: Partial,
    manner: Manner,
) -> None:
    start, end = extent
    at, attempt = start, 0
    while at < end:
        before = at
        try:
            for chunk in location.read(name, at, end, offer):
                partial.write(chunk[: end - at], at)
                at = min(at + len(chunk), end)
                if at == end:
                    return
            raise Interrupted(f"{location} ended after {at:,} of {offer.size:,} bytes")
        except Interrupted as error:
            attempt = 1 if at > before and offer.in_ranges else attempt + 1
            if attempt >= manner.attempts:
                raise _gave_up(error, attempt) from error
            manner.wait_before(attempt)
            at = at if offer.in_ranges else start


def _gave_up(error: Exception, attempts: int) -> Unreachable:
    return Unreachable(
        f"{error}, {attempts} times in a row. Try again later: what was fetched so far is kept."
    )
