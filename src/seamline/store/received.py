"""A file that arrives piece by piece: hashed while it is written, so it is read by nobody twice."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from seamline.domain.digests import Digest


@dataclass(frozen=True)
class ReceivedFile:
    """Whole and on the disk, in a folder that nobody else writes to; not yet in a store."""

    path: Path
    digest: Digest
    size_bytes: int


class FileReceiver:
    """Memory stays bounded whatever the size. `path` must not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb")
        self._hasher = hashlib.sha256()
        self._size_bytes = 0

    def write(self, data: bytes) -> None:
        self._hasher.update(data)
        self._file.write(data)
        self._size_bytes += len(data)

    def finish(self) -> ReceivedFile:
        """Durable once returned: a row may point at it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        digest = Digest("sha256:" + self._hasher.hexdigest())
        return ReceivedFile(self.path, digest, self._size_bytes)

    def close(self) -> None:
        self._file.close()
