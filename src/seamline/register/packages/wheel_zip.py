"""Is a zip archive what every reader of zip archives would take it for?

Readers differ: some go by the directory at the end, some by the header before each entry, some
take the first of two directories. An archive that means one thing to whoever checks it and another
to whoever installs it is refused. So: entries lie one behind the other from the first byte, each
header says what the directory says, the directory follows at once, and nothing follows the end.
"""

from __future__ import annotations

import struct
import zipfile
from typing import IO

from seamline.domain.errors import InvalidInput

#: An archive's directory is held in memory as a whole.
MAX_ENTRIES = 50_000
MAX_DIRECTORY_BYTES = 6 << 20

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_HEADER = struct.Struct("<4s5H3L2H")
_DESCRIPTOR_SIZES = (12, 16, 20, 24)
_HAS_DESCRIPTOR = 0x08
_IS_UTF8 = 0x800
_UNKNOWN = 0xFFFFFFFF
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075


def unsound(filename: str, why: str) -> InvalidInput:
    return InvalidInput(f"{filename} is not a sound wheel: {why}.", next_step="Build it again.")


def open_archive(filename: str, file: IO[bytes]) -> zipfile.ZipFile:
    """The archive, of bounded size and with one meaning; InvalidInput says what does not fit."""
    entries, directory_at = _check_end(filename, file)
    archive = zipfile.ZipFile(file)
    position, held = 0, len(archive.infolist())
    if held != entries:
        raise unsound(filename, f"it says that it has {entries:,} entries, and lists {held:,}")
    for item in sorted(archive.infolist(), key=lambda one: one.header_offset):
        position = _check_header(filename, file, item, position)
    if position != directory_at:
        raise unsound(filename, f"{directory_at - position} bytes lie before its directory")
    return archive


def _check_end(filename: str, file: IO[bytes]) -> tuple[int, int]:
    """How many entries there are, and where the directory begins."""
    size = file.seek(0, 2)
    end_at = size - _END.size
    if end_at < 0:
        raise unsound(filename, f"it is no readable zip archive ({size} bytes)")
    end = _END.unpack(_read(file, end_at, _END.size))
    if end[0] != b"PK\5\6" or end[7]:
        raise unsound(filename, "it is no readable zip archive: it does not end as one")
    entries, length, begins_at = end[4:7]
    if end_at >= _LOCATOR.size:
        locator = _LOCATOR.unpack(_read(file, end_at - _LOCATOR.size, _LOCATOR.size))
        if locator[0] == b"PK\6\7":
            end_at -= _LOCATOR.size + _END64.size
            if end_at != locator[2]:
                raise unsound(filename, "it has two ends")
            end64 = _END64.unpack(_read(file, end_at, _END64.size))
            if end64[0] != b"PK\6\6" or end64[1] != _END64.size - 12:
                raise unsound(filename, "it is no readable zip archive: its end is broken")
            entries, length, begins_at = end64[7:10]
    if entries > MAX_ENTRIES or length > MAX_DIRECTORY_BYTES:
        raise unsound(
            filename,
            f"it has {entries:,} entries and a directory of {length:,} bytes; "
            f"at most {MAX_ENTRIES:,} and {MAX_DIRECTORY_BYTES:,} are taken",
        )
    if begins_at + length != end_at:
        raise unsound(filename, "its directory is not where it ends")
    return int(entries), int(begins_at)


def _check_header(filename: str, file: IO[bytes], item: zipfile.ZipInfo, position: int) -> int:
    """Where the next entry has to begin."""
    entry = item.orig_filename
    if item.header_offset != position:
        raise unsound(filename, f"its entry {entry!r} does not follow the one before")
    header = _HEADER.unpack(_read(file, position, _HEADER.size))
    name_length, extra_length = header[9:11]
    tail = _read(file, position + _HEADER.size, name_length + extra_length)
    spelt = entry.encode("utf-8" if item.flag_bits & _IS_UTF8 else "cp437", "replace")
    stated = (header[0], header[2], header[3], tail[:name_length])
    if stated != (b"PK\3\4", item.flag_bits, item.compress_type, spelt):
        raise unsound(filename, f"the header of its entry {entry!r} says otherwise")
    extra = _extra_fields(tail[name_length:])
    if _UNICODE_PATH in extra or _UNICODE_PATH in _extra_fields(item.extra):
        raise unsound(filename, f"its entry {entry!r} has two names")
    position += _HEADER.size + len(tail) + item.compress_size
    if item.flag_bits & _HAS_DESCRIPTOR:
        return position + _descriptor_size(filename, file, item, position)
    file_size, compress_size = header[8], header[7]
    if _UNKNOWN in (file_size, compress_size) and len(extra.get(_ZIP64, b"")) >= 16:
        file_size, compress_size = struct.unpack("<QQ", extra[_ZIP64][:16])
    if (header[6], compress_size, file_size) != (item.CRC, item.compress_size, item.file_size):
        raise unsound(filename, f"the header of its entry {entry!r} says otherwise")
    return position


def _descriptor_size(filename: str, file: IO[bytes], item: zipfile.ZipInfo, position: int) -> int:
    """Written after the data by whoever did not know the size before: with a signature or without,
    with sizes of 4 or of 8 bytes."""
    data = _read(file, position, max(_DESCRIPTOR_SIZES))
    for signature in (b"PK\x07\x08", b""):
        for form in ("<LLL", "<LQQ"):
            wanted = signature + _packed(form, item.CRC, item.compress_size, item.file_size)
            if data.startswith(wanted):
                return len(wanted)
    raise unsound(filename, f"its entry {item.orig_filename!r} is not followed by its sizes")


def _packed(form: str, *numbers: int) -> bytes:
    try:
        return struct.pack(form, *numbers)
    except struct.error:  # larger than four bytes can say
        return b"\0" * 100


def _extra_fields(data: bytes) -> dict[int, bytes]:
    """
    >>> _extra_fields(bytes([1, 0, 2, 0, 7, 8]))
    {1: b'\\x07\\x08'}
    """
    fields: dict[int, bytes] = {}
    while len(data) >= 4:
        kind, length = struct.unpack("<HH", data[:4])
        fields[kind] = data[4 : 4 + length]
        data = data[4 + length :]
    return fields


def _read(file: IO[bytes], position: int, length: int) -> bytes:
    file.seek(position)
    data = file.read(length)
    return data if len(data) == length else data.ljust(length, b"\0")
