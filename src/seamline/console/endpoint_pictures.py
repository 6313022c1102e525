"""The last hour of an endpoint as SVG: latency above, requests with the failed among them below.

Both stand on one axis of time, and every minute says in words what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any

from seamline.console.words import say_latency, say_plural
from seamline.domain.clock import from_iso

MINUTES = 60
STEP = 12
LEFT, RIGHT = 58, 8
LATENCY_TOP, LATENCY = 28, 110
REQUESTS_TOP, REQUESTS = 178, 60
WIDTH = LEFT + MINUTES * STEP + RIGHT
HEIGHT = REQUESTS_TOP + REQUESTS + 22


def draw_hour(minutes: Sequence[Mapping[str, Any]], now: str) -> str:
    """Empty where nobody asked.

    >>> draw_hour([], "2026-01-01T01:00:00Z")
    ''
    """
    if not minutes:
        return ""
    end = from_iso(now)
    placed = [(_column(one, end), one) for one in minutes]
    slowest = max((one["p95_s"] for _, one in placed if one["p95_s"] is not None), default=None)
    most = max(one["requests"] for _, one in placed)
    parts = [
        f'<svg class="plot hour" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Latency and requests of the last hour, minute by minute</title>",
        _text(0, 10, "latency"),
        _text(0, REQUESTS_TOP - 10, "requests a minute"),
    ]
    if slowest:
        marks = [(share, say_latency(slowest * share)) for share in (1.0, 0.5)]
        parts += _scale(LATENCY_TOP, LATENCY, marks)
        for name in ("p95_s", "p50_s"):
            parts.append(_path(name.removesuffix("_s"), placed, name, slowest))
    parts += _scale(REQUESTS_TOP, REQUESTS, [(1.0, f"{most:,}"), (0.0, "0")])
    parts += [_bar(column, one, most) for column, one in placed]
    for ago in (60, 45, 30, 15, 0):
        x = LEFT + (MINUTES - ago) * STEP
        at = (end - timedelta(minutes=ago)).strftime("%H:%M")
        anchor = "end" if ago == 0 else "middle" if ago < MINUTES else "start"
        parts.append(_text(x, HEIGHT - 4, at, anchor))
    return "".join([*parts, "</svg>"])


def say_minute(one: Mapping[str, Any]) -> str:
    """
    >>> say_minute({"at": "2026-01-01T00:05:00Z", "requests": 3, "failed": 1, "p50_s": 0.002,
    ...     "p95_s": 0.004})
    '00:05 UTC: 3 requests, 1 failed; p50 2.0 ms, p95 4.0 ms'
    """
    said = f"{from_iso(one['at']):%H:%M} UTC: {say_plural(one['requests'], 'request')}"
    if one["failed"]:
        said += f", {one['failed']:,} failed"
    if one["p50_s"] is not None:
        said += f"; p50 {say_latency(one['p50_s'])}, p95 {say_latency(one['p95_s'])}"
    return said


def _column(one: Mapping[str, Any], end: datetime) -> int:
    """0 is the first minute of the hour that is drawn."""
    ago = round((end - from_iso(one["at"])).total_seconds() / 60)
    return min(max(MINUTES - ago, 0), MINUTES - 1)


def _path(
    kind: str, placed: Sequence[tuple[int, Mapping[str, Any]]], name: str, slowest: float
) -> str:
    """A line over minutes next to one another; one that stands alone is a dot."""
    runs: list[list[tuple[float, float]]] = []
    before = None
    for column, one in placed:
        if one[name] is None:
            before = None
            continue
        point = (
            LEFT + (column + 0.5) * STEP,
            LATENCY_TOP + LATENCY * (1 - one[name] / slowest),
        )
        if before is None or column != before + 1:
            runs.append([])
        runs[-1].append(point)
        before = column
    drawn = []
    for run in runs:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
        drawn.append(f'<polyline class="path" points="{points}"/>')
        drawn += [f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in run]
    return f'<g class="{kind}">{"".join(drawn)}</g>'


def _bar(column: int, one: Mapping[str, Any], most: int) -> str:
    x, height = LEFT + column * STEP + 1.5, REQUESTS * one["requests"] / most
    failed = REQUESTS * one["failed"] / most
    bottom = REQUESTS_TOP + REQUESTS
    parts = [
        f"<title>{escape(say_minute(one))}</title>",
        f'<rect class="asked" x="{x}" y="{bottom - height:.1f}" width="{STEP - 3}" '
        f'height="{height:.1f}"/>',
    ]
    if one["failed"]:
        # However few: one in a thousand is to be seen.
        tall = max(failed, 3.0)
        parts.append(
            f'<rect class="failed" x="{x}" y="{bottom - tall:.1f}" width="{STEP - 3}" '
            f'height="{tall:.1f}"/>'
        )
    parts.append(
        f'<rect class="hover" x="{x - 1.5}" y="{LATENCY_TOP}" width="{STEP}" '
        f'height="{bottom - LATENCY_TOP}"/>'
    )
    return f"<g>{''.join(parts)}</g>"


def _scale(top: float, height: float, marks: Sequence[tuple[float, str]]) -> list[str]:
    parts = []
    for share, said in (*marks, (0.0, "")):
        y = top + height * (1 - share)
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        if said:
            parts.append(_text(LEFT - 6, y + 4, said, "end"))
    return parts


def _text(x: float, y: float, said: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(said)}</text>'
