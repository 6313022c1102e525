"""A file that arrives piece by piece: hashed while it is written, so it is read by nobody twice."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from seamline.domain.digests import Digest

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class ReceivedFile:
    """Whole and on the disk, in a folder that nobody else writes to; not yet in a store."""

    path: Path
    digest: Digest
    size_bytes: int


class FileReceiver:
    """Memory stays bounded whatever the size. `path` must not be there yet, unless it `goes_on`
    with what is."""

    def __init__(self, path: Path, *, goes_on: bool = False) -> None:
        self.path = path
        self.size_bytes = 0
        self._hasher = hashlib.sha256()
        if goes_on and path.exists():
            with path.open("rb") as before:
                while piece := before.read(_PIECE_BYTES):
                    self._hasher.update(piece)
                    self.size_bytes += len(piece)
        self._file = path.open("ab" if goes_on else "xb")

    @property
    def digest(self) -> Digest:
        """Of what has come so far."""
        return Digest("sha256:" + self._hasher.hexdigest())

    def write(self, data: bytes) -> None:
        self._hasher.update(data)
        self._file.write(data)
        self.size_bytes += len(data)

    def begin_again(self) -> None:
        """What has come is forgotten."""
        self._file.truncate(0)
        self._hasher, self.size_bytes = hashlib.sha256(), 0

    def finish(self) -> ReceivedFile:
        """Durable once returned: a row may point at it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        return ReceivedFile(self.path, self.digest, self.size_bytes)

    def close(self) -> None:
        self._file.close()
