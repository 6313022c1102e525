"""Databricks: Delta's `VERSION AS OF`, by databricks-sql-connector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from seamline.data.sources.batches import frame_of
from seamline.data.sources.plain import plain_frame
from seamline.data.sources.warehouses.pins import Pin, PinKind, Place, load_client

_FETCH_ROWS = 50_000


class Databricks:
    """`databricks://HOST/CATALOG/SCHEMA/TABLE`. Credentials: `token`, `http_path` (of the SQL
    warehouse)."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._table = ".".join(
            f"`{one}`" for one in place.checked_names("catalog", "schema", "table")
        )
        library = load_client("databricks.sql", "databricks")
        path = place.need("http_path")
        # A gateway of one's own; the library takes the address as a whole.
        endpoint = place.credentials.get("endpoint")
        address = {"_connection_uri": f"{endpoint.rstrip('/')}{path}"} if endpoint else {}
        host, _, port = place.location.host.partition(":")
        self._connection = library.connect(
            server_hostname=host,
            http_path=path,
            access_token=place.need("token"),
            enable_telemetry=False,
            _retry_stop_after_attempts_count=5,
            _retry_stop_after_attempts_duration=60,
            **({"_port": int(port)} if port else {}),
            **address,
        )

    def pin(self) -> Pin:
        (newest,) = self._ask(f"DESCRIBE HISTORY {self._table} LIMIT 1")[0].to_pylist()
        version = str(newest["version"])
        statement = self._statement("*", version)
        _, described = self._ask(f"{statement} LIMIT 0")
        columns = tuple((part[0], part[1]) for part in described)
        (row,) = self._ask(self._statement("COUNT(*) AS n", version))[0].to_pylist()
        uri = self._place.location.bare
        return Pin(uri, PinKind.VERSION, version, statement, columns, int(row["n"]))

    def rows(self, pin: Pin) -> Iterator[pl.DataFrame]:
        with self._connection.cursor() as cursor:
            cursor.execute(pin.statement)
            while True:
                table = cursor.fetchmany_arrow(_FETCH_ROWS)
                yield plain_frame(frame_of(table), pin.uri)
                if not table.num_rows:
                    return

    def close(self) -> None:
        self._connection.close()

    def _statement(self, what: str, version: str) -> str:
        return f"SELECT {what} FROM {self._table} VERSION AS OF {version}"  # noqa: S608

    def _ask(self, statement: str) -> tuple[Any, Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall_arrow(), cursor.description
