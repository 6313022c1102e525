"""What every batch of a delivery is held to, and the rows as the table has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from seamline.data.days import days_of_triple, with_day, with_local_times
from seamline.data.declaration import DAY, DatasetDeclaration
from seamline.measure.casting import POLARS_TYPES, UTC_TIME, DType, cast_series, null_missing
from seamline.measure.contracts import Contract, Policy, Violation, ViolationKind, check_rows
from seamline.measure.contracts.checking import Breach, CheckedRows
from seamline.measure.inference import dtype_of, wider

#: An event may be this far ahead of the clock: clocks differ, and days begin elsewhere sooner.
AHEAD = timedelta(days=1)
_EXAMPLES = 3


@dataclass(frozen=True)
class CheckedBatch:
    """`dated`: the rows as they came, with `ds`, and the time column read."""

    dated: pl.DataFrame
    checked: CheckedRows

    def mistyped(self) -> Iterator[Violation]:
        return (v for v in self.checked.violations if v.kind is ViolationKind.MISTYPED)


@dataclass(frozen=True)
class Terms:
    """`stored`: the columns of the table with their types, in order, where they are others than
    the contract's: a type that was broken under `warn` is wider from then on."""

    declaration: DatasetDeclaration
    contract: Contract
    now: datetime
    stored: Mapping[str, DType] = field(default_factory=dict)

    @property
    def schema(self) -> Mapping[str, DType]:
        """The columns of the table, without `ds`."""
        return self.stored or {column.name: column.dtype for column in self.contract.columns}

    @property
    def time_dtype(self) -> DType | None:
        name = self.declaration.time
        return next((c.dtype for c in self.contract.columns if c.name == name), None)

    def dated(self, frame: pl.DataFrame) -> pl.DataFrame:
        """With `ds`, the time column read, and all other times in UTC."""
        inserted_on = self.now.astimezone(ZoneInfo(self.declaration.zone)).date()
        dated = with_day(
            frame, self.declaration, inserted_on=inserted_on, time_dtype=self.time_dtype
        )
        times = (one.name for one in self.contract.columns if one.dtype is DType.DATETIME)
        others = (name for name in times if name != self.declaration.time)
        return with_local_times(dated, self.declaration, others)

    def check(self, frame: pl.DataFrame) -> CheckedBatch:
        dated = self.dated(frame)
        checked = check_rows(dated.drop(DAY), self.contract, day=dated[DAY])
        ahead = self._ahead(dated) if self.declaration.has_event_day else []
        return CheckedBatch(dated, CheckedRows(checked.breaches + ahead, checked.typed))

    def to_store(self, batch: CheckedBatch) -> pl.DataFrame:
        """All rows with `ds`, in the table's columns and types."""
        typed, dated = batch.checked.typed, batch.dated
        mistyped = {violation.column for violation in batch.mistyped()}
        columns, there = [], typed.schema  # made anew at each asking: a table can be wide
        for name, dtype in self.schema.items():
            kind = POLARS_TYPES[dtype]
            if name not in there:
                columns.append(pl.lit(None, kind).alias(name))
            elif there[name] == kind and name not in mistyped:
                columns.append(pl.col(name))
            else:
                columns.append(pl.lit(self._as_stored(dated[name], dtype)).alias(name))
        rows = typed if typed.width else dated
        if list(self.schema) != typed.columns or mistyped or typed.dtypes != _kinds(self.schema):
            rows = rows.select(columns)
        return rows.with_columns(dated[DAY])

    def type_changes(self, batch: CheckedBatch) -> dict[str, DType]:
        """Columns that break their type under a policy that takes them in all the same, and the
        type that holds what has come; none where the table's type holds it already."""
        found = {}
        for violation in batch.mistyped():
            name, column = violation.column, self.contract.column(violation.column)
            if column is None or violation.does not in (Policy.WARN, Policy.TRIGGER):
                continue
            raw = null_missing(batch.dated[name], self.contract.null_values)
            came = dtype_of(raw, parse=True, so_far=column.dtype) or column.dtype
            needed = wider(self.schema[name], came)
            if needed is not self.schema[name]:
                found[name] = needed
        return found

    def newest_event(self, batch: CheckedBatch) -> datetime | None:
        name = self.declaration.time
        dated = batch.dated
        times = days_of_triple(dated, self.declaration) if name is None else dated[name]
        newest = times.max()
        if isinstance(newest, datetime):
            return newest
        if newest is None:
            return None
        # A day is as old as its end.
        end = datetime.fromisoformat(str(newest)) + timedelta(days=1)
        return end.replace(tzinfo=ZoneInfo(self.declaration.zone))

    def _as_stored(self, series: pl.Series, dtype: DType) -> pl.Series:
        values = null_missing(series, self.contract.null_values)
        if dtype is not DType.STRING:
            return cast_series(values, dtype)
        return values if values.dtype == pl.String else values.cast(pl.String)

    def _ahead(self, dated: pl.DataFrame) -> list[Breach]:
        """Rows whose event lies further ahead than clocks differ."""
        declaration, latest = self.declaration, self.now + AHEAD
        name = declaration.time
        times = days_of_triple(dated, declaration) if name is None else dated[name]
        limit: object = latest if times.dtype == UTC_TIME else latest.date()
        late = (times > limit).fill_null(False)
        if not late.any():
            return []
        shown = times.filter(late).unique(maintain_order=True).head(_EXAMPLES).cast(pl.String)
        column = None if name is None else self.contract.column(name)
        violation = Violation(
            ViolationKind.FUTURE,
            ", ".join(declaration.day_columns),
            f"after {latest.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            count=int(late.sum()),
            rows=dated.height,
            examples=tuple(shown.to_list()),
            first_bad_day=str(dated[DAY].filter(late).cast(pl.String).min()),
            policy=self.contract.policy(None if column is None else column.on_breach),
        )
        return [Breach(violation, late)]


def _kinds(schema: Mapping[str, DType]) -> list[pl.DataType]:
    return [POLARS_TYPES[dtype] for dtype in schema.values()]
