"""Pictures of an evaluation, as SVG that takes its colours from the page's style. Pure.

Every picture says in words next to it, or in its title, what it shows: colour is never alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from seamline.evaluate.scale import Scale, scale_of

SIDE = 240
MARGIN = 34
#: Room for one window of a back-test, and the height of its picture.
WINDOW_WIDTH = 92
WINDOWS_HEIGHT = 170
CONTENDERS = ("candidate", "incumbent", "baseline")


def draw_interval(
    estimate: Mapping[str, Any], scale: Scale | None, reference: float | None = None
) -> str:
    """A point with its interval on an axis as wide as its cell; `reference`: a line across.

    >>> draw_interval({"value": None, "low": None, "high": None}, None)
    '<span class="muted">no interval</span>'
    """
    if scale is None or estimate["value"] is None:
        return '<span class="muted">no interval</span>'
    parts = ['<line class="axis" x1="0" x2="100%" y1="10" y2="10"/>']
    if reference is not None:
        at = scale.at(reference)
        parts.append(f'<line class="reference" x1="{at}" x2="{at}" y1="0" y2="20"/>')
    if estimate["low"] is not None and estimate["high"] is not None:
        low, high = scale.at(estimate["low"]), scale.at(estimate["high"])
        parts.append(f'<line class="span" x1="{low}" x2="{high}" y1="10" y2="10"/>')
        parts += [f'<line class="end" x1="{x}" x2="{x}" y1="5" y2="15"/>' for x in (low, high)]
    parts.append(f'<circle class="point" cx="{scale.at(estimate["value"])}" cy="10" r="4.5"/>')
    return f'<svg class="interval" height="20" aria-hidden="true">{"".join(parts)}</svg>'


def draw_reliability(reliability: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Mean score (across) against the share of positives (up) per bin, with intervals; what lies
    on the diagonal is calibrated. Empty where no contender has bins.

    >>> draw_reliability({})
    ''
    """
    drawn = [name for name in CONTENDERS[:2] if reliability.get(name)]
    if not drawn:
        return ""
    size = SIDE + 2 * MARGIN
    parts = [
        f'<svg class="plot" width="{size}" height="{size}" viewBox="0 0 {size} {size}" role="img">',
        "<title>Reliability: share of positives against the mean score</title>",
        f'<rect class="frame" x="{MARGIN}" y="{MARGIN}" width="{SIDE}" height="{SIDE}"/>',
        _line("diagonal", MARGIN, MARGIN + SIDE, MARGIN + SIDE, MARGIN),
    ]
    for name in reversed(drawn):
        parts.append(f'<g class="{name}">')
        parts += [_bin(one) for one in reliability[name]]
        parts.append("</g>")
    for share in (0, 0.5, 1):
        at = MARGIN + share * SIDE
        parts.append(_text(at, size - MARGIN + 15, f"{share:g}", "middle"))
        parts.append(_text(MARGIN - 6, MARGIN + SIDE - share * SIDE + 4, f"{share:g}", "end"))
    parts.append(_text(size / 2, size - 4, "mean score", "middle"))
    parts.append(_text(4, 14, "share of positives"))
    return "".join([*parts, "</svg>"])


def _bin(one: Mapping[str, Any]) -> str:
    share = one["share"]
    if share["value"] is None:
        return ""
    x, y = MARGIN + one["score"] * SIDE, _up(share["value"])
    parts = []
    if share["low"] is not None and share["high"] is not None:
        parts.append(_line("span", x, _up(share["low"]), x, _up(share["high"])))
    said = f"scores {one['low']:.3g} to {one['high']:.3g}: {share['value']:.3g} positive, "
    said += f"{share['n_rows']:,} rows"
    parts.append(
        f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{said}</title></circle>'
    )
    return "".join(parts)


def _up(share: float) -> float:
    return MARGIN + SIDE - min(1.0, max(0.0, share)) * SIDE


def draw_windows(windows: Sequence[Mapping[str, Any]]) -> str:
    """A metric over windows of time: `label`, and per contender an estimate or None (errored).

    >>> draw_windows([])
    ''
    """
    estimates = [
        one[name]
        for one in windows
        for name in CONTENDERS
        if one.get(name) is not None and one[name]["value"] is not None
    ]
    scale = scale_of(estimates)
    if scale is None:
        return ""
    width, height = len(windows) * WINDOW_WIDTH + 2 * MARGIN, WINDOWS_HEIGHT + 2 * MARGIN
    parts = [
        f'<svg class="plot" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img"><title>The metric in each window, with its interval</title>'
    ]
    for share in (0.0, 0.5, 1.0):
        value = scale.low + share * (scale.high - scale.low)
        y = _height(scale, value)
        parts.append(_line("axis", MARGIN + 8, y, width - MARGIN / 2, y))
        parts.append(_text(MARGIN + 4, y + 4, f"{value:.3g}", "end"))
    parts += [_series(windows, name, scale) for name in reversed(CONTENDERS[:2])]
    for n, one in enumerate(windows):
        middle = _across(n)
        parts.append(_text(middle, height - 10, str(one["label"]), "middle"))
        if one.get("candidate") is None:
            parts.append(_text(middle, MARGIN + WINDOWS_HEIGHT / 2, "errored", "middle"))
    return "".join([*parts, "</svg>"])


def _series(windows: Sequence[Mapping[str, Any]], name: str, scale: Scale) -> str:
    shift = -5 if name == "candidate" else 5
    parts, points = [], []
    for n, one in enumerate(windows):
        estimate = one.get(name)
        if estimate is None or estimate["value"] is None:
            continue
        x, y = _across(n) + shift, _height(scale, estimate["value"])
        points.append(f"{x:.1f},{y:.1f}")
        if estimate["low"] is not None and estimate["high"] is not None:
            low, high = (_height(scale, estimate[end]) for end in ("low", "high"))
            parts.append(_line("span", x, low, x, high))
        parts.append(f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    line = f'<polyline class="path" points="{" ".join(points)}"/>' if len(points) > 1 else ""
    return f'<g class="{name}">{line}{"".join(parts)}</g>'


def _across(n: int) -> float:
    return MARGIN + 16 + (n + 0.5) * WINDOW_WIDTH


def _height(scale: Scale, value: float) -> float:
    share = (value - scale.low) / (scale.high - scale.low)
    return MARGIN / 2 + WINDOWS_HEIGHT * (1 - share)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def windows_of(backtest: Mapping[str, Any], metric: str) -> list[dict[str, Any]]:
    """What is drawn of a back-test: per window the estimates of one metric.

    >>> windows_of({"evidence": {"windows": [{"window": "2013-07", "metrics": {}}]}}, "auc")
    [{'label': '2013-07', 'candidate': None, 'incumbent': None}]
    """
    found = []
    for one in backtest["evidence"]["windows"]:
        estimates = one["metrics"].get(metric, {})
        found.append(
            {
                "label": one["window"],
                "candidate": estimates.get("candidate"),
                "incumbent": estimates.get("incumbent"),
            }
        )
    return found
