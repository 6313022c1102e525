"""Read a version: exactly its rows, each file verified as it is read (law 2)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl

from seamline.data.declaration import DAY
from seamline.data.versions.removed import find_removal
from seamline.data.versions.version import DatasetVersion, VersionFile, table_folder
from seamline.domain.digests import check_digest
from seamline.domain.errors import DigestMismatch, Refused, not_found
from seamline.measure.casting import POLARS_TYPES, DType
from seamline.store.stores import Stores


def version_files(stores: Stores, version: DatasetVersion) -> list[VersionFile]:
    """By day; within a day in the order of their deliveries."""
    what = f"the file list of {version.reference}"
    return [
        VersionFile(**file) for file in json.loads(stores.blobs.get(version.files_digest, what))
    ]


def is_within(day: date, since: date | None, until: date | None) -> bool:
    return (since is None or since <= day) and (until is None or day < until)


def read_version(
    stores: Stores,
    version: DatasetVersion,
    columns: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
) -> pl.DataFrame:
    """Its rows with since <= ds < until, day by day; `ds` is the last column unless asked for.

    Raises DigestMismatch, naming the file, when a file's bytes are not those of the version.
    """
    wanted = wanted_columns(version, columns)
    frames = read_frames(stores, version, columns, since, until)
    return pl.concat([empty_frame(version).select(wanted), *frames])


def read_frames(
    stores: Stores,
    version: DatasetVersion,
    columns: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
) -> Iterator[pl.DataFrame]:
    """The same rows, a file at a time. A version whose rows were removed is not read, even where
    another that is kept has the same files: what was said to be gone would come and go with it."""
    check_kept(stores, version)
    wanted = wanted_columns(version, columns)
    stored = [name for name, _ in version.schema if name in wanted]
    for file in version_files(stores, version):
        if is_within(date.fromisoformat(file.partition), since, until):
            yield read_file(stores, version, file, stored).select(wanted)


def wanted_columns(version: DatasetVersion, columns: Sequence[str] | None) -> list[str]:
    """Raises NotFound, naming the nearest, for a column that it has not."""
    known = [*(name for name, _ in version.schema), DAY]
    if columns is None:
        return known
    for column in columns:
        if column not in known:
            raise not_found(f"column of {version.reference}", column, known)
    return list(columns)


def empty_frame(version: DatasetVersion) -> pl.DataFrame:
    dtypes = {name: POLARS_TYPES[DType(dtype)] for name, dtype in version.schema}
    return pl.DataFrame(schema={**dtypes, DAY: pl.Date()})


def read_file(
    stores: Stores, version: DatasetVersion, file: VersionFile, columns: Sequence[str]
) -> pl.DataFrame:
    """The columns and `ds` of one file, from the very bytes that were hashed (law 2)."""
    path = table_folder(stores, version.dataset) / file.relative
    what = f"file {file.relative} of {version.reference}"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        check_kept(stores, version)
        raise DigestMismatch(what, expected=file.sha256, actual="no file") from None
    check_digest(data, file.sha256, what)
    day = date.fromisoformat(file.partition)
    if not columns:
        return pl.select(pl.repeat(day, file.rows, dtype=pl.Date).alias(DAY))
    frame = pl.read_parquet(io.BytesIO(data), columns=list(columns))
    return frame.with_columns(pl.lit(day, pl.Date()).alias(DAY))


def check_kept(stores: Stores, version: DatasetVersion) -> None:
    """Raises Refused when retention has removed the version's rows."""
    with stores.db.read() as connection:
        removal = find_removal(connection, version)
    if removal is not None:
        raise Refused(
            f"The rows of {version.reference} were removed on {removal.removed_at[:10]} by "
            f"{removal.removed_by}: {removal.reason}.",
            next_step="Its profile and its origin are kept (seamline data show); for the rows, "
            "read a version that is kept, or restore a backup.",
            dataset=version.dataset,
            version=version.version,
        )
