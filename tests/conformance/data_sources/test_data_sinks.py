"""Every kind of sink, each a real one: rows arrive once, again is nothing, killed is finished."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from seamline.data.credentials import ANONYMOUS, Credentials
from seamline.data.declaration import DatasetDeclaration
from seamline.data.locations import parse_location
from seamline.data.sinks.exports import Export, export_of_frame
from seamline.data.sinks.sending import Form, decide_target, send
from seamline.data.sources.opening import open_source
from seamline.domain.errors import Conflict, Refused
from seamline.store.facts import read_facts
from seamline.store.stores import Stores

KINDS = [
    *(f"{place}-{form}" for place in ("s3", "file") for form in ("csv", "tsv", "parquet")),
    *(f"{place}-{form}" for place in ("s3", "file") for form in ("jsonl", "arrow")),
    *(f"{place}-{form}" for place in ("s3", "file") for form in ("folder", "delta")),
    *("postgresql-table", "mysql-table", "sqlite-table"),
]
IN_ONE_FILE = ("csv", "tsv", "parquet", "jsonl", "arrow")


def calls(*ids: int, say: str = "Ada, 'x' \"y\" 100%: é") -> pl.DataFrame:
    """One row per id; its day is the id-th of March."""
    days = pl.Series("ds", [date(2026, 3, one) for one in ids], dtype=pl.Date)
    frame = pl.DataFrame(
        {
            "id": pl.Series(ids, dtype=pl.Int64),
            "minutes": pl.Series([None if one % 2 else one / 4 for one in ids], dtype=pl.Float64),
            "who": pl.Series([say for _ in ids], dtype=pl.String),
            "paid": pl.Series([one % 2 == 0 for one in ids], dtype=pl.Boolean),
            "at": pl.Series([one * 86_400_000_000 + 1 for one in ids], dtype=pl.Int64).cast(
                pl.Datetime("us", "UTC")
            ),
        }
    )
    return frame.with_columns(days)


def export(frame: pl.DataFrame, what: str = "calls@1", **days: date) -> Export:
    return export_of_frame(what, frame, **days)


@dataclass(frozen=True)
class Sink:
    stores: Stores
    folder: Path
    uri: str
    form: Form | None
    table: str | None
    credentials: Credentials
    #: Puts something there that is not ours.
    intrude: Callable[[], object]

    def send(self, rows: Export) -> bool:
        target = decide_target(parse_location(self.uri), self.form, self.table)
        sent = send(self.stores, rows, target, self.folder, by="ada", credentials=self.credentials)
        assert sent.rows == rows.rows
        return sent.is_new

    def read(self) -> list[tuple[Any, ...]]:
        """(id, ds) of what lies there, as our own source reads it."""
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        declared = DatasetDeclaration("calls", source=self.uri, table=self.table, mode="replace")  # type: ignore[arg-type]
        delivery = open_source(self.uri, declared, folder, since=None, credentials=self.credentials)
        frame = pl.concat([pl.DataFrame(schema=delivery.schema), *delivery.batches()])
        return sorted((int(row["id"]), str(row["ds"])[:10]) for row in frame.to_dicts())


@pytest.fixture(params=KINDS)
def sink(request: pytest.FixtureRequest, tmp_path: Path, sqlite_stores: Stores) -> Sink:
    place, _, form = request.param.partition("-")
    folder = tmp_path / "spool"
    folder.mkdir()
    if form == "table":
        uri, run = open_database(place, request, tmp_path)

        def intrude() -> None:
            run("CREATE TABLE calls (id INTEGER)")
            run("INSERT INTO calls VALUES (99)")

        return Sink(sqlite_stores, folder, uri, None, "calls", ANONYMOUS, intrude)
    chosen = Form(form) if form in ("folder", "delta") else None
    name = f"out.{form}" if form in IN_ONE_FILE else f"out-{form}"
    foreign = name if form in IN_ONE_FILE else f"{name}/ds=2026-03-01/theirs.parquet"
    if place == "file":

        def intrude_here() -> None:
            (tmp_path / foreign).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / foreign).write_bytes(b"theirs")

        uri = f"file://{tmp_path}/{name}"
        return Sink(sqlite_stores, folder, uri, chosen, None, ANONYMOUS, intrude_here)
    bucket = request.getfixturevalue("bucket")
    return Sink(
        sqlite_stores,
        folder,
        f"{bucket.uri}/{name}",
        chosen,
        None,
        Credentials("lake", bucket.options),
        lambda: bucket.put(foreign, b"theirs"),
    )


def open_database(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[str, Callable[[str], object]]:
    if kind == "sqlite":
        path = tmp_path / "out.db"

        def run(sql: str) -> None:
            with sqlite3.connect(path) as connection:
                connection.execute(sql)
            connection.close()

        return f"sqlite://{path}", run
    if kind == "postgresql":
        uri = request.getfixturevalue("postgres_url").replace("+psycopg", "")

        def run_there(sql: str) -> None:
            with psycopg.connect(uri, autocommit=True) as connection:
                connection.execute(sql)

        return uri, run_there
    pymysql = pytest.importorskip("pymysql")
    address = request.getfixturevalue("mariadb_server")
    host, port = address.rpartition("@")[2].split(":")
    name = f"t{uuid.uuid4().hex[:12]}"

    def run_in(sql: str, database: str | None = name) -> None:
        with (
            pymysql.connect(
                host=host, port=int(port), user="root", database=database, autocommit=True
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)

    run_in(f"CREATE DATABASE {name}", None)
    return f"mysql://{address}/{name}", run_in


def days(*ids: int) -> list[tuple[int, str]]:
    return sorted((one, f"2026-03-{one:02}") for one in ids)


def test_rows_are_there_once(sink: Sink) -> None:
    assert sink.send(export(calls(1, 2, 3)))
    assert sink.read() == days(1, 2, 3)
    assert not sink.send(export(calls(1, 2, 3), what="calls@1 under another name"))
    assert sink.read() == days(1, 2, 3)
    with sink.stores.db.read() as connection:
        facts = list(read_facts(connection, kinds=["dataset.rows_exported"]))
    assert [(one.body["what"], one.body["rows"]) for one in facts] == [("calls@1", 3)]


def test_the_next_version_takes_the_place_of_the_one_before(sink: Sink) -> None:
    sink.send(export(calls(1, 2, 3)))
    assert sink.send(export(calls(2, 3, 4), what="calls@2"))
    assert sink.read() == days(2, 3, 4)
    assert sink.send(export(calls(1, 2, 3))), "back again is new again"
    assert sink.read() == days(1, 2, 3)


def test_some_days_leave_the_others_as_they_are(sink: Sink) -> None:
    since, until = date(2026, 3, 2), date(2026, 3, 4)
    sink.send(export(calls(1, 2, 3, 4)))
    some = export(calls(3, 3), since=since, until=until)
    assert sink.send(some)
    if sink.form is None and sink.table is None:  # one file is one export
        assert sink.read() == days(3, 3)
    else:
        assert sink.read() == days(1, 3, 3, 4)
    assert not sink.send(some)


def test_an_export_that_was_cut_off_is_finished_by_the_next(sink: Sink) -> None:
    sink.send(export(calls(1, 2)))
    whole = export(calls(2, 3, 4, 5), what="calls@2")

    def die() -> bytes:
        raise ConnectionResetError("the power went")

    cut = replace(whole, files=(*whole.files[:2], replace(whole.files[2], load=die)))
    with pytest.raises(Exception, match="the power went"):
        sink.send(cut)
    if sink.form is not Form.FOLDER:  # where files are seen as they come
        assert sink.read() == days(1, 2)
    assert sink.send(whole)
    assert sink.read() == days(2, 3, 4, 5)


def test_nothing_that_is_not_ours_is_touched(sink: Sink) -> None:
    sink.intrude()
    if sink.form is Form.DELTA:  # files beside a table are no part of it
        assert sink.send(export(calls(1)))
        return
    with pytest.raises((Conflict, Refused)):
        sink.send(export(calls(1)))


def test_no_rows(sink: Sink) -> None:
    assert sink.send(export(calls()))
    if sink.form is not Form.FOLDER and not sink.uri.endswith(".jsonl"):
        assert sink.read() == []
    assert sink.send(export(calls(1), what="calls@2"))
    assert sink.read() == days(1)


def test_duckdb_reads_the_delta_table_that_left(tmp_path: Path, sqlite_stores: Stores) -> None:
    """By its own Delta reader, which has nothing in common with what wrote the table."""
    duckdb = pytest.importorskip("duckdb")
    packed = pytest.importorskip("duckdb_extension_delta")
    (extension,) = Path(packed.__path__[0]).rglob("delta.duckdb_extension")
    target = decide_target(parse_location(f"file://{tmp_path}/calls"), Form.DELTA, None)
    for rows in (calls(1, 2), calls(2, 3)):
        send(sqlite_stores, export(rows), target, tmp_path, by="ada")
    with duckdb.connect() as connection:
        connection.load_extension(str(extension))
        found = connection.sql(f"SELECT id, ds FROM delta_scan('{tmp_path}/calls') ORDER BY id")
        assert found.fetchall() == [(2, date(2026, 3, 2)), (3, date(2026, 3, 3))]
