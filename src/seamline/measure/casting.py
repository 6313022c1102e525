"""Strict casts of whole columns: a value that does not read as the dtype becomes null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import polars as pl

#: Every datetime is kept in UTC; one without an offset is taken as UTC.
UTC_TIME = pl.Datetime("us", "UTC")


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
    return series.set(series.is_in(list(null_values)).fill_null(False), None)


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
        return series.cast(pl.Float64, strict=False).fill_nan(None)
    if dtype is DType.BOOL:
        words = {"true": True, "false": False}
        lower = series.str.to_lowercase()
        return lower.replace_strict(words, default=None, return_dtype=pl.Boolean)
    if dtype is DType.DATE:
        return series.str.to_date("%Y-%m-%d", strict=False)
    if dtype is DType.DATETIME:
        return _parse_datetimes(series)
    return series


def _parse_datetimes(series: pl.Series) -> pl.Series:
    """ISO 8601 with T or a blank, seconds and offset optional; a bare date is midnight.

    >>> texts = ["2013-01-01 05:00", "2013-01-01T05:00:00+02:00", "2013-01-01", "soon"]
    >>> _parse_datetimes(pl.Series(texts)).dt.to_string("%H:%M").to_list()
    ['05:00', '03:00', '00:00', None]
    """
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
