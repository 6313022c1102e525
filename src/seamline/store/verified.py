"""Files that are served: hashed once for each state in which they are found on the disk.

Law 2 wants bytes verified where they are used. To hash a wheel at each of a thousand downloads
would cost more than to send it, and a client that asks for a range cannot be helped by a hash of
the whole. So a file is hashed when it is first opened, and again whenever the operating system
says that it has been touched: another inode, size, time of modification or time of change, which
no program can set back. What is sent comes from the very descriptor that was hashed, and its state
is looked at again before the last piece leaves: a file that was touched meanwhile (the same bytes
were put again, somebody has linked to it) is hashed once more. What no file system notices (a bit
that fell over on the platter) is left to the receiver, to whom the digest was told beforehand.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from seamline.domain.clock import Clock
from seamline.domain.errors import DigestMismatch, not_found

PIECE_BYTES = 1 << 20
#: Time stamps of files are as coarse as the kernel's tick, on some file systems two seconds: what
#: was touched a moment ago may be touched again without a new stamp, so it is not remembered.
SETTLED_NS = 3_000_000_000
_REMEMBERED = 10_000
#: Of the size that a processor's cache holds: read and sent without the way through main memory.
_CACHED_BYTES = 256 << 10
#: The flag of preadv(2) for "or not at all", where there is one (Linux).
_AT_ONCE: int | None = getattr(os, "RWF_NOWAIT", None)


class FileState(NamedTuple):
    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


def state_of(file: IO[bytes]) -> FileState:
    found = os.fstat(file.fileno())
    return FileState(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


class VerifiedFile:
    """An open file whose bytes were the digest's. To be closed."""

    def __init__(self, file: IO[bytes], state: FileState, digest: str, what: str) -> None:
        self._file = file
        self._state = state
        self._digest = digest
        self._what = what

    @property
    def size_bytes(self) -> int:
        return self._state.size_bytes

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes start to stop; DigestMismatch before the last piece when they were altered."""
        while start < stop:
            piece = self.read(start, stop)
            start += len(piece)
            yield piece

    def read(self, start: int, stop: int) -> bytes:
        """The next piece of bytes start to stop, which waits for the disk.

        DigestMismatch before the last one when they were altered.
        """
        piece = os.pread(self._file.fileno(), min(PIECE_BYTES, stop - start), start)
        is_last = start + len(piece) >= stop
        if not piece or (is_last and not self._is_unaltered()):
            raise self._altered()
        return piece

    def read_at_once(self, start: int, stop: int) -> bytes | bytearray | None:
        """As `read`, of what the operating system holds in memory; None where it would wait.

        An event loop may call it, and saves the way through a thread for each piece. The last one
        of a file that was touched is left to `read`, which hashes it.
        """
        if _AT_ONCE is None:
            return None
        piece = bytearray(min(_CACHED_BYTES, stop - start))
        try:
            count = os.preadv(self._file.fileno(), [piece], start, _AT_ONCE)
        except OSError:  # not in memory, or a file system that cannot tell
            return None
        del piece[count:]
        is_last = start + count >= stop
        return piece if count and not (is_last and self._was_touched()) else None

    def _was_touched(self) -> bool:
        return state_of(self._file) != self._state

    def _is_unaltered(self) -> bool:
        state = state_of(self._file)
        if state != self._state:
            self._file.seek(0)
            if _digest_of(self._file) != self._digest:
                return False
            self._state = state
        return True

    def _altered(self) -> DigestMismatch:
        return DigestMismatch(
            self._what, expected="the file that was verified", actual="an altered one"
        )

    @contextmanager
    def reading(self) -> Iterator[IO[bytes]]:
        """The file itself, to be read in any order; DigestMismatch at the end when it was altered
        meanwhile."""
        self._file.seek(0)
        yield self._file
        if not self._is_unaltered():
            raise self._altered()

    def close(self) -> None:
        self._file.close()


class VerifiedFiles:
    """Remembers which state of a file had which digest. Safe in many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, FileState] = OrderedDict()

    def open(self, path: Path, digest: str, what: str) -> VerifiedFile:
        """NotFound or DigestMismatch (both digests) instead of other bytes."""
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise not_found(what, digest) from None
        try:
            state = state_of(file)
            with self._lock:
                is_known = self._known.get(digest) == state
            if not is_known:
                self._verify(file, state, digest, what)
        except BaseException:
            file.close()
            raise
        return VerifiedFile(file, state, digest, what)

    def _verify(self, file: IO[bytes], state: FileState, digest: str, what: str) -> None:
        began_ns = int(self._clock.now().timestamp() * 1e9)
        actual = _digest_of(file)
        if actual != digest:
            raise DigestMismatch(what, expected=digest, actual=actual)
        if max(state.changed_ns, state.modified_ns) + SETTLED_NS < began_ns:
            with self._lock:
                self._known[digest] = state
                self._known.move_to_end(digest)
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)


def _digest_of(file: IO[bytes]) -> str:
    return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
