"""Deliveries that come packed (gz, zip): unpacked into a file, in pieces."""

from __future__ import annotations

import gzip
import shutil
import zipfile
import zlib
from pathlib import Path, PurePath

from seamline.domain.errors import InvalidInput
from seamline.store.blobs import CHUNK_BYTES

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"


def unpack(path: Path, filename: str, name: str, folder: Path) -> tuple[Path, str]:
    """The plain file and what it is called: `path` itself, unless its first bytes say packed.

    Raises InvalidInput when it is packed and cannot be unpacked, or holds more than one file.
    """
    with path.open("rb") as file:
        head = file.read(4)
    try:
        if head.startswith(_GZIP):
            return _gunzip(path, folder), filename.removesuffix(".gz")
        if head.startswith(_ZIP):
            return _unzip(path, name, folder)
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, NotImplementedError) as why:
        raise InvalidInput(
            f"{name} cannot be unpacked: {str(why).rstrip('.')}.",
            next_step="Pack and deliver it again.",
        ) from why
    return path, filename


def _gunzip(path: Path, folder: Path) -> Path:
    target = folder / "unpacked"
    with gzip.open(path) as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, CHUNK_BYTES)
    return target


def _unzip(path: Path, name: str, folder: Path) -> tuple[Path, str]:
    with zipfile.ZipFile(path) as archive:
        members = [
            member
            for member in archive.infolist()
            if not member.is_dir() and not member.filename.startswith("__MACOSX/")
        ]
        if len(members) != 1:
            shown = ", ".join(member.filename for member in members[:5])
            raise InvalidInput(
                f"{name} holds {len(members)} files: {shown}.",
                next_step="Deliver one file at a time.",
            )
        if members[0].flag_bits & 1:
            raise InvalidInput(f"{name} is encrypted.", next_step="Pack it without a password.")
        target = folder / "unpacked"
        with archive.open(members[0]) as reading, target.open("wb") as writing:
            shutil.copyfileobj(reading, writing, CHUNK_BYTES)
        return target, PurePath(members[0].filename).name
