"""Rows with the labels that were known at one moment: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from seamline.data.days import from_local
from seamline.data.declaration import DAY
from seamline.data.labels.definition import LabelsDeclaration
from seamline.domain.errors import InvalidInput
from seamline.measure.casting import UTC_TIME

_ROW, _AT, _UPTO, _HAPPENED, _ARRIVED = "_row", "_at", "_upto", "_happened", "_arrived"
#: The column that says when a row's label came in.
KNOWN_AT = "label_known_at"


@dataclass(frozen=True)
class AsOf:
    """The moment that is asked about: what happened, or came in, after it is not there."""

    at: datetime

    @property
    def utc(self) -> datetime:
        """Polars knows no offsets, only zones."""
        return self.at.astimezone(UTC)

    @property
    def literal(self) -> pl.Expr:
        return pl.lit(self.utc).cast(UTC_TIME)


def known_labels(
    labels: pl.DataFrame, definition: LabelsDeclaration, as_of: AsOf, *, zone: str = "UTC"
) -> pl.DataFrame:
    """Those that had come in by then, in the order that the join needs.

    A day without a time is over before it is known: what is told by it came in at its end, in the
    `zone` of their dataset.
    """
    _check_columns(labels, definition)
    arrived = definition.arrived or definition.time
    timed = labels.with_columns(
        instants(labels[definition.time], zone).alias(_HAPPENED),
        instants(labels[arrived], zone, at_end=True).alias(_ARRIVED),
    )
    is_whole = pl.all_horizontal(pl.col([*definition.keys, _HAPPENED, _ARRIVED]).is_not_null())
    # What happened after the moment cannot be known then, whatever its arrival says.
    is_known = (pl.col(_ARRIVED) <= as_of.literal) & (pl.col(_HAPPENED) <= as_of.literal)
    known = timed.filter(is_whole & is_known).sort(_HAPPENED, _ARRIVED, maintain_order=True)
    return known.select(*definition.keys, *definition.values, _HAPPENED, _ARRIVED)


def join_labels(
    rows: pl.DataFrame,
    known: pl.DataFrame,
    definition: LabelsDeclaration,
    as_of: AsOf,
    time: str,
    *,
    zone: str = "UTC",
) -> pl.DataFrame:
    """The rows whose time is not after `as_of`, in their order, with the labels' values (null:
    none was known) and `label_known_at`. `known` is `known_labels`' for the same moment.

    >>> said = LabelsDeclaration("late", keys=("id",), time="at", values=("label",), horizon="7d")
    >>> def day(n):
    ...     return datetime.fromisoformat(f"2026-03-{n:02}T00:00:00+00:00")
    >>> rows = pl.DataFrame({"id": [1, 2], "seen": [day(1), day(2)]})
    >>> labels = pl.DataFrame({"id": [1, 2], "at": [day(3), day(5)], "label": ["yes", "no"]})
    >>> def ask(n):
    ...     known = known_labels(labels, said, AsOf(day(n)))
    ...     return join_labels(rows, known, said, AsOf(day(n)), "seen")["label"].to_list()
    >>> ask(1), ask(4), ask(9)
    ([None], ['yes', None], ['yes', 'no'])
    """
    taken = sorted({*definition.values, KNOWN_AT} & set(rows.columns))
    if taken:
        raise InvalidInput(
            f"The rows have columns called like the labels': {', '.join(taken)}.",
            next_step="Name other columns to read, or call the labels' values differently.",
        )
    timed = rows.with_columns(instants(rows[time], zone).alias(_AT)).with_row_index(_ROW)
    is_there = instants(rows[time], zone, at_end=True) <= as_of.utc
    timed = timed.filter(is_there.fill_null(False))
    upto = as_of.literal
    if definition.horizon_s is not None:
        end = pl.col(_AT) + pl.lit(timedelta(seconds=definition.horizon_s))
        upto = pl.min_horizontal(end, upto)
    keys = list(definition.keys)
    joined = (
        timed.with_columns(upto.cast(UTC_TIME).alias(_UPTO))
        .sort(_UPTO, maintain_order=True)
        .join_asof(known, left_on=_UPTO, right_on=_HAPPENED, by=keys, strategy="backward")
        .sort(_ROW)
    )
    # The last label up to the end of the horizon; one from before the row is not about it.
    is_later = pl.col(_HAPPENED) >= pl.col(_AT)
    names = [*definition.values, _ARRIVED]
    found = joined.with_columns(pl.when(is_later).then(pl.col(name)).alias(name) for name in names)
    return found.rename({_ARRIVED: KNOWN_AT}).select(*rows.columns, *definition.values, KNOWN_AT)


def time_column(declared_time: str | None) -> str:
    """Where no column tells the time of a row, its day does."""
    return DAY if declared_time is None else declared_time


def instants(series: pl.Series, zone: str = "UTC", *, at_end: bool = False) -> pl.Series:
    """UTC instants; of a day of the zone its first, or its last.

    >>> from datetime import date
    >>> day = pl.Series([date(2026, 3, 1)])
    >>> str(instants(day, "America/New_York", at_end=True)[0])
    '2026-03-02 05:00:00+00:00'
    """
    if series.dtype == pl.Date:
        return from_local(series.dt.offset_by("1d") if at_end else series, zone)
    if not isinstance(series.dtype, pl.Datetime):
        raise InvalidInput(
            f"The column {series.name!r} holds {series.dtype} values and no times.",
            next_step="Declare it as the dataset's time, so that it is read as one.",
        )
    return series.cast(UTC_TIME)


def _check_columns(labels: pl.DataFrame, definition: LabelsDeclaration) -> None:
    lacking = sorted(set(definition.columns) - set(labels.columns))
    if lacking:
        raise InvalidInput(
            f"The labels of {definition.dataset} lack the columns {', '.join(lacking)}.",
            next_step="Name columns that the dataset has.",
        )
