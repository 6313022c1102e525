"""The one picture that a gate's evidence may carry, as data under the key `picture`.

A gate chooses the kind; pages draw it (app/promote/gate_layout.py), and need to know nothing of the
gate. Numbers are those of the evidence: a picture adds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seamline.domain.states import Verdict

#: The key of a gate's evidence.
PICTURE = "picture"


@dataclass(frozen=True)
class Bar:
    """A value against a limit; `limit_is`: "most" or "least", where there is one."""

    name: str
    value: float
    limit: float | None = None
    limit_is: str = "most"
    verdict: Verdict = Verdict.PASS


@dataclass(frozen=True)
class Interval:
    """A point with its interval, against a limit where there is one."""

    name: str
    point: float | None
    low: float | None
    high: float | None
    limit: float | None = None
    verdict: Verdict = Verdict.PASS


@dataclass(frozen=True)
class Tick:
    """Something that was looked at: `holds` is None where nobody could tell."""

    name: str
    holds: bool | None
    detail: str = ""


@dataclass(frozen=True)
class Moment:
    """`at` and `until`: UTC, ISO 8601; `until` where it lasted."""

    name: str
    at: str
    until: str | None = None
    verdict: Verdict = Verdict.PASS


def bars(found: Sequence[Bar], unit: str = "") -> dict[str, Any]:
    """
    >>> bars([Bar("peak memory", 310.0, limit=512.0)], "MB")["bars"][0]["limit"]
    512.0
    """
    return {"kind": "bars", "unit": unit, "bars": [asdict(one) for one in found]}


def intervals(found: Sequence[Interval], unit: str = "") -> dict[str, Any]:
    return {"kind": "intervals", "unit": unit, "rows": [asdict(one) for one in found]}


def ticks(found: Sequence[Tick]) -> dict[str, Any]:
    """
    >>> ticks([Tick("flights@7", True)])
    {'kind': 'ticks', 'rows': [{'name': 'flights@7', 'holds': True, 'detail': ''}]}
    """
    return {"kind": "ticks", "rows": [asdict(one) for one in found]}


def timeline(found: Sequence[Moment], begin: str, end: str) -> dict[str, Any]:
    """`begin` and `end` as UTC, ISO 8601."""
    rows = [asdict(one) for one in found]
    return {"kind": "timeline", "from": begin, "to": end, "rows": rows}
