"""Wheels are packed reproducibly: the same files give the same bytes, on any machine.

Entries are sorted and stored without compression (zlib's output differs between builds), with
one timestamp and one permission. What is too large for memory is packed piece by piece, into the
very bytes that packing it whole would give.
"""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO

from seamline.domain.digests import Digest, parse_digest
from seamline.domain.errors import DigestMismatch

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_MODE = stat.S_IFREG | 0o644
WHEEL_FILE = "Wheel-Version: 1.0\nGenerator: seamline\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True)
class LargeFile:
    """A file of a wheel that is never whole in memory. `pieces` are read once, while packing."""

    digest: Digest
    size_bytes: int
    pieces: Iterable[bytes]


def wheel_name(name: str, version: str) -> str:
    """
    >>> wheel_name("late-arrival", "1.0.3")
    'late_arrival-1.0.3-py3-none-any.whl'
    """
    return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def pack_wheel(
    files: Mapping[str, bytes | LargeFile], info: str, compression: int = zipfile.ZIP_STORED
) -> bytes:
    """The archive with its RECORD in the folder `info`: the same files give the same bytes."""
    buffer = io.BytesIO()
    write_wheel(buffer, files, info, compression)
    return buffer.getvalue()


def write_wheel(
    target: IO[bytes],
    files: Mapping[str, bytes | LargeFile],
    info: str,
    compression: int = zipfile.ZIP_STORED,
) -> None:
    """The same bytes into a file, which has to be seekable.

    DigestMismatch when the pieces of a large file are not what it says; what has been written by
    then is no wheel.
    """
    record = f"{info}/RECORD"
    recorded = {**files, record: _record(files, record).encode()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(recorded, key=lambda name: (".dist-info/" in name, name)):
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = _MODE << 16
            entry.compress_type = compression
            _write_entry(archive, entry, recorded[name])


def _write_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, data: bytes | LargeFile) -> None:
    if isinstance(data, bytes):
        archive.writestr(entry, data)
        return
    # Stated beforehand, so that the archive makes room for a size that four bytes cannot say.
    entry.file_size = data.size_bytes
    hasher = hashlib.sha256()
    with archive.open(entry, "w") as file:
        for piece in data.pieces:
            hasher.update(piece)
            file.write(piece)
    actual = "sha256:" + hasher.hexdigest()
    if actual != data.digest:
        raise DigestMismatch(f"{entry.filename}, to be packed", expected=data.digest, actual=actual)


def _record(files: Mapping[str, bytes | LargeFile], record: str) -> str:
    lines = [f"{name},{_hash_and_size(data)}" for name, data in files.items()]
    return "\n".join([*sorted(lines), f"{record},,"]) + "\n"


def _hash_and_size(data: bytes | LargeFile) -> str:
    if isinstance(data, bytes):
        return f"sha256={spell_hash(hashlib.sha256(data).digest())},{len(data)}"
    hashed = bytes.fromhex(parse_digest(data.digest).removeprefix("sha256:"))
    return f"sha256={spell_hash(hashed)},{data.size_bytes}"


def spell_hash(digest: bytes) -> str:
    """As RECORD spells a hash.

    >>> spell_hash(bytes(3))
    'AAAA'
    """
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
