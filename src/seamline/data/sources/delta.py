"""Delta tables of others: the rows of one version, or those that came since another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from seamline.data.credentials import ANONYMOUS, Credentials, told_without_secrets
from seamline.data.locations import Location
from seamline.data.sources.batches import Delivery, frame_of, spool
from seamline.data.sources.objects import store_options
from seamline.data.sources.plain import plain_frame
from seamline.data.sources.watermarks import read_mark
from seamline.domain.errors import InvalidInput, NotFound, Refused

LOG_FOLDER = "_delta_log"
_BATCH_ROWS = 65_536
ERRORS = (DeltaError, OSError, ValueError, TypeError, NotImplementedError)
_CHECK = "Check the URI, the credentials, and the table's protocol version."


@dataclass(frozen=True)
class DeltaMark:
    table_id: str
    version: int

    def to_text(self) -> str:
        return json.dumps({"table_id": self.table_id, "version": self.version})

    @classmethod
    def from_text(cls, text: str) -> DeltaMark:
        data = json.loads(text)
        return cls(data["table_id"], data["version"])


def table_uri(location: Location) -> str:
    return f"/{location.path}" if location.scheme == "file" else location.uri


def options_of(location: Location, credentials: Credentials) -> dict[str, str] | None:
    return None if location.scheme == "file" else store_options(location, credentials)


def read_delta(
    location: Location,
    folder: Path,
    *,
    credentials: Credentials = ANONYMOUS,
    version: int | None = None,
    follows: str | None = None,
    is_whole: bool = False,
    tell: Callable[[int, int], None] | None = None,
) -> Delivery:
    """The rows of `version` (the newest unless said): all of them (`is_whole`, or the first time),
    or those of the files that were added since `follows`. Raises Refused when rows have been
    rewritten or deleted since: then only the whole table can be told."""
    with told_without_secrets(f"{location.uri} cannot be read", credentials, ERRORS, _CHECK):
        table = _open(location, credentials, version)
        now = DeltaMark(str(table.metadata().id), table.version())
        before = None
        if follows is not None and not is_whole:
            before = read_mark(DeltaMark.from_text, follows, location.uri)
        paths = _paths(table)
        if before is not None:
            paths -= _known(location, credentials, before, now, paths)
        spooled = spool(
            _rows(table, paths, location.uri, tell),
            folder / "rows.arrow",
            name=f"{location.uri} version {now.version}",
            asked=f"{location.uri} table {now.table_id}\n{before.to_text() if before else ''}",
        )
    if is_whole:
        return spooled
    return replace(spooled, watermark=now.to_text(), follows=follows)


def _open(location: Location, credentials: Credentials, version: int | None) -> DeltaTable:
    options = options_of(location, credentials)
    try:
        return DeltaTable(table_uri(location), version=version, storage_options=options)
    except TableNotFoundError:
        raise NotFound(
            f"There is no Delta table at {location.uri}.",
            next_step="Give the folder above its log.",
        ) from None
    except DeltaError as error:
        if version is None:
            raise
        newest = DeltaTable(table_uri(location), storage_options=options).version()
        raise NotFound(
            f"The Delta table {location.uri} has no version {version} that can be read.",
            next_step=f"Its newest version is {newest}.",
        ) from error


def _known(
    location: Location, credentials: Credentials, before: DeltaMark, now: DeltaMark, new: set[str]
) -> set[str]:
    """The files that were read already, all of which the table has still."""
    replaced = 'Declare mode = "replace", which takes the whole table each time.'
    if before.table_id != now.table_id or before.version > now.version:
        raise Refused(
            f"Another table lies at {location.uri} than the one that was read up to version "
            f"{before.version}.",
            next_step=replaced,
        )
    old = _paths(_open(location, credentials, before.version))
    if not old <= new:
        raise Refused(
            f"{len(old - new):,} of {len(old):,} files of {location.uri} were rewritten or deleted "
            f"since version {before.version}: which rows are new cannot be told.",
            next_step=replaced,
        )
    return old


def _paths(table: DeltaTable) -> set[str]:
    actions = frame_of(table.get_add_actions(flatten=True))
    return {unquote(path) for path in actions["path"]}


def _rows(
    table: DeltaTable, paths: set[str], name: str, tell: Callable[[int, int], None] | None
) -> Iterator[pl.DataFrame]:
    # It loads pandas where nobody keeps that out: at the top it would, before any server can.
    from pyarrow.dataset import FileSystemDataset

    dataset: Any = table.to_pyarrow_dataset()
    yield plain_frame(frame_of(dataset.schema.empty_table()), name)
    fragments = sorted(dataset.get_fragments(), key=lambda one: str(one.path))
    wanted = [one for one in fragments if _is_one_of(one.path, paths)]
    if len(wanted) != len(paths):
        raise InvalidInput("The files of the table are not those of its log.")
    for number, fragment in enumerate(wanted, 1):
        part = FileSystemDataset([fragment], dataset.schema, dataset.format, dataset.filesystem)
        for batch in part.to_batches(batch_size=_BATCH_ROWS):
            yield plain_frame(frame_of(batch), name)
        if tell is not None:
            tell(number, len(wanted))


def _is_one_of(path: str, paths: set[str]) -> bool:
    return path in paths or unquote(path) in paths
