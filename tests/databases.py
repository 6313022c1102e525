"""Databases that are migrated already: migrating costs more than what most tests try in them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from seamline.domain.clock import ManualClock
from seamline.store.database import Database
from seamline.store.migrate import REVISIONS
from seamline.store.stores import open_stores


@dataclass
class Postgres:
    """A throwaway server. `url` is without the database's name; `folder` is for its template's
    workspace, which nobody uses."""

    url: str
    folder: Path
    connection: psycopg.Connection
    _template: str | None = None

    def create(self) -> str:
        """The URL of an empty database."""
        return self._copy("template0")

    def create_migrated(self) -> str:
        if self._template is None:
            made = self.create()
            open_stores(self.folder / "template", ManualClock(), database_url=made).db.close()
            self._template = _name(made)
        return self._copy(self._template)

    def drop(self, url: str) -> None:
        """Whoever still holds a connection loses it."""
        self.connection.execute(f"DROP DATABASE {_name(url)} WITH (FORCE)".encode())

    def _copy(self, template: str) -> str:
        name = f"t{uuid.uuid4().hex[:12]}"
        self.connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return f"{self.url}/{name}"


def _name(url: str) -> str:
    return url.rpartition("/")[2]


Upgrade = Callable[[Database, str], None]


@dataclass
class MigratedOnce:
    """Stands in for `upgrade_to`: the first empty SQLite database runs every migration, and later
    ones get the tables and rows that this made. Whatever is not empty is migrated as ever."""

    upgrade: Upgrade
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _made: list[str] = field(default_factory=list)

    def __call__(self, db: Database, revision: str) -> None:
        if not db.is_sqlite or revision != REVISIONS[-1]:
            return self.upgrade(db, revision)
        with self._lock:
            if not self._made:
                self._made = _made_by(self.upgrade)
        if not self._fill(db):
            self.upgrade(db, revision)
        return None

    def _fill(self, db: Database) -> bool:
        """In one transaction: another process may open the same workspace just now."""
        with db.transaction() as tx:
            if tx.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one() > 0:
                return False
            for statement in self._made:
                tx.exec_driver_sql(statement)
        return True


def _made_by(upgrade: Upgrade) -> list[str]:
    db = Database("sqlite://")
    try:
        upgrade(db, REVISIONS[-1])
        with db.read() as connection:
            dumped = list(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    finally:
        db.close()
    return [one for one in dumped if one not in ("BEGIN TRANSACTION;", "COMMIT;")]
