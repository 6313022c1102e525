"""A payload that is being fetched: a file of its whole size, and a journal of its whole parts.

A part is written first and noted after, so whoever comes after a kill -9 goes on with what is
noted. Nothing is flushed to the disk on the way: after a power cut the journal may promise too
much, which the digest of the whole finds.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from seamline_loader.errors import CacheUnusable, DiskFull, LoaderError

CHUNK_BYTES = 1 << 20
PART_BYTES = 8 << 20


class Partial:
    """Held by one process at a time (a lock); its threads write to places of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journal = path.with_suffix(".parts")
        self._size = 0
        self._file = -1

    def open(self, size: int, part_bytes: int) -> set[int]:
        """The parts that are there already; none when the payload's size is another one."""
        header = f"{size} {part_bytes}"
        lines = self._journal.read_text().split("\n")[:-1] if self._journal.exists() else []
        resumes = bool(lines) and lines[0] == header and self.path.exists()
        if not resumes:
            self.discard()
            self._journal.write_text(header + "\n")
        self._size = size
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._file, size)
        return {int(line) for line in lines[1:] if line.isdigit()} if resumes else set()

    def is_begun(self) -> bool:
        return self._journal.exists()

    def held_bytes(self) -> int:
        """What of it is on the disk already: a file that was only made long is sparse."""
        return self.path.stat().st_blocks * 512 if self.path.exists() else 0

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def write(self, data: bytes, at: int) -> None:
        """Beyond the payload's end nothing is written, whatever a server sends."""
        rest = memoryview(data)[: max(self._size - at, 0)]
        while rest:
            written = os.pwrite(self._file, rest, at)
            rest, at = rest[written:], at + written

    def note(self, part: int) -> None:
        with self._journal.open("a") as journal:
            journal.write(f"{part}\n")

    def digest(self) -> str:
        """64 hexadecimal digits of what is in the file now."""
        return digest_of_file(self.path)

    def discard(self) -> None:
        self.close()
        for path in (self._journal, self.path):
            path.unlink(missing_ok=True)

    def move_to(self, target: Path) -> None:
        """In one step: under its final name there is the whole payload, or nothing."""
        self.close()
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        self._journal.unlink(missing_ok=True)


def digest_of_file(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()


def cannot_use(folder: Path, error: OSError) -> LoaderError:
    """What the operating system says of a file in the cache, for people."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(folder)
    return CacheUnusable(
        f"{error.filename or folder} cannot be used ({error.strerror}). Give this user access, "
        "or name another folder: SEAMLINE_PAYLOAD_CACHE."
    )


def disk_full(folder: Path, size: int | None = None) -> DiskFull:
    what = "the payload" if size is None else f"a payload of {size:,} bytes"
    return DiskFull(
        f"The disk of {folder} is too full for {what}. Make room there, or name another folder: "
        "SEAMLINE_PAYLOAD_CACHE. What was fetched so far is kept."
    )
