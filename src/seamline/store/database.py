"""One database behind an URL: SQLite (WAL) or PostgreSQL, the same tables and statements."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

_LOG = logging.getLogger("seamline.database")


class Database:
    """Transactions over one engine.

    Writers take a process-wide lock: one workspace, one server, one writer at a time. What a
    transaction has read is still so when it writes, on PostgreSQL, too, whose isolation would let
    two find nothing and both insert. On SQLite they say `BEGIN IMMEDIATE` besides, for whoever
    opens the file in another process.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.engine = _sqlite_engine(url) if self.is_sqlite else create_engine(url, pool_size=8)
        self._write_lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []

    def on_commit(self, listener: Callable[[], None]) -> None:
        """`listener` is called after each committed write, outside the transaction. What it raises
        is logged: what was written is written."""
        self._listeners.append(listener)

    @contextmanager
    def transaction(self, *, is_relaxed: bool = False) -> Iterator[Connection]:
        """All or nothing; do not nest.

        `is_relaxed`: survives the end of any process, as all do, but not for certain a power cut
        in the moments before the next write that is not relaxed, or the next `sync`. For what can
        be done again.
        """
        with self._write_lock, self.engine.connect() as connection:
            if self.is_sqlite:
                _set_synchronous(connection, "NORMAL" if is_relaxed else "FULL")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            elif is_relaxed:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()
        for listener in self._listeners:
            try:
                listener()
            except Exception:
                _LOG.exception("what is told of each commit has failed")

    def sync(self) -> None:
        """What relaxed transactions have written now survives a power cut, too."""
        with self._write_lock, self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
            else:  # a commit that waits makes all before it durable
                connection.exec_driver_sql("SELECT pg_current_xact_id()")
                connection.commit()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot of everything for as long as the block lasts, on both databases."""
        with self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def _set_synchronous(connection: Connection, level: str) -> None:
    if connection.info.get("synchronous", "FULL") != level:
        connection.exec_driver_sql(f"PRAGMA synchronous={level}")
        connection.info["synchronous"] = level


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # this module says BEGIN itself
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
