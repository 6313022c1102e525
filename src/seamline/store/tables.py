"""Delta tables: append a partitioned frame, list a version's files, read a version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError


@dataclass(frozen=True)
class TableFile:
    """One Parquet file of a table version; `path` is absolute, `relative` as in the log."""

    path: Path
    relative: str
    partition: str
    rows: int
    size_bytes: int


def table_version(root: Path) -> int | None:
    """The newest version, or None when there is no table yet."""
    try:
        return DeltaTable(str(root)).version()
    except TableNotFoundError:
        return None


def append_frame(
    root: Path, frame: pl.DataFrame, partition: str, *, token: tuple[str, int] | None = None
) -> int:
    """Append in one commit; returns the new version.

    `token` = (writer, number): a commit that carries a number not above the writer's last one
    was done before and is not done again (Delta's application transactions).
    """
    if token is not None and _last_number(root, token[0]) >= token[1]:
        return DeltaTable(str(root)).version()
    properties = CommitProperties(app_transactions=[Transaction(*token)]) if token else None
    write_deltalake(
        str(root),
        frame.to_arrow(),
        mode="append",
        partition_by=[partition],
        commit_properties=properties,
    )
    return DeltaTable(str(root)).version()


def _last_number(root: Path, writer: str) -> int:
    try:
        found = DeltaTable(str(root)).transaction_version(writer)
    except TableNotFoundError:
        return -1
    return -1 if found is None else found


def list_files(root: Path, version: int, partition: str) -> list[TableFile]:
    """The files of exactly this version, sorted by partition then name."""
    actions = pl.DataFrame(DeltaTable(str(root), version=version).get_add_actions(flatten=True))
    files = [
        TableFile(
            root / unquote(row["path"]),
            row["path"],
            str(row[f"partition.{partition}"]),
            int(row["num_records"]),
            int(row["size_bytes"]),
        )
        for row in actions.iter_rows(named=True)
    ]
    return sorted(files, key=lambda file: (file.partition, file.relative))
