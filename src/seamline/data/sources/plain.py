"""What comes with types (Parquet, Arrow, Delta, warehouses), in those that a dataset holds."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.measure.casting import CALENDAR_DAYS

_PER_DAY = {"ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}
_TIME_OF_DAY = "%H:%M:%S%.f"


def plain_frame(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Nested values become JSON and times of day text; decimals without a fraction are whole
    numbers. Raises InvalidInput, naming the column, for what no dataset holds: bytes, durations,
    whole numbers of more than 64 bits, years that no calendar has.

    >>> from decimal import Decimal
    >>> from datetime import time
    >>> frame = pl.DataFrame({"tags": [["a", None], None], "at": [time(8, 30), None]})
    >>> plain_frame(frame, "shop").rows()
    [('["a",null]', '08:30:00'), (None, None)]
    >>> plain_frame(pl.DataFrame({"id": [Decimal(7)], "price": [Decimal("1.25")]}), "shop").rows()
    [(7, 1.25)]
    """
    odd = [plain for series in frame if (plain := _plain(series, name)) is not None]
    return frame.with_columns(odd) if odd else frame


def _plain(series: pl.Series, name: str) -> pl.Series | None:
    """None where it is plain already."""
    kind = series.dtype
    if any(one in (pl.Binary, pl.Object) for one in _within(kind)):
        raise _unknown(name, series.name, "bytes", "Leave the column out, or write it as text.")
    if kind == pl.Duration:
        raise _unknown(name, series.name, "durations", "Write it as a number of seconds.")
    if kind.is_nested():
        as_json = pl.DataFrame({"v": series}).select(pl.struct("v").struct.json_encode())
        text = as_json.to_series().str.slice(len('{"v":')).str.head(-1)
        return text.set(series.is_null(), None).alias(series.name)
    if kind == pl.Time:
        return series.dt.to_string(_TIME_OF_DAY)
    if isinstance(kind, pl.Decimal):
        return _whole(series, name) if kind.scale == 0 else series.cast(pl.Float64)
    if kind in (pl.UInt64, pl.Int128, pl.UInt128):
        return _whole(series, name)
    if isinstance(kind, pl.Date | pl.Datetime):
        _check_years(series, kind, name)
    return None


def _check_years(series: pl.Series, kind: pl.Date | pl.Datetime, name: str) -> None:
    a_day = 1 if isinstance(kind, pl.Date) else _PER_DAY[kind.time_unit]
    days = series.to_physical() // a_day
    if not days.is_between(*CALENDAR_DAYS).all():
        raise _unknown(
            name,
            series.name,
            "times outside of the years 1 to 9999",
            "Leave them missing where they mean that there is none.",
        )


def _whole(series: pl.Series, name: str) -> pl.Series:
    whole = series.cast(pl.Int64, strict=False)
    lost = series.filter(whole.is_null() & series.is_not_null())
    if len(lost):
        raise _unknown(
            name,
            series.name,
            f"whole numbers of more than 64 bits ({lost[0]})",
            "Write it as text; as a fraction it would lose digits.",
        )
    return whole


def _within(kind: pl.DataType) -> Iterator[pl.DataType]:
    """The type, and those of what is nested in it."""
    yield kind
    if isinstance(kind, pl.Struct):
        for field in kind.fields:
            yield from _within(pl.Series(dtype=field.dtype).dtype)
    elif isinstance(kind, pl.List | pl.Array):
        yield from _within(pl.Series(dtype=kind.inner).dtype)


def _unknown(name: str, column: str, what: str, next_step: str) -> InvalidInput:
    return InvalidInput(
        f"{name}: column {column!r} has {what}, which no dataset holds.", next_step=next_step
    )
