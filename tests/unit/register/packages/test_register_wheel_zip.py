"""Archives that one reader takes for this and another for that, bombs, and what looks odd and is
sound."""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.errors import InvalidInput
from seamline.register.packages import wheel_check, wheel_zip
from seamline.register.packages.wheel_check import check_wheel

NAME = "team_tools-1.0-py3-none-any.whl"
INFO = "team_tools-1.0.dist-info"
METADATA = b"Metadata-Version: 2.1\nName: team-tools\nVersion: 1.0\n"


def files_of(more: dict[str, bytes] | None = None, metadata: bytes = METADATA) -> dict[str, bytes]:
    """A sound wheel's files, RECORD last."""
    files = {
        "team_tools/__init__.py": b"x = 1\n",
        **(more or {}),
        f"{INFO}/METADATA": metadata,
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{name},{_hash(data)},{len(data)}" for name, data in files.items()]
    return {**files, f"{INFO}/RECORD": "\n".join([*lines, f"{INFO}/RECORD,,\n"]).encode()}


def _hash(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def packed(
    files: dict[str, bytes] | None = None,
    method: int = zipfile.ZIP_STORED,
    mode: int = stat.S_IFREG | 0o644,
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in (files or files_of()).items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            entry.external_attr = mode << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        check_wheel(NAME, data)


def test_bytes_and_files_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(packed())
    assert check_wheel(NAME, path) == check_wheel(NAME, packed())
    path.write_bytes(packed()[:-1])
    with pytest.raises(InvalidInput, match="archive"):
        check_wheel(NAME, path)


class _Pipe(io.RawIOBase):
    """Cannot go back, as a socket: what is written there has its sizes behind the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sound_archives_of_other_writers(method: int) -> None:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:  # type: ignore[call-overload]
        for name, data in files_of().items():
            archive.writestr(name, data)
    check_wheel(NAME, bytes(pipe.data))
    refused(bytes(pipe.data).replace(b"PK\x07\x08", b"PK\x07\x09", 1), "not followed by its sizes")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.mkdir("team_tools") if hasattr(archive, "mkdir") else None
        for name, data in files_of().items():
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
    check_wheel(NAME, buffer.getvalue())


def test_archives_with_two_meanings() -> None:
    data = packed()
    other = packed({"evil.py": b"import os\n"})
    refused(b"#!/bin/sh\n" + data, "its directory is not where it ends")
    refused(other + data, "its directory is not where it ends")
    refused(data + b"x", "does not end as one")
    refused(data + other, "dist-info|does not follow|its directory is not where it ends")
    end = data.rindex(b"PK\5\6")
    comment = data[:-2] + struct.pack("<H", 4) + b"evil"
    refused(comment, "does not end as one")
    refused(data[:-2] + struct.pack("<H", 4), "does not end as one")
    # The header before the data names another file than the directory does.
    refused(data.replace(b"team_tools/__init__.py", b"evil_tools/__init__.py", 1), "says otherwise")
    # … or says another size, another method, other flags.
    for offset, size in ((6, 2), (8, 2), (14, 4), (18, 4), (22, 4)):
        changed = bytearray(data)
        changed[offset : offset + size] = b"\1" * size
        refused(bytes(changed), "says otherwise|sizes|archive")
    # The end counts fewer entries than the directory lists.
    fewer = bytearray(data)
    fewer[end + 8 : end + 12] = struct.pack("<HH", 2, 2)
    refused(bytes(fewer), "lists 4")


def test_bytes_between_entries() -> None:
    data = packed()
    directory, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    hidden = b"import os\n"
    moved = struct.pack("<L", directory + len(hidden))
    tail = data[end : end + 16] + moved + data[end + 20 :]
    refused(data[:directory] + hidden + data[directory:end] + tail, "before its directory")
    # Two entries of the directory share their data: how small bombs grow large.
    shared = bytearray(data)
    second = data.index(b"PK\1\2", directory + 1)
    shared[second + 42 : second + 46] = struct.pack("<L", 0)
    refused(bytes(shared), "does not follow|archive|Overlapped")


def test_second_names_in_extra_fields() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files_of().items():
            entry = zipfile.ZipInfo(name)
            entry.extra = struct.pack("<HHBL", 0x7075, 12, 1, 0) + b"evil.py"
            archive.writestr(entry, data)
    refused(buffer.getvalue(), "two names|archive")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (packed(method=zipfile.ZIP_BZIP2), "packed by method 12"),
        (packed(method=zipfile.ZIP_LZMA), "packed by method 14"),
        (packed(mode=stat.S_IFLNK | 0o777), "is a link"),
        (packed(mode=stat.S_IFCHR | 0o666), "neither a file nor a folder"),
        (packed(mode=stat.S_IFIFO | 0o666), "neither a file nor a folder"),
        (packed(files_of({"a": b"", "a/b.py": b""})), "a file and a folder"),
        (packed(files_of({"A/b.py": b"", "a": b""})), "a file and a folder"),
        (packed(files_of({"a/": b"x"})), "neither a file nor a folder"),
        (packed(files_of({"./a.py": b""})), "path that cannot be"),
        (packed(files_of({"a//b.py": b""})), "path that cannot be"),
        (packed(files_of({"a" * 2000: b""})), "path that cannot be"),
        (packed(files_of({"a\nb.py": b""})), "name that cannot be"),
        (packed(files_of({"a/../../b.py": b""})), "leaves the archive"),
        (packed(files_of({"..": b""})), "leaves the archive"),
        (packed(files_of({"/etc/cron.d/x": b""})), "leaves the archive"),
        (packed(files_of({"\\\\host\\share\\x": b""})), "leaves the archive"),
        (packed(files_of({"c:x": b""})), "leaves the archive"),
        (packed(files_of({"team_tools-1.0.data/purelib/../../x": b""})), "leaves the archive"),
        (packed(files_of(metadata=METADATA + b"Name: other\n")), "say Name once"),
        (packed(files_of(metadata=METADATA + b"Version: 2.0\n")), "say Version once"),
        (packed(files_of(metadata=b"Name: team-tools\nVersion: 1.0\n")), "Metadata-Version once"),
        (packed(files_of(metadata=METADATA.replace(b"1.0", b"1.1"))), "says team-tools 1.1"),
        (packed(files_of(metadata=METADATA.replace(b"team", b"evil"))), "says evil-tools 1.0"),
        (packed(files_of(metadata=METADATA + b"Requires-Python: x\n")), "Requires-Python"),
    ],
)
def test_entries_that_are_refused(data: bytes, why: str) -> None:
    refused(data, why)


def test_a_record_that_lists_a_file_twice() -> None:
    files = files_of()
    files[f"{INFO}/RECORD"] += f"team_tools/__init__.py,{_hash(b'x = 1')},5\n".encode()
    refused(packed(files), "lists a file twice")


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (b",6\n", b",7\n", "__init__.py differs from its RECORD"),
        (b",6\n", b",6,6\n", "__init__.py differs from its RECORD"),
        (b"sha256=", b"md5=", "differs from its RECORD"),
        (b"sha256=", b"", "differs from its RECORD"),
        (b"team_tools/__init__.py", b"team_tools/__init__.py ", "does not list what it holds"),
        (b"team_tools/__init__.py", b"./team_tools/__init__.py", "does not list what it holds"),
        (b"team_tools/__init__.py", b"team_tools\\__init__.py", "does not list what it holds"),
        (b"RECORD,,", b"RECORD,,\nteam_tools/more.py,,", "does not list what it holds"),
        (b",6\n", b"\n", ""),
        (b",6\n", b",\n", ""),
    ],
)
def test_records_that_say_otherwise(before: bytes, after: bytes, why: str) -> None:
    """A size may be left out; one that is there has to be right."""
    files = files_of()
    record = files[f"{INFO}/RECORD"]
    assert before in record
    files[f"{INFO}/RECORD"] = record.replace(before, after, 1)
    if why:
        refused(packed(files), why)
    else:
        check_wheel(NAME, packed(files))


def test_a_wheel_without_a_record() -> None:
    files = files_of()
    del files[f"{INFO}/RECORD"]
    refused(packed(files), "no RECORD")


def test_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel_check, "FREE_UNPACKED_BYTES", 1 << 20)
    zeros = files_of({"team_tools/zeros.bin": bytes(4 << 20)})
    refused(packed(zeros, zipfile.ZIP_DEFLATED), r"its \d,\d{3} bytes unpack to 4,19\d,\d{3}")
    check_wheel(NAME, packed(zeros))
    monkeypatch.setattr(wheel_check, "MAX_UNPACKED_BYTES", 2 << 20)
    refused(packed(zeros), "unpacks to 4,19")
    monkeypatch.setattr(wheel_check, "MAX_INFO_BYTES", 16)
    refused(packed(), "dist-info holds more than 16")
    for limit in ("MAX_ENTRIES", "MAX_DIRECTORY_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(wheel_zip, limit, 3)
            refused(packed(), "entries and a directory of")


def test_an_entry_that_holds_more_than_it_says(repack: Callable[[bytes], bytes]) -> None:
    refused(repack(packed(files_of(), zipfile.ZIP_DEFLATED)), "differs|archive|says otherwise")


@pytest.fixture
def repack() -> Callable[[bytes], bytes]:
    """The first entry's stated size one smaller, in its header and in the directory."""

    def _repack(data: bytes) -> bytes:
        changed, directory = bytearray(data), data.index(b"PK\1\2")
        for at in (22, directory + 24):
            size = struct.unpack("<L", changed[at : at + 4])[0]
            changed[at : at + 4] = struct.pack("<L", size - 1)
        return bytes(changed)

    return _repack
