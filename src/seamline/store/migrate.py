"""Bring a database to this version's schema; refuse one that a newer version wrote."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from seamline.domain.errors import Refused
from seamline.store.database import Database

#: The newest revision that this version knows, and all before it.
REVISIONS = (
    *("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008"),
    *("0009", "0010", "0011", "0012", "0013", "0014", "0015", "0016"),
    *("0017", "0018", "0019", "0020", "0021", "0022", "0023"),
)


def migrate(db: Database) -> None:
    """Forward only. Raises Refused when the database is newer than this program."""
    with db.read() as connection:
        revision = current_revision(connection)
    if revision == REVISIONS[-1]:
        return
    if revision is not None and revision not in REVISIONS:
        raise Refused(
            f"This workspace has schema revision {revision}; this Seamline knows up to "
            f"{REVISIONS[-1]}.",
            next_step="A newer version of Seamline wrote it: upgrade with pip install -U seamline.",
        )
    upgrade_to(db, REVISIONS[-1])


def upgrade_to(db: Database, revision: str) -> None:
    # It takes a tenth of a second to import, and most servers start on a database that is right.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with db.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
