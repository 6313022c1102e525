"""Snowflake: time travel (`AT(TIMESTAMP => …)`), by snowflake-connector-python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from seamline.data.sources.sql_types import SqlColumn
from seamline.data.sources.warehouses.pins import Pin, PinKind, Place, load_client
from seamline.domain.errors import InvalidInput

_FETCH_ROWS = 10_000
_NOW = (
    "SELECT TO_CHAR(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()), "
    "'YYYY-MM-DD\"T\"HH24:MI:SS.FF6') || '+00:00' AS AT"
)
_INSTANT = pl.Datetime("us", "UTC")
#: type code of its cursor → (name, type here)
_TYPES: Mapping[int, tuple[str, pl.DataType]] = {
    0: ("NUMBER", pl.Int64()),
    1: ("FLOAT", pl.Float64()),
    2: ("TEXT", pl.String()),
    3: ("DATE", pl.Date()),
    4: ("TIMESTAMP", pl.Datetime("us")),
    5: ("VARIANT", pl.String()),
    6: ("TIMESTAMP_LTZ", _INSTANT),
    7: ("TIMESTAMP_TZ", _INSTANT),
    8: ("TIMESTAMP_NTZ", pl.Datetime("us")),
    9: ("OBJECT", pl.String()),
    10: ("ARRAY", pl.String()),
    11: ("BINARY", pl.Binary()),
    12: ("TIME", pl.String()),
    13: ("BOOLEAN", pl.Boolean()),
}


class Snowflake:
    """`snowflake://ACCOUNT/DATABASE/SCHEMA/TABLE`, names as they are stored (mostly capitals).
    Credentials: `user` with `password` or `private_key` (PEM), and as wished `warehouse`, `role`,
    `endpoint`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        names = place.checked_names("database", "schema", "table")
        self._table = ".".join(f'"{one}"' for one in names)
        library = load_client("snowflake.connector", "snowflake")
        given = {key: place.credentials.get(key) for key in ("warehouse", "role")}
        self._connection = library.connect(
            account=place.location.host,
            user=place.need("user"),
            login_timeout=60,
            enable_server_session_keep_alive_auto_detection=True,
            session_parameters={"CLIENT_TELEMETRY_ENABLED": False},
            **{key: value for key, value in given.items() if value is not None},
            **self._identity(),
            **_address(place.credentials.get("endpoint")),
        )

    def pin(self) -> Pin:
        ((moment,),), _ = self._ask(_NOW)
        statement = self._statement("*", moment)
        _, described = self._ask(f"{statement} LIMIT 0")
        columns = tuple((part[0], _type_of(part)[0]) for part in described)
        ((rows,),), _ = self._ask(self._statement("COUNT(*)", moment))
        uri = self._place.location.bare
        return Pin(uri, PinKind.TIME, moment, statement, columns, int(rows))

    def rows(self, pin: Pin) -> Iterator[pl.DataFrame]:
        with self._connection.cursor() as cursor:
            cursor.execute(pin.statement)
            columns = [SqlColumn(part[0], _type_of(part)[1]) for part in cursor.description]
            yield pl.DataFrame(schema={column.name: column.dtype for column in columns})
            while chunk := cursor.fetchmany(_FETCH_ROWS):
                parts = zip(columns, zip(*chunk, strict=True), strict=True)
                yield pl.DataFrame([column.series(part) for column, part in parts])

    def close(self) -> None:
        self._connection.close()

    def _statement(self, what: str, moment: str) -> str:
        return f"SELECT {what} FROM {self._table} AT(TIMESTAMP => '{moment}'::TIMESTAMP_TZ)"  # noqa: S608

    def _ask(self, statement: str) -> tuple[list[Any], Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall(), cursor.description

    def _identity(self) -> dict[str, Any]:
        key = self._place.credentials.get("private_key")
        if key is None:
            return {"password": self._place.need("password")}
        try:
            loaded = serialization.load_pem_private_key(key.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InvalidInput(
                f"private_key of the credentials {self._place.credentials.name} is no key.",
                next_step="Set it to a PEM file without a passphrase (PKCS 8).",
            ) from None
        form = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
        plain = loaded.private_bytes(*form, serialization.NoEncryption())
        return {"private_key": plain, "authenticator": "SNOWFLAKE_JWT"}


def _type_of(part: Any) -> tuple[str, pl.DataType]:
    """A number with digits after the point is a fraction."""
    name, dtype = _TYPES.get(part[1], ("TEXT", pl.String()))
    if name == "NUMBER" and part[5]:
        return f"NUMBER({part[4]},{part[5]})", pl.Float64()
    return name, dtype


def _address(endpoint: str | None) -> dict[str, Any]:
    """
    >>> _address("http://127.0.0.1:8080")
    {'protocol': 'http', 'host': '127.0.0.1', 'port': 8080}
    """
    if endpoint is None:
        return {}
    protocol, _, rest = endpoint.partition("://")
    host, _, port = rest.partition("/")[0].partition(":")
    if not port.isdigit():
        raise InvalidInput(
            f"The endpoint {endpoint} has no port.", next_step="Write https://HOST:PORT."
        )
    return {"protocol": protocol, "host": host, "port": int(port)}
