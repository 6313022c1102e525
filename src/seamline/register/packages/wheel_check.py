"""Open a wheel that somebody sent: is it what its name, its METADATA and its RECORD say?"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path, PurePosixPath

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import (
    InvalidWheelFilename,
    canonicalize_name,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from seamline.domain.errors import InvalidInput
from seamline.register.packages.wheel_pack import spell_hash
from seamline.register.packages.wheel_zip import open_archive, unsound
from seamline.store.blobs import CHUNK_BYTES

#: Unpacked size: of all that an installer would write, and of what is read here as a whole.
MAX_UNPACKED_BYTES = 16 << 30
MAX_INFO_BYTES = 16 << 20
#: A small archive must fill nobody's disk, nor keep this server busy: what unpacks to more than
#: this may be so many times as large as the archive. Arrays of weights shrink to a tenth at best.
FREE_UNPACKED_BYTES = 64 << 20
MAX_RATIO = 100
_MAX_PATH_BYTES = 1024
_DRIVE = re.compile(r"[A-Za-z]:")
#: What the library raises for archives that are broken, encrypted or packed in unknown ways
#: (NotImplementedError is a RuntimeError, UnicodeError a ValueError).
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OverflowError,
    RuntimeError,
    ValueError,
)
_UNRECORDED = {"RECORD", "RECORD.jws", "RECORD.p7s"}


@dataclass(frozen=True)
class WheelInfo:
    """`name` and `version` are normalised; `metadata` is the METADATA file."""

    filename: str
    name: str
    version: str
    tags: frozenset[Tag]
    requires_python: str | None
    metadata: bytes


def check_wheel(filename: str, data: bytes | Path) -> WheelInfo:
    """InvalidInput says what does not fit. No code in the wheel is run, nothing is unpacked.

    `data`: the bytes, or where they lie; of a file no more than a piece is in memory at a time.
    """
    try:
        name, version, _, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise InvalidInput(
            f"{filename!r} is not a wheel's file name: {error}.",
            next_step="Only wheels (.whl) are taken: building an sdist runs its code.",
        ) from error
    if not filename.isascii() or not filename.isprintable() or len(filename) > 255:
        raise InvalidInput(f"{filename!r} cannot be a file name here.")
    try:
        with (
            io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file,
            open_archive(filename, file) as archive,
        ):
            _check_entries(filename, archive, file.seek(0, io.SEEK_END))
            held = {
                item.filename: (_hash(archive, item), str(item.file_size))
                for item in archive.infolist()
            }
            info = _info_folder(filename, name, version, held)
            record, metadata = archive.read(f"{info}/RECORD"), archive.read(f"{info}/METADATA")
    except _UNREADABLE as error:
        raise unsound(filename, f"it is no readable zip archive ({error})") from error
    _check_record(filename, info, record, held)
    requires_python = _check_metadata(filename, name, version, metadata)
    return WheelInfo(filename, name, str(version), tags, requires_python, metadata)


def _check_entries(filename: str, archive: zipfile.ZipFile, size_bytes: int) -> None:
    seen: set[str] = set()
    for item in archive.infolist():
        _check_entry(filename, item)
        name = item.filename.casefold().rstrip("/")
        if name in seen:
            raise unsound(filename, f"it holds {item.filename!r} twice")
        seen.add(name)
    files = {item.filename.casefold() for item in archive.infolist() if not item.is_dir()}
    for item in archive.infolist():
        for parent in PurePosixPath(item.filename.casefold()).parents:
            if str(parent) in files:
                raise unsound(filename, f"{str(parent)!r} is a file and a folder in it")
    unpacked = sum(item.file_size for item in archive.infolist())
    if unpacked > MAX_UNPACKED_BYTES:
        raise unsound(filename, f"it unpacks to {unpacked:,} bytes; {MAX_UNPACKED_BYTES:,} fit")
    if unpacked > max(FREE_UNPACKED_BYTES, MAX_RATIO * size_bytes):
        raise unsound(filename, f"its {size_bytes:,} bytes unpack to {unpacked:,}")
    described = [item for item in archive.infolist() if ".dist-info/" in item.filename]
    if any(item.file_size > MAX_INFO_BYTES for item in described):
        raise unsound(filename, f"its .dist-info holds more than {MAX_INFO_BYTES:,} bytes")


def _check_entry(filename: str, item: zipfile.ZipInfo) -> None:
    name = item.filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or _DRIVE.match(name):
        raise unsound(filename, f"its entry {name!r} leaves the archive")
    if not name.isprintable() or name != item.orig_filename:
        raise unsound(filename, f"its entry {name!r} has a name that cannot be")
    if name.rstrip("/") != str(path) or len(name.encode()) > _MAX_PATH_BYTES:
        raise unsound(filename, f"its entry {name[:200]!r} has a path that cannot be")
    kind = stat.S_IFMT(item.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise unsound(filename, f"its entry {name!r} is a link")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (item.is_dir() and item.file_size):
        raise unsound(filename, f"its entry {name!r} is neither a file nor a folder")
    if item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unsound(filename, f"its entry {name!r} is packed by method {item.compress_type}")


def _hash(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> str:
    """As RECORD spells it; streamed, so memory stays bounded."""
    hasher = hashlib.sha256()
    with archive.open(item) as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return "sha256=" + spell_hash(hasher.digest())


def _info_folder(filename: str, name: str, version: Version, files: Collection[str]) -> str:
    folders = {path.split("/")[0] for path in files if ".dist-info/" in path}
    if len(folders) != 1:
        raise unsound(filename, f"it holds {len(folders)} .dist-info folders, wanted one")
    folder = folders.pop()
    stem_name, _, stem_version = folder.removesuffix(".dist-info").rpartition("-")
    if canonicalize_name(stem_name) != name or stem_version not in (
        str(version),
        filename.split("-")[1],
    ):
        raise unsound(filename, f"its folder is {folder}")
    missing = [part for part in ("METADATA", "WHEEL", "RECORD") if f"{folder}/{part}" not in files]
    if missing:
        raise unsound(filename, f"it has no {', '.join(missing)}")
    return folder


def _check_record(
    filename: str, info: str, record: bytes, files: Mapping[str, tuple[str, str]]
) -> None:
    """`files`: name → (hash, size) as RECORD has to spell them; a size may be left out."""
    try:
        lines = csv.reader(io.StringIO(record.decode()))
        rows = [(row[0], (row[1], "".join(row[2:]))) for row in lines if row]
    except (UnicodeDecodeError, csv.Error, IndexError) as error:
        raise unsound(filename, f"its RECORD cannot be read ({error})") from error
    recorded = dict(rows)
    if len(recorded) != len(rows):
        raise unsound(filename, "its RECORD lists a file twice")
    unrecorded = {f"{info}/{name}" for name in _UNRECORDED}
    held = {path for path in files if not path.endswith("/")} - unrecorded
    absent = sorted(set(recorded) - unrecorded - held)
    extra = sorted(held - set(recorded))
    if absent or extra:
        raise unsound(filename, f"its RECORD does not list what it holds: {(absent + extra)[:3]}")
    for path in held:
        hashed, size = recorded[path]
        if hashed != files[path][0] or size not in ("", files[path][1]):
            raise unsound(filename, f"{path} differs from its RECORD")


def _check_metadata(filename: str, name: str, version: Version, metadata: bytes) -> str | None:
    headers = BytesHeaderParser().parsebytes(metadata)
    for key in ("Metadata-Version", "Name", "Version"):
        if len(headers.get_all(key, [])) != 1:
            raise unsound(filename, f"its METADATA has to say {key} once")
    try:
        stated = (canonicalize_name(str(headers["Name"])), Version(str(headers["Version"])))
    except InvalidVersion as error:
        raise unsound(filename, f"its METADATA has no valid version ({error})") from error
    if stated != (name, version):
        raise unsound(filename, f"its METADATA says {stated[0]} {stated[1]}")
    requires_python = headers["Requires-Python"]
    if requires_python is None:
        return None
    try:
        return str(SpecifierSet(str(requires_python)))
    except InvalidSpecifier as error:
        raise unsound(filename, f"its Requires-Python cannot be read ({error})") from error
