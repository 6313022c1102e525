"""Wheels packed piece by piece are the wheels that are packed whole, byte for byte."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch
from seamline.register.packages.wheel_check import check_wheel
from seamline.register.packages.wheel_pack import WHEEL_FILE, LargeFile, pack_wheel, write_wheel

INFO = "a_b-1.0.dist-info"
PAYLOAD = "a_b/payload/model"
DATA = bytes(range(256)) * 40
FILES = {
    "a_b/__init__.py": b"x = 1\n",
    PAYLOAD: DATA,
    f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: a-b\nVersion: 1.0\n",
    f"{INFO}/WHEEL": WHEEL_FILE.encode(),
}
#: Of the wheel that this has always been.
GOLDEN = "sha256:36f77953e2c5b09dfa60c96af043bc4fa2bb629674889b158949712188cc0029"


def in_pieces(data: bytes = DATA, size: int = 1000) -> LargeFile:
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    return LargeFile(digest_of(data), len(data), pieces)


def test_golden_bytes() -> None:
    assert digest_of(pack_wheel(FILES, INFO)) == GOLDEN
    assert digest_of(pack_wheel({**FILES, PAYLOAD: in_pieces()}, INFO)) == GOLDEN
    assert digest_of(pack_wheel(dict(reversed(FILES.items())), INFO)) == GOLDEN


@pytest.mark.parametrize("data", [b"", b"x", DATA])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_in_pieces_and_whole(data: bytes, method: int, tmp_path: Path) -> None:
    whole = pack_wheel({**FILES, PAYLOAD: data}, INFO, method)
    path = tmp_path / "wheel"
    with path.open("xb") as file:
        write_wheel(file, {**FILES, PAYLOAD: in_pieces(data, 7)}, INFO, method)
    assert path.read_bytes() == whole
    assert check_wheel("a_b-1.0-py3-none-any.whl", path).name == "a-b"


def test_pieces_that_are_not_what_is_said() -> None:
    for said in (b"y" * len(DATA), DATA[1:]):
        large = LargeFile(digest_of(said), len(said), [DATA])
        with pytest.raises(DigestMismatch, match=PAYLOAD) as refused:
            pack_wheel({**FILES, PAYLOAD: large}, INFO)
        assert refused.value.details["expected"] == digest_of(said)
        assert refused.value.details["actual"] == digest_of(DATA)


def test_what_breaks_off_is_no_wheel() -> None:
    def broken() -> Iterator[bytes]:
        yield DATA[:100]
        raise OSError("the disk is gone")

    target, large = io.BytesIO(), LargeFile(digest_of(DATA), len(DATA), broken())
    with pytest.raises(OSError, match="the disk is gone"):
        write_wheel(target, {**FILES, PAYLOAD: large}, INFO)
    assert not _is_wheel(target)


def _is_wheel(file: io.BytesIO) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return f"{INFO}/RECORD" in archive.namelist()
    except zipfile.BadZipFile:
        return False
