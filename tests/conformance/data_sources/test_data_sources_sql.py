"""SQL databases as sources: PostgreSQL, MariaDB (MySQL's protocol) and SQLite, each a real one."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import psycopg
import pytest

from seamline.data.credentials import Credentials
from seamline.data.locations import parse_location
from seamline.data.sources.batches import Delivery
from seamline.data.sources.sql import SqlRequest, read_sql
from seamline.domain.errors import Conflict, InvalidInput, Refused, Unavailable

ROWS = [
    (1, 3.5, "Ada", date(2026, 3, 1), "2026-03-01 10:00:00"),
    (2, None, "n/a", date(2026, 3, 2), "2026-03-02 10:00:00"),
    (3, 0.25, "Grace: 'x' 100%", None, "2026-03-02 10:00:00"),
]
TYPES = {
    "postgresql": ("bigint", "numeric(10,2)", "text", "date", "timestamptz"),
    "mysql": ("BIGINT", "DECIMAL(10,2)", "TEXT", "DATE", "TIMESTAMP"),
    "sqlite": ("INTEGER", "REAL", "TEXT", "TEXT", "TEXT"),
}


@dataclass(frozen=True)
class Database:
    uri: str
    run: Callable[..., None]

    @property
    def scheme(self) -> str:
        return self.uri.partition(":")[0]

    def make_calls(self, *rows: tuple[object, ...]) -> None:
        id_, minutes, who, day, at = TYPES[self.scheme]
        self.run(f"CREATE TABLE calls (id {id_}, minutes {minutes}, who {who}, day {day}, at {at})")
        self.add(*(rows or ROWS))

    def add(self, *rows: tuple[object, ...]) -> None:
        for row in rows:
            values = ", ".join("NULL" if v is None else repr(str(v)) for v in row[:2])
            texts = ", ".join(
                "NULL" if v is None else "'" + str(v).replace("'", "''") + "'" for v in row[2:]
            )
            numbers = values.replace("'", "")
            self.run(f"INSERT INTO calls VALUES ({numbers}, {texts})")


@pytest.fixture(params=["postgresql", "mysql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        uri = request.getfixturevalue("postgres_url").replace("+psycopg", "")
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("SET time zone 'UTC'")
            yield Database(uri, lambda sql: connection.execute(sql) and None)
    elif request.param == "mysql":
        pymysql = pytest.importorskip("pymysql")
        address = request.getfixturevalue("mariadb_server")
        user, _, host = address.partition("@")
        name = f"t{uuid.uuid4().hex[:12]}"
        server, port = host.split(":")
        opened = pymysql.connect(host=server, port=int(port), user=user, autocommit=True)
        with opened, opened.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute(f"USE {name}")
            cursor.execute("SET time_zone = '+00:00'")
            yield Database(f"mysql://{address}/{name}", lambda sql: cursor.execute(sql) and None)
    else:
        path = tmp_path / "calls.db"
        with sqlite3.connect(path, isolation_level=None) as made:
            yield Database(f"sqlite://{path}", lambda sql: made.execute(sql) and None)
        made.close()


@pytest.fixture
def read(database: Database, tmp_path: Path) -> Callable[..., Delivery]:
    def read_it(
        *, watermark: str | None = None, start: str | None = None, **request: object
    ) -> Delivery:
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        location = parse_location(database.uri)
        wanted = SqlRequest(**({"table": "calls"} | request))  # type: ignore[arg-type]
        return read_sql(location, wanted, folder, watermark=watermark, start=start)

    return read_it


def rows_of(delivery: Delivery) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=delivery.schema), *delivery.batches()])


def test_whole_digits_are_not_rounded_away(
    database: Database, read: Callable[..., Delivery]
) -> None:
    if database.scheme == "sqlite":
        pytest.skip("SQLite has no decimals")
    database.run("CREATE TABLE orders (id NUMERIC(20, 0), price NUMERIC(8, 2))")
    database.run("INSERT INTO orders VALUES (9007199254740992, 0.1)")
    assert rows_of(read(table="orders")).rows() == [(9007199254740992.0, 0.1)]
    database.run("INSERT INTO orders VALUES (12345678901234567890, 0.1)")
    with pytest.raises(InvalidInput, match="'id': 12345678901234567890 has more digits"):
        read(table="orders")
    query = "SELECT CAST(id AS char(20)) AS id FROM orders"
    assert "12345678901234567890" in rows_of(read(table=None, query=query))["id"].to_list()


def test_a_table_comes_with_its_types(database: Database, read: Callable[..., Delivery]) -> None:
    database.make_calls()
    delivery = read(order=("id",))
    frame = rows_of(delivery)
    assert frame["id"].to_list() == [1, 2, 3]
    assert frame["minutes"].to_list() == [3.5, None, 0.25]
    assert frame["who"].to_list() == ["Ada", "n/a", "Grace: 'x' 100%"]
    if database.scheme == "sqlite":  # which has no dates
        assert frame["day"].to_list()[0] == "2026-03-01"
    else:
        assert frame.schema["at"] == pl.Datetime("us", "UTC")
        assert frame["at"][0] == datetime(2026, 3, 1, 10, tzinfo=UTC)
        assert frame["day"].to_list() == [date(2026, 3, 1), date(2026, 3, 2), None]
    assert rows_of(delivery).equals(frame), "batches() starts anew at each call"


def test_the_same_rows_are_the_same_delivery_whatever_their_order(
    database: Database, read: Callable[..., Delivery]
) -> None:
    database.make_calls(*ROWS)
    first = read()
    database.run("DELETE FROM calls")
    database.add(*reversed(ROWS))
    assert read().digest == first.digest
    database.add((4, 1, "Joan", None, "2026-03-03 10:00:00"))
    assert read().digest != first.digest


def test_a_query_is_taken_as_it_is_written(
    database: Database, read: Callable[..., Delivery]
) -> None:
    database.make_calls()
    query = "SELECT id, who AS name FROM calls -- all: of 'them'\nWHERE who LIKE '%:%' -- 100%\n;"
    assert rows_of(read(table=None, query=query)).rows() == [(3, "Grace: 'x' 100%")]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM calls",
        "SELECT 1 AS a; DELETE FROM calls",
        "SELECT id FROM calls) AS x; DELETE FROM calls; SELECT * FROM (SELECT 1 AS a",
        "SELECT nothing FROM calls",
    ],
)
def test_a_query_that_is_no_select_is_refused_and_nothing_is_written(
    database: Database, read: Callable[..., Delivery], query: str
) -> None:
    database.make_calls()
    with pytest.raises((InvalidInput, Unavailable)):
        read(table=None, query=query)
    assert rows_of(read()).height == 3


def test_only_new_rows_come_after_the_watermark(
    database: Database, read: Callable[..., Delivery]
) -> None:
    database.make_calls()
    first = read(since="at")
    assert first.rows == 3 and first.follows is None
    again = read(since="at", watermark=first.watermark)
    assert (again.rows, again.watermark, again.follows) == (0, first.watermark, first.watermark)
    # One more of the very last moment, which had two rows already; and a later one.
    database.add((4, 1, "late", None, "2026-03-02 10:00:00"))
    database.add((5, 1, "later", None, "2026-03-04 10:00:00"))
    second = read(since="at", watermark=first.watermark)
    assert sorted(rows_of(second)["id"]) == [4, 5]
    assert read(since="at", watermark=second.watermark).rows == 0


def test_whole_numbers_can_tell_what_is_new_and_a_start_can_be_given(
    database: Database, read: Callable[..., Delivery]
) -> None:
    database.make_calls()
    first = read(since="id", start="2")
    assert sorted(rows_of(first)["id"]) == [2, 3]
    database.add((4, 1, "new", None, None), (9, 1, "new", None, None))
    ahead = read(since="id", watermark=first.watermark, start="9")
    assert sorted(rows_of(ahead)["id"]) == [9]
    with pytest.raises(Refused, match="would come twice"):
        read(since="id", watermark=ahead.watermark, start="4")


def test_texts_grow_in_the_order_of_their_bytes_whatever_the_databases_language(
    database: Database, read: Callable[..., Delivery]
) -> None:
    database.make_calls((1, 1, "B", None, None), (2, 1, "a", None, None))
    first = read(since="who")
    database.add((3, 1, "b", None, None))
    second = read(since="who", watermark=first.watermark)
    assert rows_of(second)["who"].to_list() == ["b"]


def test_many_rows_of_the_last_value_are_counted(
    database: Database, read: Callable[..., Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seamline.data.sources.watermarks.MOST_TIES", 1)
    database.make_calls()
    first = read(since="at")
    again = read(since="at", watermark=first.watermark)
    assert (again.rows, again.watermark) == (0, first.watermark)
    database.add((5, 1, "later", None, "2026-03-04 10:00:00"))
    assert rows_of(read(since="at", watermark=first.watermark))["id"].to_list() == [5]
    database.add((4, 1, "late", None, "2026-03-02 10:00:00"))
    with pytest.raises(Conflict, match="too many for telling"):
        read(since="at", watermark=first.watermark)


def test_a_row_without_the_column_that_tells_what_is_new(
    database: Database, read: Callable[..., Delivery]
) -> None:
    database.make_calls()
    first = read(since="id")
    database.run("INSERT INTO calls (who) VALUES ('nobody')")
    with pytest.raises(InvalidInput, match="1 rows have no id"):
        read(since="id", watermark=first.watermark)


def test_columns_that_are_not_there(database: Database, read: Callable[..., Delivery]) -> None:
    database.make_calls()
    with pytest.raises(InvalidInput, match="Did you mean minutes"):
        read(order=("minuts",))
    with pytest.raises(InvalidInput, match="cal1s"):
        read(table="cal1s")


def test_types_without_an_order_or_a_place(
    database: Database, read: Callable[..., Delivery]
) -> None:
    if database.scheme == "postgresql":
        database.run("CREATE TABLE odd AS SELECT '{\"b\": 1}'::json AS j, ARRAY[1, 2] AS a")
        assert rows_of(read(table="odd")).rows() == [('{"b": 1}', "[1, 2]")]
        database.run("CREATE TABLE raw AS SELECT 'x'::bytea AS b")
    else:
        database.run("CREATE TABLE raw (b BLOB)")
        database.run("INSERT INTO raw VALUES (x'ff')")
    with pytest.raises(InvalidInput, match=r"Column 'b': its values are bytes"):
        rows_of(read(table="raw"))


def test_an_empty_table_has_columns(database: Database, read: Callable[..., Delivery]) -> None:
    database.make_calls()
    database.run("DELETE FROM calls")
    delivery = read()
    assert list(delivery.schema) == ["id", "minutes", "who", "day", "at"]
    assert delivery.rows == 0


def test_a_wrong_password_is_not_repeated(mariadb_server: str, tmp_path: Path) -> None:
    pytest.importorskip("pymysql")
    location = parse_location(f"mysql://{mariadb_server}/none")
    wrong = Credentials("warehouse", {"user": "ann", "password": "hunter22-never-shown"})
    with pytest.raises(Unavailable) as found:
        read_sql(location, SqlRequest(table="calls"), tmp_path, credentials=wrong)
    assert "hunter22" not in str(found.value) and "cannot be read" in str(found.value)
    assert found.value.__cause__ is None
