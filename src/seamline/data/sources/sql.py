"""Rows of a SQL query or table, streamed from a server-side cursor into a spool."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, bindparam
from sqlalchemy.exc import SQLAlchemyError

from seamline.data.credentials import ANONYMOUS, Credentials
from seamline.data.databases import open_database, quoted_table, telling
from seamline.data.locations import Location
from seamline.data.sources.batches import Delivery, check_columns, spool
from seamline.data.sources.sql_types import ALIAS, SqlColumn, columns_of, select_all, select_from
from seamline.data.sources.watermarks import (
    Reader,
    Value,
    Watermark,
    is_earlier,
    parse_start,
    read_mark,
)
from seamline.domain.errors import InvalidInput, Refused, nearest

FETCH_ROWS = 10_000


@dataclass(frozen=True)
class SqlRequest:
    """Exactly one of `table` and `query`. `since` is a column that only grows: rows are new when
    theirs is not below the last value seen. `order` makes the same rows the same delivery,
    whatever order the database keeps them in; without it all columns do."""

    table: str | None = None
    query: str | None = None
    since: str | None = None
    order: tuple[str, ...] = ()

    def check(self, what: str) -> None:
        if (self.table is None) == (self.query is None):
            raise InvalidInput(
                f"{what} has to name either a table or a query.",
                next_step='Write table = "NAME" or query = "SELECT …".',
            )


def read_sql(
    location: Location,
    request: SqlRequest,
    folder: Path,
    *,
    credentials: Credentials = ANONYMOUS,
    watermark: str | None = None,
    start: str | None = None,
    tell: Callable[[int], None] | None = None,
) -> Delivery:
    """One delivery of all rows, or of those after `watermark`; `tell` hears of rows that came."""
    request.check(location.bare)
    before = None
    if watermark is not None and request.since is not None:
        before = read_mark(Watermark.from_text, watermark, location.bare)
    reading = _Reading(location, request, before, start)
    with (
        open_database(location, credentials) as engine,
        telling(location, credentials, "cannot be read"),
        engine.connect() as connection,
        closing(reading.frames(connection, tell)) as frames,
    ):
        delivery = spool(frames, folder / "rows.arrow", name=location.bare, asked=reading.asked())
    check_columns(location.bare, delivery.schema)
    return reading.finish(delivery, watermark)


class _Reading:
    def __init__(
        self, location: Location, request: SqlRequest, before: Watermark | None, start: str | None
    ) -> None:
        self._location, self._request, self._before = location, request, before
        self._start = start
        self._reader: Reader | None = None
        if before is not None and before.column != request.since:
            raise Refused(
                f"{location.bare} was read by {before.column}, and is now declared with since = "
                f'"{request.since}": which rows are new cannot be told.',
                next_step=f'Declare since = "{before.column}", or start a dataset of another name.',
            )

    def asked(self) -> str:
        """What the delivery's digest stands on beside its rows; a window is another delivery."""
        window = "" if self._before is None else self._before.to_text()
        return f"{self._location.bare}\n{self._request.table or self._request.query}\n{window}"

    def frames(
        self, connection: Connection, tell: Callable[[int], None] | None
    ) -> Generator[pl.DataFrame]:
        base = self._base(connection)
        columns = self._columns(connection, base)
        begins_at = self._begins_at(columns)
        if self._request.since is not None:
            ahead = self._before is not None and begins_at != self._before.value
            self._reader = Reader(self._request.since, self._before, skips_ahead=ahead)
        statement, values = self._statement(connection, base, columns, begins_at)
        streamed = connection.execution_options(stream_results=True, max_row_buffer=FETCH_ROWS)
        came = 0
        with streamed.execute(statement, values) as rows:
            while chunk := rows.fetchmany(FETCH_ROWS):
                parts = zip(columns, zip(*chunk, strict=True), strict=True)
                frame = pl.DataFrame([column.series(part) for column, part in parts])
                came += frame.height
                if tell is not None:
                    tell(came)
                yield frame if self._reader is None else self._reader.new_rows(frame)
        if not came:
            yield pl.DataFrame(schema={column.name: column.dtype for column in columns})

    def finish(self, delivery: Delivery, follows: str | None) -> Delivery:
        if self._reader is None:
            return delivery
        after = self._reader.watermark()
        text_of = follows if after is None else after.to_text()
        return replace(delivery, watermark=text_of, follows=follows)

    def _base(self, connection: Connection) -> str:
        """In parentheses only a query can stand: nothing that writes, and only one."""
        if self._request.table is not None:
            query = select_all(quoted_table(connection, self._request.table))
        else:
            query = (self._request.query or "").strip().removesuffix(";")
        return query.replace(":", r"\:")  # no parameter of ours

    def _columns(self, connection: Connection, base: str) -> tuple[SqlColumn, ...]:
        try:
            found = connection.execute(select_from(base, rest=" WHERE 1 = 0"))
        except SQLAlchemyError as error:
            raise InvalidInput(
                f"{self._location.bare} does not take the query: {_why(error)}.",
                next_step="Correct table or query; it has to be one SELECT.",
            ) from None
        columns = columns_of(connection, found.cursor, base)
        found.close()
        names = [column.name for column in columns]
        check_columns(self._location.bare, names)
        for name in (*self._request.order, self._request.since):
            if name is not None and name not in names:
                raise InvalidInput(
                    f"{self._location.bare} has no column {name!r}.",
                    next_step=nearest(name, names),
                )
        return columns

    def _statement(
        self,
        connection: Connection,
        base: str,
        columns: tuple[SqlColumn, ...],
        begins_at: Value | None,
    ) -> tuple[Any, dict[str, Value]]:
        quote = connection.dialect.identifier_preparer.quote_identifier
        where, values = "", dict[str, Value]()
        if self._request.since is not None and begins_at is not None:
            since, values = quote(self._request.since), {"begins_at": begins_at}
            ordered_by, mark = _bytewise(connection, since, begins_at)
            where = f" WHERE {ordered_by} >= {mark}"
            if self._start is None:  # rows that have none would never be seen again
                where += f" OR {since} IS NULL"
        if self._request.order:
            ordered = ", ".join(map(quote, self._request.order))
        elif connection.dialect.name == "postgresql":  # where not every type has an order
            ordered = f'CAST({ALIAS} AS text) COLLATE "C"'
        else:
            ordered = ", ".join(quote(column.name) for column in columns)
        made = select_from(base, rest=f"{where} ORDER BY {ordered}")
        return made.bindparams(*map(bindparam, values)), values

    def _begins_at(self, columns: tuple[SqlColumn, ...]) -> Value | None:
        before = None if self._before is None else self._before.value
        if self._start is None or self._request.since is None:
            return before
        kind = next(one.dtype for one in columns if one.name == self._request.since)
        given = parse_start(self._start, kind)
        if before is not None and is_earlier(given, before):
            raise Refused(
                f"--since {self._start} is before {before}, up to which rows were read: these "
                "would come twice.",
                next_step='Leave --since out, or declare mode = "replace".',
            )
        return given


def _bytewise(connection: Connection, column: str, value: Value) -> tuple[str, str]:
    """Column and parameter in the order in which we look for the last value: that of bytes, where
    a database has texts in the order of some language."""
    if not isinstance(value, str):
        return column, ":begins_at"
    match connection.dialect.name:
        case "postgresql":
            return f'CAST({column} AS text) COLLATE "C"', ":begins_at"
        case "sqlite":
            return f"{column} COLLATE BINARY", ":begins_at"
    return f"CAST({column} AS BINARY)", "CAST(:begins_at AS BINARY)"


def _why(error: SQLAlchemyError) -> str:
    told = str(getattr(error, "orig", error) or error)
    return " ".join(told.split()).rstrip(".")[:300]
