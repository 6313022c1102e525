"""The one door to every source: a declared URI becomes a delivery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import polars as pl

from seamline.data.credentials import ANONYMOUS, Credentials
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.locations import Kind, Location, is_within, parse_location
from seamline.data.sources.batches import Delivery
from seamline.data.sources.delta import LOG_FOLDER, read_delta
from seamline.data.sources.files import open_file
from seamline.data.sources.folders import mark_of, read_folder
from seamline.data.sources.objects import Found, Objects, open_objects
from seamline.data.sources.sql import SqlRequest, read_sql
from seamline.domain.errors import Forbidden, InvalidInput, Refused

#: Told how much has come, and of how much (0 where that is not known).
Told = Callable[[int, int], None]


def open_source(
    uri: str,
    declaration: DatasetDeclaration,
    folder: Path,
    *,
    since: str | None,
    credentials: Credentials = ANONYMOUS,
    start: str | None = None,
    tell: Told | None = None,
) -> Delivery:
    """What lies at `uri` and was not delivered up to the watermark `since`; `start` is a first
    value that a person gave. Everything is fetched into `folder` before this returns: what is
    read later is what was hashed."""
    location = parse_location(uri)
    if start is not None and location.kind is not Kind.SQL:
        raise InvalidInput(
            f"--since is for databases, where a column tells what is new; {location.uri} is a "
            f"{location.kind}.",
            next_step="Leave it out: files that were read before are left out by themselves.",
        )
    match location.kind:
        case Kind.SQL:
            return _open_sql(location, declaration, folder, since, credentials, start, tell)
        case Kind.WAREHOUSE:
            raise InvalidInput(
                f"{location.uri} is registered as a pinned reference, not copied.",
                next_step=f"seamline data pin {declaration.name}; with --copy its rows are taken.",
            )
    return _open_objects(location, declaration, folder, since, credentials, tell)


def _open_sql(
    location: Location,
    declaration: DatasetDeclaration,
    folder: Path,
    since: str | None,
    credentials: Credentials,
    start: str | None,
    tell: Told | None,
) -> Delivery:
    check_repeatable(declaration)
    request = SqlRequest(declaration.table, declaration.query, declaration.since, declaration.keys)
    is_whole = declaration.mode is Mode.REPLACE
    delivery = read_sql(
        location,
        request,
        folder,
        credentials=credentials,
        watermark=None if is_whole else since,
        start=start,
        tell=None if tell is None else lambda rows: tell(rows, 0),
    )
    return replace(delivery, watermark=None) if is_whole else delivery


def _open_objects(
    location: Location,
    declaration: DatasetDeclaration,
    folder: Path,
    since: str | None,
    credentials: Credentials,
    tell: Told | None,
) -> Delivery:
    objects = open_objects(location, credentials)
    found = objects.head()
    if found is not None:
        delivery = _open_object(objects, found, folder, tell)
        return _as_one_of(declaration, location, found, delivery, since)
    is_whole = declaration.mode is Mode.REPLACE
    if _is_delta(objects):
        return read_delta(
            location,
            folder,
            credentials=credentials,
            version=declaration.version,
            follows=since,
            is_whole=is_whole,
            tell=tell,
        )
    return read_folder(objects, folder, follows=since, is_whole=is_whole, tell=tell)


def _open_object(objects: Objects, found: Found, folder: Path, tell: Told | None) -> Delivery:
    """Also a file of this machine is copied: it may be written to while it is read."""
    path = folder / "fetched"
    digest = objects.fetch(found.path, path, tell)
    filename = PurePosixPath(found.path).name
    return open_file(path, folder, name=objects.location.uri, filename=filename, digest=digest)


def _as_one_of(
    declaration: DatasetDeclaration,
    location: Location,
    found: Found,
    delivery: Delivery,
    since: str | None,
) -> Delivery:
    """A file that was named, of a folder that is the declared source: noted there, so that it does
    not come again with the folder."""
    declared = parse_location(declaration.source or location.uri)
    relative = location.path.removeprefix(declared.path.rstrip("/")).lstrip("/")
    if declaration.mode is Mode.REPLACE or location.path == declared.path:
        return delivery
    mark = mark_of(since, location.uri)
    named = replace(found, relative=relative)
    if mark.holds(named):
        nothing = delivery.schema
        return replace(
            delivery,
            batches=lambda: iter([pl.DataFrame(schema=nothing)]),
            rows=0,
            watermark=since,
            follows=since,
        )
    return replace(delivery, watermark=mark.with_files([named]).to_text(), follows=since)


def _is_delta(objects: Objects) -> bool:
    return objects.read(objects.below(f"{LOG_FOLDER}/00000000000000000000.json")) is not None or (
        objects.read(objects.below(f"{LOG_FOLDER}/_last_checkpoint")) is not None
    )


def check_repeatable(declaration: DatasetDeclaration) -> None:
    """A whole table, appended each time, would have each row as often as it was read.

    >>> check_repeatable(DatasetDeclaration("calls", table="calls", since="updated_at"))
    """
    is_append = declaration.mode is Mode.APPEND
    if is_append and declaration.table is not None and declaration.since is None:
        raise InvalidInput(
            f"Dataset {declaration.name} would append all of table {declaration.table} each time.",
            next_step='Declare since = "COLUMN" (one that only grows), or mode = "replace".',
        )


def check_uri(declaration: DatasetDeclaration, uri: str) -> Location:
    """The location, if the dataset's deliveries may come from there: from its declared source or
    from below it. Else whoever ingests could send its credentials elsewhere."""
    location = parse_location(uri)
    if declaration.source is None:
        raise Refused(
            f"Dataset {declaration.name} declares no source; {location.uri} was given.",
            next_step="Declare source in seamline.toml, or send a file from your machine.",
        )
    if not is_within(declaration.source, location):
        raise Refused(
            f"{location.uri} is not below {declaration.source}, the source of dataset "
            f"{declaration.name}.",
            next_step="Give a URI below it, or have the declaration changed.",
        )
    return location


def check_local(location: Location, workspace: Path, *, is_admin: bool) -> None:
    """A file of the server's machine is for admins, and one of the workspace for nobody: its keys
    and secrets lie there. Elsewhere there is nothing to check."""
    if not location.is_on_this_machine:
        return
    path = Path("/", location.path)
    if not is_admin:
        raise Forbidden(
            f"{location.uri} is a file of the server: only an admin may name it.",
            next_step="Send it from your machine, or let it lie in an object store.",
        )
    if path.resolve().is_relative_to(workspace.resolve()):
        raise Forbidden(
            f"{location.uri} lies in the workspace itself.", next_step="Give a path outside of it."
        )
