"""What a project declares about a dataset, and the local day of each of its rows."""

from __future__ import annotations

import dataclasses
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from seamline.domain.errors import InvalidInput, nearest
from seamline.measure.casting import UTC_TIME, DType, cast_series, null_missing
from seamline.measure.contracts import NULL_VALUES

#: The partition column of every dataset: the local day of the row's event.
DAY = "ds"

_LONGEST_UNIT = 32
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OFFSET = r"\d[T ]\d.*([zZ]|[+-]\d{2}:?\d{2})$"


@dataclass(frozen=True)
class DatasetDeclaration:
    """A row's day comes from `time` (one column) or from `date` (year, month and day columns).

    Times that carry an offset are moved to `zone`; times without one are local times of `zone`.
    `time_format` is a strftime pattern; without it times are ISO 8601. `source` is a path to read
    deliveries from; `from_output` = "pipeline.output" makes a version of each such run output.
    """

    name: str
    time: str | None = None
    time_format: str | None = None
    zone: str = "UTC"
    date: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    null_values: tuple[str, ...] = NULL_VALUES
    label: str | None = None
    source: str | None = None
    from_output: str | None = None
    #: Column → the unit that its numbers are in ("mi", "min"); models that take it say so, too.
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_dataset_name(self.name)
        if (self.time is None) == (not self.date):
            raise InvalidInput(
                f"Dataset {self.name} has to say which day a row belongs to.",
                next_step='Give either time = "COLUMN" or date = ["YEAR", "MONTH", "DAY"].',
            )
        if self.date and len(self.date) != 3:
            raise InvalidInput(
                f"Dataset {self.name}: date has to name three columns, not {list(self.date)}.",
                next_step='Write date = ["YEAR", "MONTH", "DAY"], or time for a single column.',
            )
        if self.from_output is not None and not all(self.from_output.partition(".")):
            raise InvalidInput(
                f"Dataset {self.name}: {self.from_output!r} names no run output.",
                next_step='Write from_output = "PIPELINE.OUTPUT".',
            )
        _check_zone(self.name, self.zone)
        check_units(f"Dataset {self.name}", self.units)

    @property
    def day_columns(self) -> tuple[str, ...]:
        """The columns that tell a row's day."""
        return self.date if self.time is None else (self.time,)

    @property
    def named_columns(self) -> tuple[str, ...]:
        """Every column that the declaration names, once each."""
        label = () if self.label is None else (self.label,)
        return tuple(dict.fromkeys((*self.day_columns, *self.keys, *label, *self.units)))

    def to_json(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        if not self.units:
            del fields["units"]  # as declarations of earlier versions were written
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DatasetDeclaration:
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**fields)


def check_dataset_name(name: str) -> str:
    """The name itself, if it can be one (it becomes a folder).

    >>> check_dataset_name("flights")
    'flights'
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot be the name of a dataset.",
            next_step="Use lower-case letters, digits and - (at most 63).",
        )
    return name


def check_units(what: str, units: Mapping[str, str]) -> None:
    """InvalidInput for what cannot be printed beside a number.

    >>> check_units("Dataset flights", {"distance": "mi", "temp": "°F", "tax": ""})
    """
    for column, unit in units.items():
        if not unit.isprintable() or unit != unit.strip() or len(unit) > _LONGEST_UNIT:
            raise InvalidInput(
                f"{what}: {unit!r} cannot be the unit of {column}.",
                next_step=f"Use at most {_LONGEST_UNIT} printable characters, as in mi, min or °F.",
            )


def _check_zone(dataset: str, zone: str) -> None:
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(
            f"Dataset {dataset}: there is no time zone {zone!r}.",
            next_step=nearest(zone, zoneinfo.available_timezones()),
        ) from error


def with_day(frame: pl.DataFrame, declaration: DatasetDeclaration) -> pl.DataFrame:
    """The frame with the column `ds` (Date), and its time column read as UTC instants (or dates).

    Raises InvalidInput with examples when a row's day cannot be told, when a declared column is
    missing, or when the frame has a `ds` of its own that says otherwise.

    >>> new_york = DatasetDeclaration("calls", time="at", zone="America/New_York")
    >>> frame = pl.DataFrame({"at": ["2013-01-01T04:59:00Z", "2013-01-01T05:00:00Z"]})
    >>> with_day(frame, new_york)["ds"].cast(pl.String).to_list()
    ['2012-12-31', '2013-01-01']
    >>> flights = DatasetDeclaration("flights", date=("year", "month", "day"))
    >>> frame = pl.DataFrame({"year": ["2013"], "month": ["7"], "day": ["9"]})
    >>> with_day(frame, flights)["ds"].cast(pl.String).to_list()
    ['2013-07-09']
    """
    _check_columns(frame, declaration)
    if declaration.time is None:
        days = _days_of_triple(frame, declaration)
    else:
        times = read_times(frame[declaration.time], declaration)
        days = _local_days(times, declaration.zone)
    _check_days(frame, days, declaration)
    if DAY in frame.columns and not _same_days(frame[DAY], days):
        raise InvalidInput(
            f"Dataset {declaration.name}: the delivery's own column {DAY!r} differs from the day "
            f"told by {', '.join(declaration.day_columns)}.",
            next_step=f"Rename or drop {DAY!r}: it is the partition column of every dataset.",
        )
    if declaration.time is not None:
        frame = frame.with_columns(times)
    return frame.with_columns(days)


def _check_columns(frame: pl.DataFrame, declaration: DatasetDeclaration) -> None:
    for column in declaration.named_columns:
        if column not in frame.columns:
            raise InvalidInput(
                f"Dataset {declaration.name} declares the column {column!r}; "
                "the delivery has none of that name.",
                next_step=nearest(column, frame.columns),
            )


def read_times(series: pl.Series, declaration: DatasetDeclaration) -> pl.Series:
    """Instants in UTC (or plain dates, if all are); null where a value does not read as a time.

    >>> berlin = DatasetDeclaration("calls", time="at", zone="Europe/Berlin")
    >>> read_times(pl.Series("at", ["2013-07-01 00:30"]), berlin).dt.hour().to_list()
    [22]
    """
    kind = series.dtype
    if kind == pl.Date:
        return series
    if isinstance(kind, pl.Datetime):
        naive = kind.time_zone is None
        return _from_local(series, declaration.zone) if naive else _to_utc(series)
    text = null_missing(series, declaration.null_values)
    if kind != pl.String:
        return pl.Series(series.name, [None], dtype=UTC_TIME).new_from_index(0, len(series))
    if declaration.time_format is not None:
        return _read_format(text, declaration.time_format, declaration)
    dates = cast_series(text, DType.DATE)
    if dates.null_count() == text.null_count():
        return dates
    instants = cast_series(text, DType.DATETIME)  # takes times without an offset as UTC
    local = _from_local(instants.dt.replace_time_zone(None), declaration.zone)
    return instants.zip_with(text.str.contains(_OFFSET).fill_null(True), local)


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
        else _from_local(times, declaration.zone)
    )


def _to_utc(times: pl.Series) -> pl.Series:
    return times.dt.convert_time_zone("UTC").cast(UTC_TIME)


def _from_local(naive: pl.Series, zone: str) -> pl.Series:
    """Of an hour that comes twice, the first; one that never was is taken an hour later."""
    naive = naive.cast(pl.Datetime("us"))
    times = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    later = naive.dt.offset_by("1h").dt.replace_time_zone(
        zone, ambiguous="earliest", non_existent="null"
    )
    return _to_utc(times.zip_with(times.is_not_null(), later))


def _local_days(times: pl.Series, zone: str) -> pl.Series:
    days = times if times.dtype == pl.Date else times.dt.convert_time_zone(zone).dt.date()
    return days.alias(DAY)


def _days_of_triple(frame: pl.DataFrame, declaration: DatasetDeclaration) -> pl.Series:
    widths = zip(declaration.date, (4, 2, 2), strict=True)
    padded = [
        cast_series(frame[name], DType.INT).cast(pl.String).str.zfill(width).alias(str(at))
        for at, (name, width) in enumerate(widths)
    ]
    text = pl.DataFrame(padded).select(pl.concat_str(pl.all(), separator="-")).to_series()
    return text.str.to_date("%Y-%m-%d", strict=False).alias(DAY)


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
        next_step="Correct these rows, or declare time_format.",
    )


def _same_days(given: pl.Series, days: pl.Series) -> bool:
    if given.dtype == pl.String:
        given = cast_series(given, DType.DATE)
    return given.dtype == pl.Date and bool((given == days).fill_null(False).all())
