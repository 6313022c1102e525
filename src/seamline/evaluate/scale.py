"""Where points and intervals stand on a bar, in percent of its width. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Room left and right of the outermost value, as a share of the bar.
PADDING = 0.08


@dataclass(frozen=True)
class Scale:
    low: float
    high: float

    def at(self, value: float) -> str:
        """
        >>> Scale(0.0, 2.0).at(0.5)
        '25.00%'
        """
        share = (value - self.low) / (self.high - self.low)
        return f"{min(1.0, max(0.0, share)):.2%}"


def scale_of(estimates: Iterable[Mapping[str, Any]], *more: float) -> Scale | None:
    """A scale that holds every value and interval; None where there is none to show.

    >>> scale = scale_of([{"value": 0.5, "low": 0.4, "high": 0.6}])
    >>> round(scale.low, 3), round(scale.high, 3)
    (0.381, 0.619)
    """
    known = [
        number
        for estimate in estimates
        for number in (estimate["value"], estimate["low"], estimate["high"])
        if number is not None
    ] + list(more)
    if not known:
        return None
    low, high = min(known), max(known)
    # A single value stands in the middle.
    room = (high - low) * PADDING / (1 - 2 * PADDING) or abs(high) * PADDING or 1.0
    return Scale(low - room, high + room)
