"""Open a wheel that somebody sent: is it what its name, its METADATA and its RECORD say?"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import PurePosixPath

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import (
    InvalidWheelFilename,
    canonicalize_name,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from seamline.domain.errors import InvalidInput
from seamline.register.wheels import spell_hash
from seamline.store.blobs import CHUNK_BYTES

#: Unpacked size; a small archive must not fill memory.
MAX_UNPACKED_BYTES = 4 << 30
MAX_INFO_BYTES = 16 << 20
_DRIVE = re.compile(r"[A-Za-z]:")
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


def check_wheel(filename: str, data: bytes) -> WheelInfo:
    """InvalidInput says what does not fit. No code in the wheel is run, nothing is unpacked."""
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
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_entries(filename, archive)
            hashes = {item.filename: _hash(archive, item) for item in archive.infolist()}
            info = _info_folder(filename, name, version, hashes)
            record, metadata = archive.read(f"{info}/RECORD"), archive.read(f"{info}/METADATA")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise _unfit(filename, f"it is no readable zip archive ({error})") from error
    _check_record(filename, info, record, hashes)
    requires_python = _check_metadata(filename, name, version, metadata)
    return WheelInfo(filename, name, str(version), tags, requires_python, metadata)


def _check_entries(filename: str, archive: zipfile.ZipFile) -> None:
    seen: set[str] = set()
    for item in archive.infolist():
        name = item.filename
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or _DRIVE.match(name):
            raise _unfit(filename, f"its entry {name!r} leaves the archive")
        if not name.isprintable() or name != item.orig_filename:
            raise _unfit(filename, f"its entry {name!r} has a name that cannot be")
        if stat.S_ISLNK(item.external_attr >> 16):
            raise _unfit(filename, f"its entry {name!r} is a link")
        if name.casefold() in seen:
            raise _unfit(filename, f"it holds {name!r} twice")
        seen.add(name.casefold())
    if sum(item.file_size for item in archive.infolist()) > MAX_UNPACKED_BYTES:
        raise _unfit(filename, f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
    described = [item for item in archive.infolist() if ".dist-info/" in item.filename]
    if any(item.file_size > MAX_INFO_BYTES for item in described):
        raise _unfit(filename, f"its .dist-info holds more than {MAX_INFO_BYTES:,} bytes")


def _hash(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> str:
    """As RECORD spells it; streamed, so memory stays bounded."""
    hasher = hashlib.sha256()
    with archive.open(item) as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return "sha256=" + spell_hash(hasher.digest())


def _info_folder(filename: str, name: str, version: Version, files: Mapping[str, str]) -> str:
    folders = {path.split("/")[0] for path in files if ".dist-info/" in path}
    if len(folders) != 1:
        raise _unfit(filename, f"it holds {len(folders)} .dist-info folders, wanted one")
    folder = folders.pop()
    stem_name, _, stem_version = folder.removesuffix(".dist-info").rpartition("-")
    if canonicalize_name(stem_name) != name or stem_version not in (
        str(version),
        filename.split("-")[1],
    ):
        raise _unfit(filename, f"its folder is {folder}")
    missing = [part for part in ("METADATA", "WHEEL", "RECORD") if f"{folder}/{part}" not in files]
    if missing:
        raise _unfit(filename, f"it has no {', '.join(missing)}")
    return folder


def _check_record(filename: str, info: str, record: bytes, files: Mapping[str, str]) -> None:
    try:
        lines = csv.reader(io.StringIO(record.decode()))
        recorded = {row[0]: row[1] for row in lines if row}
    except (UnicodeDecodeError, csv.Error, IndexError) as error:
        raise _unfit(filename, f"its RECORD cannot be read ({error})") from error
    unrecorded = {f"{info}/{name}" for name in _UNRECORDED}
    held = {path for path in files if not path.endswith("/")} - unrecorded
    absent = sorted(set(recorded) - unrecorded - held)
    extra = sorted(held - set(recorded))
    if absent or extra:
        raise _unfit(filename, f"its RECORD does not list what it holds: {(absent + extra)[:3]}")
    for path in held:
        if recorded[path] != files[path]:
            raise _unfit(filename, f"{path} differs from its RECORD")


def _check_metadata(filename: str, name: str, version: Version, metadata: bytes) -> str | None:
    headers = BytesHeaderParser().parsebytes(metadata)
    try:
        stated = (canonicalize_name(str(headers["Name"])), Version(str(headers["Version"])))
    except InvalidVersion as error:
        raise _unfit(filename, f"its METADATA has no valid version ({error})") from error
    if stated != (name, version):
        raise _unfit(filename, f"its METADATA says {stated[0]} {stated[1]}")
    requires_python = headers["Requires-Python"]
    if requires_python is None:
        return None
    try:
        return str(SpecifierSet(str(requires_python)))
    except InvalidSpecifier as error:
        raise _unfit(filename, f"its Requires-Python cannot be read ({error})") from error


def _unfit(filename: str, why: str) -> InvalidInput:
    return InvalidInput(f"{filename} is not a sound wheel: {why}.", next_step="Build it again.")
