"""Bytes by digest, in a folder or an object store (obstore).

Key: `sha256/ab/cdef…`. A blob is written under its final name in one step, so a half-written
one is never seen; it is verified each time it is read (law 2).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.store import LocalStore

from seamline.domain.clock import Clock, new_id
from seamline.domain.digests import Digest, check_digest, digest_of, parse_digest
from seamline.domain.errors import DigestMismatch, Unavailable, not_found
from seamline.store.received import ReceivedFile
from seamline.store.verified import VerifiedFile, VerifiedFiles

CHUNK_BYTES = 1 << 20
_DIGITS = 64


@dataclass(frozen=True)
class StoredBlob:
    digest: Digest
    size_bytes: int
    #: Unix time at which it was last put.
    put_at: float


class Blobs:
    """A blob store in a local folder; the same keys serve in an object store later."""

    def __init__(self, root: Path, clock: Clock) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self._clock = clock
        self._store = LocalStore(root, mkdir=True)
        self._verified = VerifiedFiles(clock)
        self._aside = root / ".removing"
        self._restore()

    def put(self, data: bytes) -> Digest:
        digest = digest_of(data)
        if not self._touch(digest, len(data)):
            obstore.put(self._store, _key(digest), data)
        return digest

    def put_file(self, path: Path) -> Digest:
        """Streams: memory stays bounded whatever the size."""
        digest = digest_of_file(path)
        target = self.path_of(digest)
        if not self._touch(digest, path.stat().st_size):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{new_id(self._clock)}.partial")
            shutil.copyfile(path, partial)
            partial.replace(target)
        return digest

    def adopt(self, received: ReceivedFile) -> Digest:
        """Takes the file away from where it lies; its digest was made while it was written.

        Replaces a blob that somebody has altered. One that is sound stays.
        """
        target = self.path_of(received.digest)
        if self._touch(received.digest, received.size_bytes) and self._is_sound(received.digest):
            received.path.unlink()
            return received.digest
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            received.path.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Another file system: a copy has to be made, and is no longer what was hashed.
            partial = target.with_name(f".{new_id(self._clock)}.partial")
            try:
                shutil.copyfile(received.path, partial)
                check_file_digest(partial, received.digest, received.path.name)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
            received.path.unlink()
        return received.digest

    def open_verified(self, digest: str, what: str = "blob") -> VerifiedFile:
        """To be sent in pieces, whatever its size; DigestMismatch or NotFound otherwise."""
        return self._verified.open(self.path_of(digest), digest, what)

    def get(self, digest: str, what: str = "blob") -> bytes:
        """The verified bytes; DigestMismatch or NotFound otherwise."""
        try:
            data = bytes(obstore.get(self._store, _key(digest)).bytes())
        except FileNotFoundError:
            raise not_found(what, digest) from None
        return check_digest(data, digest, what)

    def holds(self, digest: str) -> bool:
        return self.path_of(digest).exists()

    def stored(self) -> Iterator[StoredBlob]:
        """All that there is, unverified, in no order."""
        for path in self.root.glob("sha256/??/*"):
            digits = path.parent.name + path.name
            try:
                stat = path.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            if len(digits) == _DIGITS:
                yield StoredBlob(Digest(f"sha256:{digits}"), stat.st_size, stat.st_mtime)

    def hold(self, digest: str, what: str = "blob") -> Path:
        """Where a blob lies that was put a while ago and is about to be referred to. From now on
        `remove_unused` leaves it; Unavailable where retention was faster."""
        path = self.path_of(digest)
        try:
            os.utime(path)
        except FileNotFoundError:
            raise Unavailable(
                f"{what} ({digest}) was removed by retention before anything referred to it.",
                next_step="Do it again; and let retention keep what is young (--grace).",
            ) from None
        return path

    def remove_unused(self, digest: str, since: float) -> bool:
        """Whether it is gone: a blob that was put again after `since` (Unix time) stays.

        Whoever puts a blob that is there touches it. It is moved aside first and looked at then,
        so a touch is either seen here or finds no file and writes the blob anew; and what a killed
        process left aside comes back.
        """
        path = self.path_of(digest)
        aside = self._aside / digest.removeprefix("sha256:")
        self._aside.mkdir(exist_ok=True)
        try:
            if path.stat().st_mtime > since:
                return False
            path.replace(aside)
        except FileNotFoundError:
            return False
        if aside.stat().st_mtime > since:
            aside.replace(path)
            return False
        aside.unlink(missing_ok=True)
        return True

    def _touch(self, digest: str, size_bytes: int) -> bool:
        """Whether it is there; then it is in use from now on (see `remove_unused`). One that is too
        short, as a power cut leaves them, is not: it is written anew."""
        path = self.path_of(digest)
        try:
            os.utime(path)
            return path.stat().st_size == size_bytes
        except FileNotFoundError:
            return False

    def _is_sound(self, digest: Digest) -> bool:
        try:
            return digest_of_file(self.path_of(digest)) == digest
        except FileNotFoundError:  # retention was faster
            return False

    def _restore(self) -> None:
        if not self._aside.is_dir():
            return
        for aside in self._aside.iterdir():
            path = self.path_of(f"sha256:{aside.name}")
            with contextlib.suppress(FileNotFoundError):  # another process does the same
                path.parent.mkdir(parents=True, exist_ok=True)
                aside.replace(path)

    def path_of(self, digest: str) -> Path:
        """Where the bytes lie, unverified: for showing to people. To use them: `verified_path`."""
        return self.root / _key(digest)

    def verified_path(self, digest: str, what: str = "blob") -> Path:
        path = self.path_of(digest)
        if not path.exists():
            raise not_found(what, digest)
        check_file_digest(path, digest, what)
        return path


def digest_of_file(path: Path) -> Digest:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return Digest("sha256:" + hasher.hexdigest())


def check_file_digest(path: Path, expected: str, what: str) -> None:
    actual = digest_of_file(path)
    if actual != expected:
        raise DigestMismatch(what, expected=expected, actual=actual)


def write_atomically(path: Path, data: bytes) -> None:
    """Readers see the old bytes or the new ones, never a part; durable once returned."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _key(digest: str) -> str:
    hexadecimal = parse_digest(digest).removeprefix("sha256:")
    return f"sha256/{hexadecimal[:2]}/{hexadecimal[2:]}"
