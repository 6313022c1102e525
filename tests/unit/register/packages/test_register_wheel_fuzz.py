"""Archives of every wrong kind: refused, with nothing visible and nothing left; what is taken
unpacks into its own folder and is what it says."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seamline.domain.errors import SeamlineError
from seamline.register.packages import index
from seamline.store.received import FileReceiver
from seamline.store.stores import Stores

soaks = not settings.default.derandomize
search = settings(
    deadline=None,
    max_examples=10_000 if soaks else 400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

FILENAMES = st.sampled_from(
    [
        *["fuzz_tools-1.0-py3-none-any.whl"] * 12,
        "fuzz_tools-1.0-1-py3-none-any.whl",
        "Fuzz.Tools-1.0.0-py3-none-any.whl",
        "fuzz_tools-2.0-py3-none-any.whl",
        "fuzz_tools-1.0.tar.gz",
        "../fuzz_tools-1.0-py3-none-any.whl",
        "fuzz_tools-1.0-py3-none-any.whl\n",
        "fuzz_tools-1.0-py3-none-any.whl/../x",
        "",
        "\x00",
        "fuzz_tools-" + "1" * 300 + "-py3-none-any.whl",
    ]
)
PATHS = st.one_of(
    st.sampled_from(
        [
            "fuzz_tools.py",
            "FUZZ_TOOLS.py",
            "../escape.py",
            "a/../../escape.py",
            "/etc/escape.py",
            "C:/escape.py",
            "C:escape.py",
            "\\\\host\\escape.py",
            "a\\..\\escape.py",
            "./a.py",
            "a//b.py",
            "a/",
            "a",
            ".",
            "..",
            "fuzz_tools-1.0.data/purelib/../../escape.py",
            "fuzz_tools-1.0.dist-info/RECORD/x",
            "fuzz_tools-1.0.dist-info/RECORD.jws",
            "other-1.0.dist-info/METADATA",
            "a\x00b.py",
            "é.py",
            "a" * 300,
        ]
    ),
    st.text(max_size=12),
)
MODES = st.sampled_from(
    [stat.S_IFREG | 0o644, 0, stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755, stat.S_IFIFO, 0o4755]
)
METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
METADATA = b"Metadata-Version: 2.1\nName: fuzz-tools\nVersion: 1.0\n"


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """A wheel whose files, directory or bytes have been tampered with; now and then a sound one."""
    files = {
        "fuzz_tools.py": draw(st.sampled_from([b"x = 1\n", b"", b"x = 2\n", bytes(5000)])),
        "fuzz_tools-1.0.dist-info/METADATA": draw(
            st.sampled_from([METADATA] * 6 + [METADATA + b"Name: x\n", b"", b"\xff" * 9])
        ),
        "fuzz_tools-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    extra = draw(st.lists(st.tuples(PATHS, st.binary(max_size=20), MODES), max_size=2))
    recorded = {**files, **{path: data for path, data, _ in extra if draw(st.booleans())}}
    record = "".join(_line(path, data) for path, data in recorded.items())
    record += draw(st.sampled_from(["", "", "", "x,sha256=x,1\n", "\x00", '"', ",,,\n"]))
    files["fuzz_tools-1.0.dist-info/RECORD"] = record.encode("utf-8", "replace")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entries = [(path, data, stat.S_IFREG | 0o644) for path, data in files.items()]
        for path, data, mode in [*entries, *extra]:
            entry = zipfile.ZipInfo(path)
            entry.compress_type = draw(METHODS) if extra else zipfile.ZIP_DEFLATED
            entry.external_attr = mode << 16
            try:
                archive.writestr(entry, data)
            except (UnicodeEncodeError, UserWarning):
                continue
    return _tampered(draw, buffer.getvalue())


def _line(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([path, f"sha256={digest}", len(data)])
    return text.getvalue()


def _tampered(draw: st.DrawFn, data: bytes) -> bytes:
    kind = draw(
        st.sampled_from(["whole"] * 4 + ["flip", "number", "cut", "join", "splice", "noise"])
    )
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
    if kind == "number":  # sizes and offsets beyond what is there
        value = draw(st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(data)]))
        return data[:at] + struct.pack("<L", value) + data[at + 4 :]
    if kind == "cut":
        return data[:at]
    if kind == "join":
        return draw(st.sampled_from([data + data, b"#!" + data, data + b"\0", data[at:] + data]))
    if kind == "splice":
        end = draw(st.integers(at, len(data)))
        return data[:at] + draw(st.binary(max_size=30)) + data[end:]
    if kind == "noise":
        return draw(st.binary(max_size=200))
    return data


class Workspace:
    """What there is on the disk and in the index."""

    def __init__(self, stores: Stores, outside: Path) -> None:
        self.stores, self.outside, self.count = stores, outside, 0

    def held(self) -> set[tuple[str, int]]:
        """All files below and beside the workspace, the database apart."""
        return {
            (str(path), path.stat().st_size)
            for path in self.outside.rglob("*")
            if path.is_file() and not path.name.startswith("seamline.db")
        }

    def listed(self) -> list[index.PackageFile]:
        return index.list_package_files(self.stores, "dataops", "fuzz-tools")

    def send(self, filename: str, data: bytes) -> index.PackageFile | None:
        """As the upload does it; None where it is refused."""
        self.count += 1
        folder = self.stores.root / "incoming" / str(self.count)
        folder.mkdir(parents=True)
        receiver = FileReceiver(folder / "upload")
        try:
            receiver.write(data)
            return index.publish_package(self.stores, filename, receiver.finish(), by="ada")
        except SeamlineError as error:
            assert error.message
            return None
        finally:
            receiver.close()
            shutil.rmtree(folder)


@pytest.fixture
def workspace(sqlite_stores: Stores, tmp_path: Path) -> Workspace:
    return Workspace(sqlite_stores, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@search
@given(filename=FILENAMES, data=archives())
def test_nothing_unsound_is_seen_or_left(workspace: Workspace, filename: str, data: bytes) -> None:
    before, listed = workspace.held(), workspace.listed()
    file = workspace.send(filename, data)
    if file is None:
        assert workspace.listed() == listed
        assert workspace.held() == before
        return
    assert file in workspace.listed()
    stored = index.read_package_file(workspace.stores, file)
    assert stored == data
    _check_unpacked(stored, workspace.outside / "unpacked")


def _check_unpacked(data: bytes, folder: Path) -> None:
    """By another way than the check's own: unpacked, and compared with RECORD file by file."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            archive.extractall(folder)
        unpacked = {
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        }
        assert unpacked == {name for name in names if not name.endswith("/")}
        record = folder / "fuzz_tools-1.0.dist-info" / "RECORD"
        for row in csv.reader(io.StringIO(record.read_bytes().decode())):
            if row and row[1]:
                assert _line(row[0], (folder / row[0]).read_bytes()).split(",")[1] == row[1]
    finally:
        shutil.rmtree(folder)


def test_the_fuzz_does_send_sound_wheels(workspace: Workspace) -> None:
    """Else it would prove nothing of what is taken."""
    taken: list[Any] = []

    @settings(search, max_examples=100, derandomize=True, database=None)
    @given(data=archives())
    def look(data: bytes) -> None:
        taken.append(workspace.send("fuzz_tools-1.0-py3-none-any.whl", data))

    look()
    assert any(taken)
    assert not all(taken)
