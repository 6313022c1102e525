"""Strict casts of whole columns: a value that does not read as the dtype becomes null."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import reduce

import polars as pl

#: Every datetime is kept in UTC; one without an offset is taken as UTC.
UTC_TIME = pl.Datetime("us", "UTC")
#: The years 1 to 9999, which Python and ISO 8601 have, in days from 1970 on.
CALENDAR_DAYS = (-719_162, 2_932_896)
_US_PER_DAY = 86_400 * 10**6


class DType(StrEnum):
    INT = "int"
    FLOAT = "float"
    STRING = "string"
    BOOL = "bool"
    DATE = "date"
    DATETIME = "datetime"


POLARS_TYPES: Mapping[DType, pl.DataType] = {
    DType.INT: pl.Int64(),
    DType.FLOAT: pl.Float64(),
    DType.STRING: pl.String(),
    DType.BOOL: pl.Boolean(),
    DType.DATE: pl.Date(),
    DType.DATETIME: UTC_TIME,
}


def null_missing(series: pl.Series, null_values: Sequence[str]) -> pl.Series:
    """The series with its missing values as nulls: the given strings, and NaN.

    >>> null_missing(pl.Series(["NA", "", "JFK"]), ["", "NA"]).to_list()
    [None, None, 'JFK']
    """
    if series.dtype.is_float():
        return series.fill_nan(None)
    if series.dtype != pl.String or not null_values:
        return series
    # Comparisons cost a microsecond; an expression costs a query, and some tables are wide.
    missing = reduce(operator.or_, (series == text for text in null_values))
    if not missing.any():
        return series
    return series.set(missing.fill_null(False) if series.null_count() else missing, None)


def cast_series(series: pl.Series, dtype: DType) -> pl.Series:
    """The values as the dtype; null where a value is missing or does not read as it.

    Strings are parsed. Typed values only widen: int to float, date to datetime, whole floats to
    int; anything else (a number where a string is expected) does not read.

    >>> cast_series(pl.Series(["7", "7.5", "x"]), DType.INT).to_list()
    [7, None, None]
    >>> cast_series(pl.Series([7.0, 7.5]), DType.INT).to_list()
    [7, None]
    >>> cast_series(pl.Series(["True", "no"]), DType.BOOL).to_list()
    [True, None]
    """
    cast = _cast(series, dtype)
    return within_calendar(cast) if dtype in (DType.DATE, DType.DATETIME) else cast


def within_calendar(times: pl.Series) -> pl.Series:
    """Days, or instants in microseconds; null where they are of no year from 1 to 9999.

    >>> within_calendar(pl.Series([0, 10**18]).cast(UTC_TIME)).is_null().to_list()
    [False, True]
    """
    count = times.to_physical()
    days = count if times.dtype == pl.Date else count // _US_PER_DAY
    within = days.is_between(*CALENDAR_DAYS)
    return times if within.all() else times.set(~within.fill_null(True), None)


def _cast(series: pl.Series, dtype: DType) -> pl.Series:
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype == pl.String:
        return _parse_strings(series, dtype)
    kind, target = series.dtype, POLARS_TYPES[dtype]
    if dtype is DType.INT and kind.is_numeric():
        whole = series.cast(pl.Int64, strict=False)
        same = whole.cast(pl.Float64) == series.cast(pl.Float64)
        return whole.set(~same.fill_null(True), None)
    if dtype is DType.FLOAT and kind.is_numeric():
        return series.cast(target)
    if dtype is DType.DATETIME and kind in (pl.Date, pl.Datetime):
        return _to_utc(series)
    if kind == target or kind == pl.Null:
        return series.cast(target)
    return pl.Series(series.name, [None], dtype=target).new_from_index(0, len(series))


def _parse_strings(series: pl.Series, dtype: DType) -> pl.Series:
    if dtype is DType.INT:
        return series.cast(pl.Int64, strict=False)
    if dtype is DType.FLOAT:
        return _parse_floats(series)
    if dtype is DType.BOOL:
        words = {"true": True, "false": False}
        lower = series.str.to_lowercase()
        return lower.replace_strict(words, default=None, return_dtype=pl.Boolean)
    if dtype is DType.DATE:
        return series.str.to_date("%Y-%m-%d", strict=False)
    if dtype is DType.DATETIME:
        return by_distinct(series, _parse_datetimes)
    return series


def _parse_floats(series: pl.Series) -> pl.Series:
    """Digits that no float can hold do not read; only the word is infinite.

    >>> _parse_floats(pl.Series(["1e3", "9" * 400, "-inf", "NaN"])).to_list()
    [1000.0, None, -inf, None]
    """
    floats = series.cast(pl.Float64, strict=False).fill_nan(None)
    infinite = floats.is_infinite().fill_null(False)
    if not infinite.any():
        return floats
    return floats.set(infinite & series.str.contains("[0-9]"), None)


def by_distinct(series: pl.Series, read: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """`read` of each distinct value once, where they repeat: times come many to the same hour."""
    distinct = series.drop_nulls().unique()
    if 2 * len(distinct) > len(series):
        return read(series)
    found = read(distinct)
    return series.replace_strict(distinct, found, default=None, return_dtype=found.dtype)


def _parse_datetimes(series: pl.Series) -> pl.Series:
    """ISO 8601 with T or a blank, seconds and offset optional; a bare date is midnight.

    >>> texts = ["2013-01-01 05:00", "2013-01-01T05:00:00+02:00", "2013-01-01", "soon"]
    >>> _parse_datetimes(pl.Series(texts)).dt.to_string("%H:%M").to_list()
    ['05:00', '03:00', '00:00', None]
    """
    first = series.drop_nulls().head(1).to_list()
    shape = _plain_shape(first[0]) if first else None
    if shape is None:
        return _parse_any_datetimes(series)
    pattern, shortest = shape
    bare = series.str.strip_suffix("Z")
    times = bare.str.to_datetime(pattern, time_unit="us", strict=False).dt.replace_time_zone("UTC")
    # The parser also passes what is padded otherwise; that is for the exact way to decide.
    length = bare.str.len_bytes()
    padded = length >= shortest if "." in pattern else length == shortest
    odd = (times.is_null() | ~padded | bare.str.starts_with(" ")) & series.is_not_null()
    if not odd.any():
        return times
    return times.zip_with(~odd, _parse_any_datetimes(series.set(~odd, None)))


def _plain_shape(text: str) -> tuple[str, int] | None:
    """The format of a time as most programs write it, which is read ten times as fast, and how
    long such a text is (at least, with a fraction).

    >>> _plain_shape("2013-01-01T05:00:00Z"), _plain_shape("2013-01-01 05:00")
    (('%Y-%m-%dT%H:%M:%S', 19), ('%Y-%m-%d %H:%M', 16))
    """
    found = re.fullmatch(r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d(:\d\d(\.\d+)?)?Z?", text)
    if found is None:
        return None
    fraction = "%.f" if found[3] else ""
    seconds = ":%S" if found[2] else ""
    return f"%Y-%m-%d{found[1]}%H:%M{seconds}{fraction}", 16 + 3 * bool(seconds) + 2 * bool(
        fraction
    )


def _parse_any_datetimes(series: pl.Series) -> pl.Series:
    text = series.str.replace(" ", "T", literal=True).str.replace(r"[zZ]$", "+00:00")
    text = text.str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1}T00:00:00")
    text = text.str.replace(r"(T\d{2}:\d{2})([+-]|$)", "${1}:00${2}")
    text = text.str.replace(r"([^T-][^-]*T[^+-]*)$", "${1}+00:00")
    times = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False)
    return times.dt.convert_time_zone("UTC")


def _to_utc(series: pl.Series) -> pl.Series:
    times = series.cast(pl.Datetime("us", getattr(series.dtype, "time_zone", None)))
    if getattr(times.dtype, "time_zone", None) is None:
        return times.dt.replace_time_zone("UTC")
    return times.dt.convert_time_zone("UTC")
