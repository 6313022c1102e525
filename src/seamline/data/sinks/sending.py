"""The one door to every sink, and the fact of what left."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from seamline.data.credentials import ANONYMOUS, Credentials
from seamline.data.locations import Kind, Location
from seamline.data.sinks.delta import send_delta
from seamline.data.sinks.exports import Export
from seamline.data.sinks.files import WRITERS, send_file, send_folder, writer_for
from seamline.data.sinks.marks import Sent
from seamline.data.sinks.sql import send_table
from seamline.data.sources.objects import open_objects
from seamline.domain.errors import InvalidInput
from seamline.domain.facts import RowsExported
from seamline.store.stores import Stores


class Form(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    DELTA = "delta"
    TABLE = "table"


@dataclass(frozen=True)
class Target:
    """`table` is for databases, and for nothing else."""

    location: Location
    form: Form
    table: str | None = None

    @property
    def name(self) -> str:
        where = self.location.bare if self.form is Form.TABLE else self.location.uri
        return f"{where} table {self.table}" if self.table else where


def decide_target(location: Location, form: Form | None, table: str | None) -> Target:
    """A database takes a table, a name with a known suffix is a file, all else a Parquet folder;
    Delta has to be asked for.

    >>> from seamline.data.locations import parse_location
    >>> decide_target(parse_location("s3://lake/flights.csv"), None, None).form
    <Form.FILE: 'file'>
    >>> decide_target(parse_location("s3://lake/flights"), None, None).form
    <Form.FOLDER: 'folder'>
    """
    if location.kind is Kind.WAREHOUSE:
        raise InvalidInput(
            f"Nothing is written to {location.scheme} directly.",
            next_step="Export as delta to its object store: it reads Delta tables there.",
        )
    is_sql = location.kind is Kind.SQL
    if is_sql and not table:
        raise InvalidInput(f"{location.bare} needs a table.", next_step="Give --table NAME.")
    if table and not is_sql:
        raise InvalidInput(
            f"{location.uri} is no database: it has no table {table!r}.", next_step="Leave it out."
        )
    suffix = PurePosixPath(location.path).suffix.lower()
    guessed = Form.TABLE if is_sql else Form.FILE if suffix in WRITERS else Form.FOLDER
    chosen = form or guessed
    if (chosen is Form.TABLE) != is_sql:
        raise InvalidInput(f"{location.uri} cannot hold a {chosen}.", next_step="Leave --as out.")
    if chosen is Form.FILE:
        writer_for(PurePosixPath(location.path).name)
    if not location.path.strip("/") and not is_sql:
        raise InvalidInput(
            f"{location.uri} names no file or folder.", next_step="Write one below the bucket."
        )
    return Target(location, chosen, table)


def send(
    stores: Stores,
    export: Export,
    target: Target,
    folder: Path,
    *,
    by: str,
    credentials: Credentials = ANONYMOUS,
) -> Sent:
    """The rows are there exactly once, whatever died on the way: asking again finishes it. A fact
    tells of rows that left; none of those that lay there already."""
    match target.form:
        case Form.TABLE:
            table = target.table or ""
            sent = send_table(target.location, credentials, export, table, stores.clock)
        case Form.DELTA:
            sent = send_delta(target.location, credentials, export)
        case Form.FOLDER:
            sent = send_folder(open_objects(target.location, credentials), export)
        case Form.FILE:
            sent = send_file(open_objects(target.location, credentials), export, folder)
    if sent.is_new:
        fact = RowsExported(export.what, export.digest, target.name, target.form, sent.rows)
        with stores.db.transaction() as tx:
            stores.facts.append(tx, fact, by=by)
    return sent
