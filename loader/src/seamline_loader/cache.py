"""Payloads on this machine's disk, by digest, shared by all processes that name the folder.

sha256/<64 digits>              whole and verified; its time of change says when it was last used
partial/<64 digits>.payload     being fetched, with its journal beside it
locks/<64 digits>               held by the one process that fetches it; let go by a kill -9
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from seamline_loader.partial import Partial, disk_full

#: What nobody went on with for so long is removed.
ABANDONED_S = 7 * 24 * 3600


class Cache:
    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes

    def path_of(self, name: str) -> Path:
        return self.folder / "sha256" / name

    def partial_of(self, name: str) -> Partial:
        path = self.folder / "partial" / f"{name}.payload"
        path.parent.mkdir(parents=True, exist_ok=True)
        return Partial(path)

    def open(self, name: str) -> BinaryIO | None:
        """None when it is not here. An open one stays readable, whoever makes room meanwhile."""
        try:
            file = self.path_of(name).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return None
        with suppress(OSError):  # a read-only cache still serves
            os.utime(file.fileno())
        return file

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """One process fetches; the others wait here, and find it."""
        with self._lock_file(name) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def forget(self, name: str) -> None:
        self.path_of(name).unlink(missing_ok=True)

    def make_room(self, size: int, missing: int, keep: str) -> None:
        """The least recently used go, until a payload of `size` bytes fits under the limit, and
        the `missing` ones of it on the disk; DiskFull when these do not even then. A payload that
        is larger than the limit is kept alone."""
        self._remove_abandoned(keep)
        entries = sorted(self._entries(keep), key=lambda entry: entry[0])
        held = sum(entry_bytes for _, entry_bytes, _ in entries)
        for _, entry_bytes, path in entries:
            if held + size <= self._limit_bytes and missing <= self._free_bytes():
                return
            path.unlink(missing_ok=True)
            held -= entry_bytes
        if missing > self._free_bytes():
            raise disk_full(self.folder, size)

    def _entries(self, keep: str) -> Iterator[tuple[float, int, Path]]:
        folder = self.folder / "sha256"
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):  # another process makes room, too
                status = path.stat()
                if path.name != keep:
                    yield status.st_mtime, status.st_size, path

    def _remove_abandoned(self, keep: str) -> None:
        limit = time.time() - ABANDONED_S
        for path in (self.folder / "partial").glob("*.payload"):
            name = path.stem
            with suppress(FileNotFoundError), self._lock_file(name) as file:
                if name == keep or path.stat().st_mtime > limit:
                    continue
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.partial_of(name).discard()

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[BinaryIO]:
        path = self.folder / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            yield file

    def _free_bytes(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free
