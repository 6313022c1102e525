"""Tables of SQL databases: rows and mark in one transaction, so they are there once or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Double,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from seamline.data.credentials import Credentials
from seamline.data.databases import open_database, telling
from seamline.data.declaration import DAY
from seamline.data.locations import Location
from seamline.data.sinks.exports import Export
from seamline.data.sinks.marks import Sent, foreign
from seamline.domain.clock import Clock, iso
from seamline.domain.errors import InvalidInput, Refused

#: Where a database keeps which export each table holds.
MARKS = "seamline_exports"
#: Before and after every day.
_FIRST, _LAST = "", "9999-99-99"
_MOMENT = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql")
_TYPES: Mapping[Any, TypeEngine[Any]] = {
    pl.Int64: BigInteger(),
    pl.Float64: Double(),
    pl.String: Text().with_variant(mysql.LONGTEXT(), "mysql"),
    pl.Boolean: Boolean(),
    pl.Date: Date(),
    pl.Datetime: _MOMENT,
}
_INSERT_ROWS = 5_000
_COPIED_TIME = "%Y-%m-%d %H:%M:%S%.6f+00"


def send_table(
    location: Location, credentials: Credentials, export: Export, table: str, clock: Clock
) -> Sent:
    """Replaces the table's rows, or those of the export's days. The table is made where there is
    none; one that somebody else made is left as it is."""
    with (
        open_database(location, credentials, writing=True) as engine,
        telling(location, credentials, "cannot be written"),
    ):
        target, marks = _tables(engine, export, table)
        _check_ours(engine, location, target, marks)
        # Before the transaction: in MySQL, making a table ends one.
        MetaData.create_all(target.metadata, engine)
        with engine.begin() as tx:
            return _replace(tx, target, marks, export, clock)


def _tables(engine: Engine, export: Export, name: str) -> tuple[Table, Table]:
    schema, _, own = name.rpartition(".")
    if not own or "." in schema or len(own) > 63:
        raise InvalidInput(
            f"{name!r} is no table's name.", next_step="Write TABLE or SCHEMA.TABLE."
        )
    metadata = MetaData(schema=schema or None)
    columns = [Column(column, _type_of(dtype)) for column, dtype in export.schema.items()]
    marks = Table(
        MARKS,
        metadata,
        Column("table_name", String(63), primary_key=True),
        Column("since", String(10), primary_key=True),
        Column("until", String(10), primary_key=True),
        Column("digest", String(71), nullable=False),
        Column("what", String(200), nullable=False),
        Column("row_count", BigInteger, nullable=False),
        Column("exported_at", String(27), nullable=False),
    )
    return Table(own, metadata, *columns), marks


def _type_of(dtype: pl.DataType) -> TypeEngine[Any]:
    base = pl.Int64 if dtype.is_integer() else pl.Float64 if dtype.is_float() else dtype.base_type()
    return _TYPES.get(base, _TYPES[pl.String])


def _check_ours(engine: Engine, location: Location, target: Table, marks: Table) -> None:
    seen = inspect(engine)
    if not seen.has_table(target.name, schema=target.schema):
        return
    where = f"Table {target.name} of {location.bare}"
    with engine.connect() as connection:
        marked = (
            seen.has_table(MARKS, schema=marks.schema)
            and connection.execute(
                select(func.count()).where(marks.c.table_name == target.name)
            ).scalar_one()
        )
        # A table that was made for us, and is empty, may be filled.
        if not marked and connection.execute(select(func.count()).select_from(target)).scalar_one():
            raise foreign(where)
    there = {column["name"] for column in seen.get_columns(target.name, schema=target.schema)}
    wanted = set(target.c.keys())
    if there != wanted:
        raise Refused(
            f"{where} has other columns than the export: {', '.join(sorted(there ^ wanted)[:8])}.",
            next_step="Alter or drop it, or export to a table of another name.",
        )


def _replace(tx: Connection, target: Table, marks: Table, export: Export, clock: Clock) -> Sent:
    since = _FIRST if export.since is None else export.since.isoformat()
    until = _LAST if export.until is None else export.until.isoformat()
    own = (marks.c.table_name == target.name, marks.c.since < until, marks.c.until > since)
    held = tx.execute(select(marks).where(*own).with_for_update()).mappings().all()
    if [(one["since"], one["until"], one["digest"]) for one in held] == [
        (since, until, export.digest)
    ]:
        return Sent(export.rows, is_new=False)
    tx.execute(delete(marks).where(*own))
    tx.execute(delete(target).where(*_days(target, export)))
    fill = _copy if tx.dialect.name == "postgresql" else _insert
    for frame in export.batches():
        fill(tx, target, _plain(frame))
    tx.execute(
        insert(marks).values(
            table_name=target.name,
            since=since,
            until=until,
            digest=export.digest,
            what=export.what[:200],
            row_count=export.rows,
            exported_at=iso(clock.now()),
        )
    )
    return Sent(export.rows, is_new=True)


def _insert(tx: Connection, target: Table, frame: pl.DataFrame) -> None:
    for part in frame.iter_slices(_INSERT_ROWS):
        tx.execute(insert(target), part.to_dicts())


def _copy(tx: Connection, target: Table, frame: pl.DataFrame) -> None:
    """PostgreSQL takes CSV several times faster than rows; an empty text is quoted, none is not."""
    prepare = tx.dialect.identifier_preparer
    columns = ", ".join(map(prepare.quote_identifier, frame.columns))
    words = f"COPY {prepare.format_table(target)} ({columns}) FROM STDIN WITH (FORMAT csv)"
    driver: Any = tx.connection.cursor()
    with driver as cursor, cursor.copy(words) as copying:
        copying.write(frame.write_csv(include_header=False, datetime_format=_COPIED_TIME).encode())


def _days(target: Table, export: Export) -> Sequence[Any]:
    day = target.c[DAY]
    since = () if export.since is None else (day >= export.since,)
    return since if export.until is None else (*since, day < export.until)


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """What has no column type of its own leaves as text (JSON for lists and structures)."""
    odd = {
        name
        for name, dtype in frame.schema.items()
        if dtype.base_type() not in _TYPES and not dtype.is_numeric()
    }
    nested = [name for name in odd if frame.schema[name].is_nested()]
    columns = [pl.col(name).map_elements(str, return_dtype=pl.String) for name in nested]
    return frame.with_columns(*columns, *(pl.col(n).cast(pl.String) for n in odd - set(nested)))
