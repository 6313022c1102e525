"""Delta tables that we write: one commit per export, which carries the export's digest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import TableNotFoundError

from seamline.data.credentials import Credentials, told_without_secrets
from seamline.data.declaration import DAY
from seamline.data.locations import Location
from seamline.data.sinks.exports import Export
from seamline.data.sinks.marks import Sent, foreign
from seamline.data.sources.delta import ERRORS, options_of, table_uri

#: The table's description: what says that it is ours.
_OURS = "Exported by Seamline"
_DIGEST, _WHAT = "seamline.export", "seamline.what"
_CHECK = "Nothing was committed; check the URI and the credentials, and export again."


def send_delta(location: Location, credentials: Credentials, export: Export) -> Sent:
    """Readers see the table before or after, never between. An export of some days replaces
    these."""
    options = options_of(location, credentials)
    told = told_without_secrets(f"{location.uri} cannot be written", credentials, ERRORS, _CHECK)
    with told:
        table = _find(table_uri(location), options)
        if table is not None:
            if table.metadata().description != _OURS:
                raise foreign(location.uri)
            if table.history(1)[0].get(_DIGEST) == export.digest:
                return Sent(export.rows, is_new=False)
        kept = CommitProperties(custom_metadata={_DIGEST: export.digest, _WHAT: export.what})
        if table is None:
            # Somebody may make one meanwhile: to overwrite would end theirs.
            write_deltalake(
                table_uri(location),
                _reader(export),
                mode="error",
                partition_by=[DAY],
                description=_OURS,
                storage_options=_writing(location, options),
                commit_properties=kept,
            )
        else:
            predicate = _predicate(export)
            write_deltalake(
                table,
                _reader(export),
                mode="overwrite",
                partition_by=[DAY],
                predicate=predicate,
                schema_mode=None if predicate else "overwrite",
                commit_properties=kept,
            )
    return Sent(export.rows, is_new=True)


def _writing(location: Location, options: dict[str, str] | None) -> dict[str, str] | None:
    """On S3 a commit is a put that fails where somebody was faster."""
    if location.scheme != "s3" or options is None:
        return options
    return {"conditional_put": "etag", **options}


def _find(uri: str, options: dict[str, str] | None) -> DeltaTable | None:
    try:
        return DeltaTable(uri, storage_options=options)
    except TableNotFoundError:
        return None


def _predicate(export: Export) -> str | None:
    since = None if export.since is None else f"{DAY} >= DATE '{export.since.isoformat()}'"
    until = None if export.until is None else f"{DAY} < DATE '{export.until.isoformat()}'"
    return " AND ".join(filter(None, (since, until))) or None


def _reader(export: Export) -> Any:
    schema = (
        pl.DataFrame(schema=export.schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    )

    def batches() -> Iterator[pa.RecordBatch]:
        for frame in export.batches():
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            yield from table.cast(schema).to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())
