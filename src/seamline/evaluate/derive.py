"""Slices that no column holds: the hour of a time, bins of a number, pairs of slices. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.evaluate.expressions import check_column, check_names
from seamline.measure.casting import DType, cast_series
from seamline.measure.evaluation.cells import MISSING_SLICE
from seamline.measure.wording import write_apart

#: Between the two names of a pair, and between its two values: `origin*hour`, `JFK*5`.
PAIR = "*"
#: Of one slice: whoever asks for more has named a key, and no group that anybody could act on.
MAX_VALUES = 1_000
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class By(StrEnum):
    """What a derived slice takes of its column."""

    HOUR = "hour"
    WEEKDAY = "weekday"
    MONTH = "month"
    BINS = "bins"


@dataclass(frozen=True)
class Derived:
    """A slice that no column holds, made of one: a part of its time, or bins of its number."""

    #: Column that it is made of.
    column: str
    #: Of a time or day: `hour`, `weekday` (Mon to Sun) or `month` (1 to 12); `bins` of a number.
    by: By
    #: Into how many groups of about equal size a number is cut.
    bins: int = 5

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= 50:
            raise InvalidInput(
                f"A number cannot be cut into {self.bins} bins.", next_step="Give 2 to 50."
            )


def slice_labels(
    frame: pl.DataFrame,
    slices: Sequence[str],
    derived: Mapping[str, Derived],
    *,
    is_search: bool = False,
) -> dict[str, pl.Series]:
    """One label (text or number) per row for each slice: a column, a derived name or a pair.

    A missing value is a slice of its own. Raises InvalidInput for a column that is not there, and
    for a slice of more than 1,000 values; a search cuts and groups what has more.

    >>> rows = pl.DataFrame({"origin": ["JFK", None], "at": ["2013-07-01T05:30:00", None]})
    >>> made = slice_labels(rows, ["origin*hour"], {"hour": Derived("at", By.HOUR)})
    >>> made["origin*hour"].to_list()
    ['JFK*5', '(missing)*(missing)']
    """
    single = {
        part: _single(frame, part, derived)
        for name in slices
        for part in dict.fromkeys(name.split(PAIR))
    }
    made = {name: _joined([single[part] for part in name.split(PAIR)]) for name in slices}
    for name, labels in made.items():
        n = labels.n_unique()
        if n > MAX_VALUES and not is_search:
            raise InvalidInput(
                f"Slice {name!r} has {n:,} values; {MAX_VALUES:,} are the most.",
                next_step="Cut a number into bins (derived), or name a column of fewer values.",
            )
    return made


def _single(frame: pl.DataFrame, name: str, derived: Mapping[str, Derived]) -> pl.Series:
    known = [column for column in frame.columns if not column.startswith("\0")]
    how = derived.get(name)
    if how is None:
        check_column(name, [*known, *derived], "Slices: there is")
        check_names(frame, name, "Slices")
        return frame[name]
    check_column(how.column, known, f"Derived slice {name!r}: there is")
    values = frame[how.column]
    return _bins(name, values, how.bins) if how.by is By.BINS else _part(name, values, how.by)


def _joined(parts: Sequence[pl.Series]) -> pl.Series:
    if len(parts) == 1:
        return parts[0]
    texts = [
        part.cast(pl.String).fill_null(MISSING_SLICE).alias(str(n)) for n, part in enumerate(parts)
    ]
    return pl.DataFrame(texts).select(pl.concat_str(pl.all(), separator=PAIR)).to_series()


#: A time of the day has an hour only, a day none; how long something took has neither.
_PARTS_OF: Mapping[By, tuple[type[pl.DataType], ...]] = MappingProxyType(
    {
        By.HOUR: (pl.Datetime, pl.Time),
        By.WEEKDAY: (pl.Datetime, pl.Date),
        By.MONTH: (pl.Datetime, pl.Date),
    }
)


def _part(name: str, values: pl.Series, by: By) -> pl.Series:
    times = values
    if values.dtype == pl.String:
        times = cast_series(values, DType.DATETIME)
    if not any(times.dtype == known for known in _PARTS_OF[by]):
        raise InvalidInput(
            f"Derived slice {name!r}: {values.name!r} is {values.dtype}, which has no {by}.",
            next_step="Name a column of times (ISO 8601), or write bins for a number.",
        )
    if len(values) and times.null_count() == len(values) > values.null_count():
        raise InvalidInput(
            f"Derived slice {name!r}: none of {len(values):,} values of {values.name!r} reads as "
            f"a time, e.g. {values.drop_nulls()[0]!r}.",
            next_step="Write times as ISO 8601: 2013-07-01T05:30:00.",
        )
    if by is By.HOUR:
        return times.dt.hour()
    if by is By.MONTH:
        return times.dt.month()
    numbers = times.dt.weekday() - 1
    return numbers.replace_strict(range(7), WEEKDAYS, return_dtype=pl.String, default=None)


def _bins(name: str, values: pl.Series, bins: int) -> pl.Series:
    """Named by their edges: `10..25` holds 10 and not 25, the last holds both."""
    if not values.dtype.is_numeric():
        raise InvalidInput(
            f"Derived slice {name!r}: {values.name!r} is {values.dtype}, not a number.",
            next_step="Name it as a slice as it is, or take the hour, weekday or month of a time.",
        )
    numbers = values.cast(pl.Float64).fill_nan(None)
    known = numbers.drop_nulls()
    if not len(known):
        return pl.repeat(None, len(values), eager=True, dtype=pl.String)
    quantiles = [known.quantile(n / bins, "nearest") for n in range(bins + 1)]
    edges = sorted({float(one) for one in quantiles if one is not None})
    if len(edges) == 1:
        return numbers.cast(pl.String)
    labels = [f"{low}..{high}" for low, high in itertools.pairwise(write_apart(edges))]
    codes = np.searchsorted(np.asarray(edges[1:-1]), numbers.fill_null(edges[0]), "right")
    named = pl.Series(labels, dtype=pl.String).gather(pl.Series(codes.astype(np.uint32)))
    return pl.select(pl.when(numbers.is_not_null()).then(named)).to_series()
