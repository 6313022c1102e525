"""The columns of a dataset version as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seamline.cli.command import table

_SHOWN = ("name", "dtype", "missing", "distinct", "min", "median", "max", "mean", "holds")
LONG_VALUE = 24


def column_table(columns: Sequence[Mapping[str, Any]]) -> str:
    return table([_line(column) for column in columns], list(_SHOWN), "")


def _line(column: Mapping[str, Any]) -> dict[str, Any]:
    estimated = "" if column["distinct_is_exact"] or column["distinct"] is None else "~"
    distinct = None if column["distinct"] is None else f"{estimated}{column['distinct']:,}"
    median = (column["quantiles"] or {}).get("p50")
    return {
        "name": column["name"],
        "dtype": column["dtype"],
        "missing": f"{column['missing']:.2%}" if column["missing"] else "0",
        "distinct": distinct,
        "min": _short(column["min"]),
        "median": _short(median),
        "max": _short(column["max"]),
        "mean": _short(column["mean"]),
        "holds": say_values(column) or None,
    }


def _short(value: object) -> object:
    """
    >>> _short(2.0), _short(0.123456789), _short("2026-03-02T10:20:30.123456Z"), _short(None)
    ('2', '0.123457', '2026-03-02 10:20:30Z', None)
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and len(value) == len("2026-03-02T10:20:30.123456Z"):
        return f"{value[:10]} {value[11:19]}Z"
    return value


def say_values(column: Mapping[str, Any]) -> str:
    """The most frequent values, what texts read as, and what does not read.

    >>> pair = {"value": "UA", "count": 1200}
    >>> bad = {"value": "n/a", "count": 21}
    >>> say_values({"top": [pair], "rest": 7, "reads_as": None, "lengths": None,
    ...             "mistyped": 60, "unread": [bad]})
    "'UA' ×1,200, others ×7; 60 do not read: 'n/a' ×21"
    """
    values = [_say_count(one) for one in column["top"]]
    values += [f"others ×{column['rest']:,}"] if values and column["rest"] else []
    parts = [", ".join(values)] if values else []
    lengths, reads_as = column["lengths"], column["reads_as"]
    if reads_as is not None and reads_as["type"] != "text":
        parts.append(f"{reads_as['share']:.1%} read as {reads_as['type'].replace('_', ' ')}")
    if lengths is not None and column["top"]:
        low, high = lengths["min"], lengths["max"]
        parts.append(f"{low:,} characters" if low == high else f"{low:,} to {high:,} characters")
    if column["mistyped"]:
        named = ", ".join(_say_count(one) for one in column["unread"])
        parts.append(f"{column['mistyped']:,} do not read: {named}".removesuffix(": "))
    return "; ".join(parts)


def _say_count(one: Mapping[str, Any]) -> str:
    value = one["value"]
    cut = value if len(value) <= LONG_VALUE else value[: LONG_VALUE - 1] + "…"
    return f"{cut!r} ×{one['count']:,}"
