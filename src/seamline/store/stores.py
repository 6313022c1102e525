"""What every room is handed: rows, facts, blobs, the clock, and the workspace's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seamline.domain.clock import Clock
from seamline.store.blobs import Blobs
from seamline.store.database import Database, sqlite_url
from seamline.store.facts import FactLog
from seamline.store.open import open_database


@dataclass(frozen=True)
class Stores:
    root: Path
    db: Database
    clock: Clock
    facts: FactLog
    blobs: Blobs


def open_stores(
    root: Path,
    clock: Clock,
    *,
    database_url: str | None = None,
    reacting: frozenset[str] = frozenset(),
) -> Stores:
    """Open (or make) the workspace in `root`; migrates its database."""
    root.mkdir(parents=True, exist_ok=True)
    db = open_database(database_url or sqlite_url(root / "seamline.db"))
    return Stores(root, db, clock, FactLog(clock, reacting), Blobs(root / "blobs", clock))
