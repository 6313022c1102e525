"""Delta tables: append a partitioned frame, commit files written by us, list a version's files."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import unquote

import polars as pl
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    Transaction,
    write_deltalake,
)
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from seamline.domain.errors import MachineryError

_LOG = "_delta_log"
_LAST_CHECKPOINT = "_last_checkpoint"


@dataclass(frozen=True)
class TableFile:
    """One Parquet file of a table version; `path` is absolute, `relative` as in the log."""

    path: Path
    relative: str
    partition: str
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class NewFile:
    """A Parquet file that lies in the table's folder, and that its log does not know yet.

    `stats` is JSON as the Delta protocol has it (numRecords, minValues, …).
    """

    relative: str
    partition: str
    size_bytes: int
    stats: str


def table_version(root: Path) -> int | None:
    """The newest version, or None when there is no table yet."""
    table = _open(root)
    return None if table is None else table.version()


def append_frame(
    root: Path, frame: pl.DataFrame, partition: str, *, token: tuple[str, int] | None = None
) -> int:
    """Append in one commit; returns the new version. Columns that the table has not yet are added.

    `token` = (writer, number): a commit that carries a number not above the writer's last one
    was done before and is not done again (Delta's application transactions).
    """
    if token is not None and is_committed(root, token):
        return DeltaTable(str(root)).version()
    properties = CommitProperties(app_transactions=[Transaction(*token)]) if token else None
    write_deltalake(
        str(root),
        frame.to_arrow(),
        mode="append",
        schema_mode="merge",
        partition_by=[partition],
        commit_properties=properties,
    )
    return DeltaTable(str(root)).version()


def commit_files(
    root: Path,
    files: Sequence[NewFile],
    schema: Mapping[str, pl.DataType],
    partition: str,
    *,
    token: tuple[str, int],
    at_ms: int,
    replace: bool = False,
) -> int:
    """Make these files part of the table, in one commit, or of what it is from now on (`replace`);
    returns the new version. The same `token` is committed once (see `append_frame`).

    A table that is replaced may have another schema; its older versions keep theirs.
    """
    table = _open(root)
    if table is not None and _is_committed(table, token):
        return table.version()
    empty = pl.DataFrame(schema=dict(schema)).to_arrow(compat_level=pl.CompatLevel.oldest())
    delta_schema = Schema.from_arrow(empty.schema)
    actions: list[AddAction | RemoveAction] = [
        AddAction(one.relative, one.size_bytes, {partition: one.partition}, at_ms, True, one.stats)
        for one in files
    ]
    properties = CommitProperties(app_transactions=[Transaction(*token)])
    if table is None:
        create_table_with_add_actions(
            str(root),
            delta_schema,
            cast(list[AddAction], actions),
            partition_by=[partition],
            commit_properties=properties,
        )
        return DeltaTable(str(root)).version()
    table.create_write_transaction(
        actions,
        "overwrite" if replace else "append",
        delta_schema,
        [partition],
        commit_properties=properties,
        # Others read older versions by the log, too.
        post_commithook_properties=PostCommitHookProperties(
            create_checkpoint=True, cleanup_expired_logs=False
        ),
    )
    table.update_incremental()
    return table.version()


def drop_files(root: Path, relatives: Collection[str], partition: str, *, at_ms: int) -> None:
    """Take these out of the table's newest state, in one commit; the files stay where they lie.
    Those that it has no more, or never had, are passed over."""
    table = _open(root)
    if table is None:
        return
    held = pl.DataFrame(table.get_add_actions(flatten=True))
    found = held.filter(pl.col("path").is_in(list(relatives)))
    actions = [
        RemoveAction(
            row["path"],
            True,
            at_ms,
            row["size_bytes"],
            {partition: str(row[f"partition.{partition}"])},
        )
        for row in found.iter_rows(named=True)
    ]
    if actions:
        table.create_write_transaction(
            cast(list[AddAction | RemoveAction], actions), "append", table.schema(), [partition]
        )


def log_files(root: Path, version: int) -> list[Path]:
    """What a commit has written besides the table's own files."""
    log = root / _LOG
    last = log / _LAST_CHECKPOINT
    return [*sorted(log.glob(f"{version:020}.*")), *([last] if last.is_file() else [])]


def drop_torn_commit(root: Path, token: tuple[str, int]) -> None:
    """Take the newest commit away if it is torn; for whom alone may write, and was about to make
    the commit with this token.

    Of a file that was not flushed a power cut may leave the name alone, and readers take a commit
    without bytes for one of nothing. Checkpoints only save readers time: one that was made beside
    this commit, and may be torn, goes, too.
    """
    commits = sorted((root / _LOG).glob(f"{'[0-9]' * 20}.json"))
    if not commits:
        return
    newest = commits[-1]
    beside = [path for path in log_files(root, int(newest.stem)) if path != newest]
    lines = newest.read_bytes().splitlines()
    try:
        last = json.loads(lines[-1]) if lines else None
    except ValueError:
        last = None
    is_ours = last is not None and last.get("txn", {}).get("appId") == token[0]
    for path in [*beside, newest] if last is None else beside if is_ours else []:
        path.unlink()


def is_committed(root: Path, token: tuple[str, int]) -> bool:
    table = _open(root)
    return table is not None and _is_committed(table, token)


def _is_committed(table: DeltaTable, token: tuple[str, int]) -> bool:
    found = table.transaction_version(token[0])
    return found is not None and found >= token[1]


def _open(root: Path) -> DeltaTable | None:
    try:
        return DeltaTable(str(root))
    except TableNotFoundError:
        return None
    except DeltaError as error:
        raise MachineryError(
            f"The table {root.name} cannot be read: {str(error).partition(chr(10))[0]}",
            next_step=f"Restore {root} from a backup, with the database of the same moment.",
        ) from error


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
