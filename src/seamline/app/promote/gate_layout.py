"""The one picture of a gate's evidence, laid out for a page: where things stand, in percent. Pure.

Evidence is read from the ledger, where an earlier version or another server may have written it:
what cannot be drawn is left out, and the sentence and the evidence say it all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from seamline.evaluate.scale import Scale, scale_of
from seamline.promote.gate_pictures import PICTURE

_VERDICTS = ("pass", "fail", "inconclusive", "error")


def lay_out_picture(evidence: Mapping[str, Any]) -> dict[str, Any] | None:
    """None where there is no picture, or none that can be drawn.

    >>> lay_out_picture({"picture": {"kind": "ticks", "rows": []}}) is None
    True
    >>> bar = {"name": "p95", "value": 12.0, "limit": 24.0, "limit_is": "most", "verdict": "pass"}
    >>> drawn = lay_out_picture({"picture": {"kind": "bars", "unit": "ms", "bars": [bar]}})
    >>> drawn["rows"][0]["width"], drawn["rows"][0]["limit_at"], drawn["rows"][0]["says"]
    ('46.00%', '92.00%', '12 ms, at most 24')
    """
    picture = evidence.get(PICTURE)
    if not isinstance(picture, Mapping):
        return None
    try:
        rows = _DRAWN[picture["kind"]](picture)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return {"kind": str(picture["kind"]), "rows": rows} if rows else None


def _bars(picture: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each on a scale of its own: their units may differ, and each has its own limit."""
    unit = f" {picture['unit']}" if picture["unit"] else ""
    return [_bar(one, unit) for one in picture["bars"]]


def _bar(one: Mapping[str, Any], unit: str) -> dict[str, Any]:
    value, limit = float(one["value"]), one["limit"]
    most = max(abs(value), abs(float(limit)) if limit is not None else 0.0) or 1.0
    # The larger of the two ends a little before the frame does.
    scale = Scale(0.0, most / 0.92)
    says = f"{_number(value)}{unit}"
    if limit is not None:
        says += f", at {one['limit_is']} {_number(float(limit))}"
    return {
        "name": str(one["name"]),
        "width": scale.at(max(value, 0.0)),
        "limit_at": None if limit is None else scale.at(float(limit)),
        "verdict": _verdict(one),
        "says": says,
    }


def _intervals(picture: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All on one scale."""
    found: Sequence[Mapping[str, Any]] = picture["rows"]
    estimates = [{"value": one["point"], "low": one["low"], "high": one["high"]} for one in found]
    limits = [float(one["limit"]) for one in found if one["limit"] is not None]
    scale = scale_of(estimates, *limits)
    unit = f" {picture['unit']}" if picture["unit"] else ""
    return [
        {
            "name": str(one["name"]),
            "estimate": estimate,
            "scale": scale,
            "limit": one["limit"],
            "verdict": _verdict(one),
            "says": _interval_says(one, unit),
        }
        for one, estimate in zip(found, estimates, strict=True)
    ]


def _interval_says(one: Mapping[str, Any], unit: str) -> str:
    if one["point"] is None:
        return "nobody can tell"
    says = f"{_number(one['point'])}{unit}"
    if one["low"] is not None and one["high"] is not None:
        says += f" [{_number(one['low'])}, {_number(one['high'])}]"
    return says if one["limit"] is None else f"{says}, limit {_number(float(one['limit']))}"


def _ticks(picture: Mapping[str, Any]) -> list[dict[str, Any]]:
    states = {True: "pass", False: "fail", None: "inconclusive"}
    return [
        {"name": str(one["name"]), "verdict": states[one["holds"]], "says": str(one["detail"])}
        for one in picture["rows"]
    ]


def _timeline(picture: Mapping[str, Any]) -> list[dict[str, Any]]:
    begin, end = (datetime.fromisoformat(picture[key]) for key in ("from", "to"))
    scale = Scale(begin.timestamp(), max(end.timestamp(), begin.timestamp() + 1.0))
    drawn = []
    for one in picture["rows"]:
        first = datetime.fromisoformat(one["at"])
        last = datetime.fromisoformat(one["until"]) if one["until"] else first
        drawn.append(
            {
                "name": str(one["name"]),
                "at": scale.at(first.timestamp()),
                "until": scale.at(last.timestamp()),
                "verdict": _verdict(one),
                "says": f"{one['at']} to {one['until']}" if one["until"] else str(one["at"]),
            }
        )
    return drawn


_DRAWN = {"bars": _bars, "intervals": _intervals, "ticks": _ticks, "timeline": _timeline}


def _verdict(one: Mapping[str, Any]) -> str:
    return str(one["verdict"]) if one["verdict"] in _VERDICTS else "inconclusive"


def _number(value: float) -> str:
    """
    >>> _number(12.0), _number(0.12345), _number(1234567.0)
    ('12', '0.1235', '1,234,567')
    """
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1e4 else f"{value:,.4g}"
