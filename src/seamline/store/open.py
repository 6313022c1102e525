"""Open a database and bring it up to date, or say in one sentence why that cannot be done."""

from __future__ import annotations

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from seamline.domain.errors import InvalidInput, MachineryError, Unavailable
from seamline.store.database import Database
from seamline.store.migrate import migrate

DIALECTS = ("sqlite", "postgresql")


def open_database(url: str) -> Database:
    """Raises InvalidInput (no such database is spoken), Unavailable (nobody answers) or
    MachineryError (the file is no database, or damaged); the password is never shown."""
    shown = _checked(url)
    db = Database(url)
    try:
        migrate(db)
    except OperationalError as error:
        db.close()
        raise Unavailable(
            f"The database {shown} cannot be opened: {_first_line(error)}.",
            next_step="Check that it runs, that the address is right, and who may write there.",
        ) from error
    except DatabaseError as error:
        db.close()
        raise MachineryError(
            f"The database {shown} cannot be read: {_first_line(error)}.",
            next_step="Nothing was changed; restore it from a backup, or use another workspace.",
        ) from error
    except BaseException:
        db.close()
        raise
    return db


def _checked(url: str) -> str:
    """The address without its password.

    >>> _checked("postgresql+psycopg://ann:secret@db/seamline")
    'postgresql+psycopg://ann:***@db/seamline'
    """
    wanted = "Write postgresql+psycopg://USER@HOST/DATABASE."
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InvalidInput("The database URL cannot be read.", next_step=wanted) from error
    if parsed.get_backend_name() not in DIALECTS:
        raise InvalidInput(
            f"Databases of the kind {parsed.get_backend_name()!r} are not spoken.",
            next_step=wanted,
        )
    return parsed.render_as_string(hide_password=True)


def _first_line(error: DatabaseError) -> str:
    return str(error.orig).strip().splitlines()[0].rstrip(".")
