"""The day of each row: that of its event in the dataset's time zone, or that of its insertion."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from functools import partial

import polars as pl

from seamline.data.declaration import DAY, DatasetDeclaration, Partition
from seamline.domain.errors import InvalidInput, nearest
from seamline.measure.casting import (
    UTC_TIME,
    DType,
    by_distinct,
    cast_series,
    null_missing,
    within_calendar,
)

_OFFSET = r"\d[T ]\d.*([zZ]|[+-]\d{2}:?\d{2})$"


def with_day(
    frame: pl.DataFrame,
    declaration: DatasetDeclaration,
    *,
    inserted_on: date | None = None,
    time_dtype: DType | None = None,
) -> pl.DataFrame:
    """The frame with the column `ds` (Date), and its time column read as UTC instants (or dates).

    `inserted_on` is needed where rows lie by their insertion; `time_dtype` is the time column's,
    once it is known (else dates alone are read as dates). Raises InvalidInput with examples when a
    row's day cannot be told, or when the frame has a `ds` of its own that says otherwise.

    >>> new_york = DatasetDeclaration("calls", time="at", zone="America/New_York")
    >>> frame = pl.DataFrame({"at": ["2013-01-01T04:59:00Z", "2013-01-01T05:00:00Z"]})
    >>> with_day(frame, new_york)["ds"].cast(pl.String).to_list()
    ['2012-12-31', '2013-01-01']
    >>> flights = DatasetDeclaration("flights", date=("year", "month", "day"))
    >>> frame = pl.DataFrame({"year": ["2013"], "month": ["7"], "day": ["9"]})
    >>> with_day(frame, flights)["ds"].cast(pl.String).to_list()
    ['2013-07-09']
    """
    check_declared_columns(frame.schema, declaration)
    days = times = None
    if declaration.time is not None:
        times = read_times(frame[declaration.time], declaration, time_dtype)
        if times.name == DAY and times.dtype != pl.Date:
            raise InvalidInput(
                f"Dataset {declaration.name}: its column {DAY!r} holds times, and no days.",
                next_step=f"Rename it: {DAY!r} is the partition column of every dataset, a day.",
            )
        days = _local_days(times, declaration.zone)
    elif declaration.date:
        days = days_of_triple(frame, declaration)
    if days is not None:
        _check_days(frame, days, declaration)
    if declaration.lies_by is Partition.INSERTION:
        if inserted_on is None:
            raise ValueError("a dataset that lies by insertion needs the day of insertion")
        days = pl.repeat(inserted_on, frame.height, dtype=pl.Date, eager=True).alias(DAY)
    assert days is not None  # one of the two is declared
    if DAY in frame.columns and not _same_days(frame[DAY], days):
        told = ", ".join(declaration.day_columns) or "its insertion"
        raise InvalidInput(
            f"Dataset {declaration.name}: the delivery's own column {DAY!r} differs from the day "
            f"told by {told}.",
            next_step=f"Rename or drop {DAY!r}: it is the partition column of every dataset.",
        )
    return frame.with_columns([days] if times is None or times.name == DAY else [times, days])


def check_declared_columns(schema: pl.Schema, declaration: DatasetDeclaration) -> None:
    for column in schema:
        if column.lower() == DAY != column:
            raise InvalidInput(
                f"Dataset {declaration.name}: the delivery's column {column!r} is called like "
                f"{DAY!r}, but for upper and lower case.",
                next_step=f"Rename it: {DAY!r} is the partition column of every dataset.",
            )
    for column in declaration.named_columns:
        if column not in schema:
            raise InvalidInput(
                f"Dataset {declaration.name} declares the column {column!r}; "
                "the delivery has none of that name.",
                next_step=nearest(column, schema),
            )


def read_times(
    series: pl.Series, declaration: DatasetDeclaration, dtype: DType | None = None
) -> pl.Series:
    """Instants in UTC (or plain dates, if all are, and `dtype` is not datetime); null where a
    value does not read as a time.

    >>> berlin = DatasetDeclaration("calls", time="at", zone="Europe/Berlin")
    >>> read_times(pl.Series("at", ["2013-07-01 00:30"]), berlin).dt.hour().to_list()
    [22]
    """
    kind = series.dtype
    if kind == pl.String:
        text = null_missing(series, declaration.null_values)
        times = by_distinct(text, lambda distinct: _read_text(distinct, declaration, dtype))
    elif isinstance(kind, pl.Datetime):
        naive = kind.time_zone is None
        times = from_local(series, declaration.zone) if naive else _to_utc(series)
    elif kind == pl.Date:
        times = series
    else:
        return pl.Series(series.name, [None], dtype=UTC_TIME).new_from_index(0, len(series))
    return within_calendar(times)


def kinds_of_times(
    series: pl.Series, declaration: DatasetDeclaration
) -> tuple[str | None, str | None]:
    """A time with an offset and one without, of each the first; they are not meant to be mixed.

    >>> calls = DatasetDeclaration("calls", time="at")
    >>> kinds_of_times(pl.Series(["2013-01-01 05:00", "2013-01-01T05:00:00Z"]), calls)
    ('2013-01-01T05:00:00Z', '2013-01-01 05:00')
    """
    if series.dtype != pl.String or declaration.time_format is not None:
        return None, None
    text = null_missing(series, declaration.null_values).drop_nulls()
    moved = text.str.ends_with("Z")
    if not moved.all():
        moved |= text.str.contains(_OFFSET)
    first = text.filter(moved).head(1).to_list(), text.filter(~moved).head(1).to_list()
    return next(iter(first[0]), None), next(iter(first[1]), None)


def _read_text(text: pl.Series, declaration: DatasetDeclaration, dtype: DType | None) -> pl.Series:
    if declaration.time_format is not None:
        return _read_format(text, declaration.time_format, declaration)
    if dtype is not DType.DATETIME:
        dates = cast_series(text, DType.DATE)
        if dates.null_count() == text.null_count():
            return dates
    instants = cast_series(text, DType.DATETIME)  # takes times without an offset as UTC
    moved = text.str.ends_with("Z").fill_null(True)
    if not moved.all():
        moved |= text.str.contains(_OFFSET).fill_null(True)
    if moved.all():
        return instants
    return instants.zip_with(
        moved, from_local(instants.dt.replace_time_zone(None), declaration.zone)
    )


def _read_format(text: pl.Series, pattern: str, declaration: DatasetDeclaration) -> pl.Series:
    try:
        if not re.search(r"%[-_0]?[HIkTRsXc]", pattern):
            return text.str.to_date(pattern, strict=False)
        times = text.str.to_datetime(pattern, time_unit="us", strict=False)
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(
            f"Dataset {declaration.name}: {pattern!r} is no time format: {error}.",
            next_step="Write it with strftime codes, like %d.%m.%Y %H:%M.",
        ) from error
    if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None:
        return _to_utc(times)
    return (
        times.dt.replace_time_zone("UTC")
        if "%s" in pattern
        else from_local(times, declaration.zone)
    )


def _to_utc(times: pl.Series) -> pl.Series:
    return times.dt.convert_time_zone("UTC").cast(UTC_TIME)


def from_local(naive: pl.Series, zone: str) -> pl.Series:
    """Of an hour that comes twice, the first; one that never was is taken an hour later."""
    naive = naive.cast(pl.Datetime("us"))
    times = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    later = naive.dt.offset_by("1h").dt.replace_time_zone(
        zone, ambiguous="earliest", non_existent="null"
    )
    return _to_utc(times.zip_with(times.is_not_null(), later))


def with_local_times(
    frame: pl.DataFrame, declaration: DatasetDeclaration, columns: Iterable[str]
) -> pl.DataFrame:
    """The frame with what these columns say without an offset moved to UTC; what is no time stays
    as it is.

    >>> calls = DatasetDeclaration("calls", time="at", zone="America/New_York")
    >>> frame = pl.DataFrame({"ended": ["2026-03-01T20:00:00", "2026-03-01T20:00:00Z", "soon"]})
    >>> with_local_times(frame, calls, ["ended"])["ended"].to_list()
    ['2026-03-02T01:00:00.000000Z', '2026-03-01T20:00:00Z', 'soon']
    """
    if declaration.zone == "UTC":
        return frame
    moved = []
    for series in (frame[name] for name in columns if name in frame.columns):
        if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is None:
            moved.append(from_local(series, declaration.zone))
        elif series.dtype == pl.String:
            moved.append(by_distinct(series, partial(_moved, zone=declaration.zone)))
    return frame.with_columns(moved) if moved else frame


def _moved(text: pl.Series, zone: str) -> pl.Series:
    times = cast_series(text, DType.DATETIME)
    is_local = times.is_not_null() & ~text.str.contains(_OFFSET)
    if not is_local.any():
        return text
    instants = from_local(times.dt.replace_time_zone(None), zone)
    return instants.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ").zip_with(is_local, text)


def _local_days(times: pl.Series, zone: str) -> pl.Series:
    days = times if times.dtype == pl.Date else times.dt.convert_time_zone(zone).dt.date()
    return within_calendar(days).alias(DAY)


def days_of_triple(frame: pl.DataFrame, declaration: DatasetDeclaration) -> pl.Series:
    """The days that the three columns of `date` tell; null where they tell none."""
    year, month, day = (cast_series(frame[name], DType.INT) for name in declaration.date)
    within = year.is_between(1, 9999) & month.is_between(1, 12) & day.is_between(1, 31)
    numbers = (year * 10_000 + month * 100 + day).set(~within, None)  # null where one is
    return by_distinct(
        numbers, lambda some: some.cast(pl.String).str.zfill(8).str.to_date("%Y%m%d", strict=False)
    ).alias(DAY)


def _check_days(frame: pl.DataFrame, days: pl.Series, declaration: DatasetDeclaration) -> None:
    unknown = days.is_null()
    if not unknown.any():
        return
    columns = declaration.day_columns
    rows = frame.select(columns).filter(unknown).unique(maintain_order=True).head(3)
    shown = [
        "-".join("(missing)" if value is None else str(value) for value in row)
        for row in rows.iter_rows()
    ]
    raise InvalidInput(
        f"Dataset {declaration.name}: the day of {unknown.sum():,} of {frame.height:,} rows cannot "
        f"be told from {', '.join(columns)}, e.g. {', '.join(map(repr, shown))}.",
        next_step="Correct these rows"
        + (
            ", or declare time_format." if declaration.time and not declaration.time_format else "."
        ),
    )


def _same_days(given: pl.Series, days: pl.Series) -> bool:
    if given.dtype == pl.String:
        given = cast_series(given, DType.DATE)
    return given.dtype == pl.Date and bool((given == days).fill_null(False).all())
