"""What joblib has compressed, as the file that it was: unpacked a piece at a time, on demand.

As joblib reads it, but for LZ4, which is no part of Python.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import IO, Any, cast

#: What reading may raise when the bytes are not what they begin like.
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
_PIECE_BYTES = 1 << 16
_LZ4 = b"\x04\x22\x4d\x18"


class NotReadHere(ValueError):
    """Compressed by something that is not to be had."""


def open_packed(file: IO[bytes]) -> IO[bytes]:
    """At its beginning. `file` stays open when it is closed.

    >>> open_packed(io.BytesIO(zlib.compress(b"a tree"))).read()
    b'a tree'
    """
    file.seek(0)
    head = file.read(4)
    file.seek(0)
    if head == _LZ4:
        raise NotReadHere("LZ4 cannot be read here; compress with zlib")
    if head[:1] == b"\x78":
        return cast(IO[bytes], _Inflated(file))
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    return bz2.BZ2File(file) if head.startswith(b"BZh") else lzma.LZMAFile(file)


def unpacked_size(file: IO[bytes], limit: int) -> int:
    """Reads it all, and keeps nothing; whatever is over the limit when it is more than that."""
    size = 0
    while size <= limit and (piece := file.read(min(_PIECE_BYTES, limit + 1 - size))):
        size += len(piece)
    return size


class _Inflated(io.RawIOBase):
    """zlib's own format, for which Python has no file. To go back is to begin again."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._inflater = zlib.decompressobj()
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    # Whoever asks for so much gets no more; what is left of a piece waits in the inflater.
    def readinto(self, buffer: Any) -> int:
        found = b""
        while not found and not self._inflater.eof and len(buffer):
            packed = self._inflater.unconsumed_tail or self._file.read(_PIECE_BYTES)
            found = self._inflater.decompress(packed, len(buffer))
            if not packed and not found:  # it was cut
                break
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            while self.read(_PIECE_BYTES):
                pass
        wanted = offset if whence == io.SEEK_SET else self._position + offset
        if wanted < self._position:
            self._begin()
        while self._position < wanted and self.read(min(_PIECE_BYTES, wanted - self._position)):
            pass
        return self._position
