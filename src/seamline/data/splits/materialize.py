"""Lay a split out as a folder for a task: exactly its rows, verified at each use."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import ColumnElement, select, update

from seamline.data.declaration import DAY
from seamline.data.materialize import (
    is_usable,
    put_in_place,
    remove_materialized,
)
from seamline.data.rows import DATASET_SPLITS
from seamline.data.splits.read import Split, read_split_frames
from seamline.data.versions.read import check_kept
from seamline.data.versions.version import VersionFile
from seamline.data.writing.parquet import write_file
from seamline.domain.clock import new_id
from seamline.store.stores import Stores


def materialize_split(stores: Stores, split: Split, target_parent: Path) -> Path:
    """A read-only folder with `ds=DAY/….parquet` below it.

    Its files are made from the version's verified ones and their digests recorded; a folder that
    holds other bytes is made anew. They are also made anew where a newer Parquet writer gives other
    bytes for the same rows: what names a split is its version and definition, not its files.
    """
    check_kept(stores, split.version)
    target = target_parent / _folder_name(split)
    files = _recorded_files(stores, split)
    if files is not None and is_usable(target, files):
        return target
    partial = target_parent / f".{target.name}.{new_id(stores.clock)}.partial"
    partial.mkdir(parents=True)
    try:
        files = _write_files(stores, split, partial)
        _record_files(stores, split, files)
        for folder in partial.iterdir():
            folder.chmod(0o555)
        put_in_place(partial, target, files)
    finally:
        remove_materialized(partial)
    return target


def _folder_name(split: Split) -> str:
    digits = split.digest.removeprefix("sha256:")[:16]
    return f"{split.version.reference}-{split.name}-{digits}"


def _write_files(stores: Stores, split: Split, folder: Path) -> list[VersionFile]:
    files = []
    for number, frame in enumerate(read_split_frames(stores, split)):
        day = frame[DAY][0].isoformat()
        name = hashlib.sha256(f"{split.digest}/{number}".encode()).hexdigest()[:24] + ".parquet"
        below = folder / f"{DAY}={day}"
        below.mkdir(exist_ok=True)
        files.append(write_file(frame.drop(DAY).rechunk(), below, day, name).file)
        (below / name).chmod(0o444)
    return files


def _recorded_files(stores: Stores, split: Split) -> list[VersionFile] | None:
    query = select(DATASET_SPLITS.c.files_digest).where(_is(split))
    with stores.db.read() as connection:
        digest = connection.execute(query).scalar_one_or_none()
    if digest is None or not stores.blobs.holds(digest):
        return None
    data = stores.blobs.get(digest, f"the file list of {split.reference}")
    return [VersionFile(**file) for file in json.loads(data)]


def _record_files(stores: Stores, split: Split, files: list[VersionFile]) -> None:
    listed = json.dumps([asdict(file) for file in files], sort_keys=True).encode()
    digest = stores.blobs.put(listed)
    with stores.db.transaction() as tx:
        tx.execute(update(DATASET_SPLITS).where(_is(split)).values(files_digest=digest))


def _is(split: Split) -> ColumnElement[bool]:
    table = DATASET_SPLITS
    return (
        (table.c.dataset == split.version.dataset)
        & (table.c.version == split.version.version)
        & (table.c.split == split.name)
    )
