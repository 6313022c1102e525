"""Lay a version's files out as a folder for a task: exactly its bytes, verified at each use."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from seamline.data.versions.read import check_kept, version_files
from seamline.data.versions.version import (
    DatasetVersion,
    Reference,
    VersionFile,
    parse_reference,
    table_folder,
)
from seamline.domain.clock import new_id
from seamline.domain.errors import DigestMismatch, InvalidInput
from seamline.store.blobs import CHUNK_BYTES, digest_of_file
from seamline.store.stores import Stores

SCHEME = "datasets://"


def parse_dataset_uri(uri: str) -> Reference:
    """
    >>> str(parse_dataset_uri("datasets://flights@7/train"))
    'flights@7/train'
    """
    if not uri.startswith(SCHEME):
        raise InvalidInput(
            f"{uri!r} is not the URI of a dataset.",
            next_step=f"Write {SCHEME}NAME@VERSION, or {SCHEME}NAME for the newest version; "
            f"{SCHEME}NAME@VERSION/SPLIT for one of its splits.",
        )
    return parse_reference(uri.removeprefix(SCHEME))


def materialize(stores: Stores, version: DatasetVersion, target_parent: Path) -> Path:
    """The read-only folder `target_parent/NAME@VERSION` with `ds=DAY/….parquet` below it.

    Files are hard links into a cache by digest where the file system allows it. Everything is
    hashed again at each use: a folder that is as it should be stays (others may be reading it),
    and an altered file is replaced from the table. Raises DigestMismatch when the table's own
    file was altered, Refused when retention has removed the version's rows.
    """
    check_kept(stores, version)
    target = target_parent / version.reference
    files = version_files(stores, version)
    if is_usable(target, files):
        return target
    partial = target_parent / f".{version.reference}.{new_id(stores.clock)}.partial"
    partial.mkdir(parents=True)
    try:
        for file in files:
            placed = partial / file.relative
            placed.parent.mkdir(exist_ok=True)
            _place(stores, version, file, placed)
        for folder in partial.iterdir():
            folder.chmod(0o555)
        put_in_place(partial, target, files)
    finally:
        remove_materialized(partial)
    return target


def holds_exactly(folder: Path, files: Sequence[VersionFile]) -> bool:
    """Whether these are the files below it: none altered, missing or added."""
    try:
        below = [path for path in folder.rglob("*") if path.is_file()]
        found = {str(path.relative_to(folder)): path for path in below}
        return (
            folder.is_dir()
            and {file.relative for file in files} == set(found)
            and all(digest_of_file(found[file.relative]) == file.sha256 for file in files)
        )
    except FileNotFoundError:  # it is being removed or replaced
        return False


def put_in_place(partial: Path, target: Path, files: Sequence[VersionFile]) -> None:
    """Instead of a folder that was altered. One that holds these files stays: of two who make it,
    a task reads the first one's already when the second comes."""
    if target.exists() and not holds_exactly(target, files):
        aside = partial.with_suffix(".altered")
        with contextlib.suppress(FileNotFoundError):
            target.replace(aside)
            if holds_exactly(aside, files):  # somebody else has replaced it since we looked
                _move(aside, target)
        remove_materialized(aside)
    _move(partial, target)


def _move(folder: Path, target: Path) -> None:
    try:
        folder.replace(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return  # somebody else was faster; it holds the same bytes
    with contextlib.suppress(FileNotFoundError):
        target.chmod(0o555)


def remove_materialized(folder: Path) -> None:
    """Delete such a folder, read-only as it is; nothing happens when there is none."""
    if not folder.exists():
        return
    folder.chmod(0o755)
    for inner in folder.iterdir():
        if inner.is_dir():  # files are links into the cache: their mode is not this folder's
            inner.chmod(0o755)
    shutil.rmtree(folder)


def cache_path(stores: Stores, digest: str) -> Path:
    """Where a cached file lies: by its own digest, so that versions share what they share."""
    hexadecimal = digest.removeprefix("sha256:")
    return stores.root / "cache" / "datasets" / hexadecimal[:2] / f"{hexadecimal[2:]}.parquet"


def _cached(stores: Stores, version: DatasetVersion, file: VersionFile) -> Path:
    """The file's cached copy, verified now."""
    path = cache_path(stores, file.sha256)
    if path.is_file() and digest_of_file(path) == file.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{new_id(stores.clock)}.partial")
    source = table_folder(stores, version.dataset) / file.relative
    try:
        if not source.is_file():
            check_kept(stores, version)
        actual = _copy(source, partial) if source.is_file() else "no file"
        if actual != file.sha256:
            what = f"file {file.relative} of {version.reference}"
            raise DigestMismatch(what, expected=file.sha256, actual=actual)
        partial.chmod(0o444)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _copy(source: Path, target: Path) -> str:
    """Copies, and hashes the very bytes that it writes."""
    hasher = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(CHUNK_BYTES):
            hasher.update(chunk)
            writing.write(chunk)
    return f"sha256:{hasher.hexdigest()}"


def _place(stores: Stores, version: DatasetVersion, file: VersionFile, placed: Path) -> None:
    """Retention may remove a cached file that nobody links to yet: then it is copied once more."""
    try:
        _link(_cached(stores, version, file), placed)
    except FileNotFoundError:
        _link(_cached(stores, version, file), placed)


def _link(cached: Path, placed: Path) -> None:
    try:
        os.link(cached, placed)
    except OSError:  # another file system, or one without links
        shutil.copyfile(cached, placed)
        placed.chmod(0o444)


def is_usable(folder: Path, files: Sequence[VersionFile]) -> bool:
    """Whether it holds exactly these files; then it is in use from now on."""
    if not holds_exactly(folder, files):
        return False
    try:
        os.utime(folder)
    except FileNotFoundError:  # retention was faster
        return False
    return True


def unused_cache(stores: Stores, before: datetime) -> list[Path]:
    """What nobody has used since: folders that versions and splits were laid out in, what a killed
    process left of one, and files that no folder links to. All of it is made anew when needed."""
    cache = stores.root / "cache" / "datasets"
    if not cache.is_dir():
        return []
    since = before.timestamp()
    folders = [path for path in cache.iterdir() if len(path.name) > 2 and path.is_dir()]
    found = [path for path in folders if last_used(path) <= since]
    for path in cache.glob("??/*.parquet"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            if stat.st_nlink == 1 and stat.st_mtime <= since:
                found.append(path)
    return sorted(found)


def last_used(path: Path) -> float:
    """Unix time. What another has removed meanwhile is nobody's to remove: infinite."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def remove_unused(path: Path, before: datetime) -> None:
    """Of `unused_cache`'s. A folder is moved aside first and looked at then: whoever uses one
    touches it, so that is either seen here, or finds no folder and makes it anew."""
    if path.is_file():
        path.unlink(missing_ok=True)
        return
    aside = path.with_name(f".{path.name}.removed")
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)
        if aside.stat().st_mtime > before.timestamp():
            _move(aside, path)
        remove_materialized(aside)
