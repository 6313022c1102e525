"""SQL databases that are others': opened by connection string, with the driver of each."""

from __future__ import annotations

import importlib.util
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from seamline.data.credentials import ANONYMOUS, Credentials, told_without_secrets
from seamline.data.locations import Location
from seamline.domain.errors import InvalidInput, NotFound

#: scheme → (SQLAlchemy's dialect, the driver's module, the extra that installs it)
_DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg", "postgres"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
}
#: What a connection string may ask for beside its address.
_OPTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "postgresql": {"sslmode": ("disable", "prefer", "require", "verify-ca", "verify-full")},
    "mysql": {"ssl": ("verify",)},
}
_CONNECT_TIMEOUT_S = 15
_CHECK = "Check the address, the credentials, and that the database answers."
_DRIVER_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError, ValueError)


@contextmanager
def open_database(
    location: Location, credentials: Credentials = ANONYMOUS, *, writing: bool = False
) -> Iterator[Engine]:
    """One connection at a time, read-only unless `writing`. Errors hold no password."""
    if location.scheme == "sqlite":
        engine = _open_sqlite(location, writing)
    else:
        engine = _open_server(location, credentials)
        if not writing:
            event.listen(engine, "connect", _only_reads(location.scheme))
    try:
        yield engine
    finally:
        engine.dispose()


def telling(location: Location, credentials: Credentials, what: str) -> Any:
    """A driver's error becomes ours; a query's mistake is told in the database's own words."""
    return told_without_secrets(f"{location.bare} {what}", credentials, _DRIVER_ERRORS, _CHECK)


def _open_sqlite(location: Location, writing: bool) -> Engine:
    path = Path("/", location.path)
    if not writing and not path.is_file():
        raise NotFound(f"There is no SQLite file {path}.", next_step="Give its absolute path.")
    mode = "rwc" if writing else "ro"

    def connect() -> sqlite3.Connection:
        uri = f"file:{quote(str(path))}?mode={mode}"
        return sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)

    # The driver's own transactions begin too late: ours are said (`BEGIN`) where they begin.
    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    begin = "BEGIN IMMEDIATE" if writing else "BEGIN"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _open_server(location: Location, credentials: Credentials) -> Engine:
    dialect, module, extra = _DRIVERS[location.scheme]
    if importlib.util.find_spec(module) is None:
        raise InvalidInput(
            f"The driver of {location.scheme} ({module}) is not installed.",
            next_step=f"pip install 'seamline[{extra}]'",
        )
    options = _options(location)
    if re.search(r"[=\s'\"/\\]", location.path):  # a driver may take more than a name for one
        raise InvalidInput(
            f"{location.path!r} is no database's name.",
            next_step=f"Write {location.scheme}://HOST/DATABASE, and a table in table.",
        )
    address = urlsplit(f"//{location.host}")
    arguments: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_S}
    if location.scheme == "mysql":
        arguments |= {"charset": "utf8mb4", "init_command": "SET time_zone = '+00:00'"}
        if options.get("ssl") == "verify":
            arguments |= {"ssl_verify_cert": True, "ssl_verify_identity": True}
    url = URL.create(
        dialect,
        username=credentials.get("user") or location.user,
        password=credentials.get("password"),
        host=address.hostname,
        port=address.port,
        database=location.path or None,
        query=options if location.scheme == "postgresql" else {},
    )
    try:
        return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
    except (ArgumentError, SQLAlchemyError, ValueError, TypeError) as error:
        raise InvalidInput(
            f"{location.bare} is no address of a database: {credentials.redact(str(error))[:200]}.",
            next_step=f"Write {location.scheme}://HOST:PORT/DATABASE.",
        ) from None


def _options(location: Location) -> dict[str, str]:
    """Raises InvalidInput for others: an option can name another host, or a file of the server."""
    known = _OPTIONS[location.scheme]
    for key, value in location.options:
        if key not in known or value not in known[key]:
            said = [f"{name}={one}" for name, values in known.items() for one in values]
            raise InvalidInput(
                f"{location.bare} cannot have the option {key}={value[:40]}.",
                next_step=f"Known: {', '.join(said)}.",
            )
    return dict(location.options)


def _only_reads(scheme: str) -> Any:
    words = {
        "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, "
        "ISOLATION LEVEL REPEATABLE READ",
        "mysql": "SET SESSION TRANSACTION READ ONLY",
    }[scheme]

    def on_connect(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(words)
        connection.commit()

    return on_connect


def quoted_table(connection: Connection, name: str) -> str:
    """`schema.table` or `table`, each part quoted as the database has it."""
    prepare = connection.dialect.identifier_preparer.quote_identifier
    parts = name.split(".")
    if not all(parts) or len(parts) > 2:
        raise InvalidInput(
            f"{name!r} is no table's name.", next_step="Write TABLE or SCHEMA.TABLE."
        )
    return ".".join(prepare(part) for part in parts)
