"""Pickles that are looked through where they lie, however large their arrays are."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from seamline.domain.errors import InvalidInput
from seamline.register.formats.kinds import HEAD_BYTES
from seamline.register.formats.pickle_machine import Made, trace_pickle
from seamline.register.formats.scan import scan_file, scan_model
from seamline.register.formats.unpacking import open_packed, unpacked_size

LARGE = np.arange(1 << 20, dtype=np.float64)  # 8 MB


class Watched(io.FileIO):
    """Knows the most that was asked of it at once."""

    largest = 0

    def readinto(self, buffer: Any) -> int:
        self.largest = max(self.largest, len(buffer))
        return super().readinto(buffer) or 0


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def save_joblib(path: Path, value: Any) -> None:
    joblib.dump(value, path)


def save_packed(path: Path, value: Any) -> None:
    joblib.dump(value, path, compress=3)


def save_pickle(path: Path, value: Any) -> None:
    path.write_bytes(pickle.dumps(value))


def save_old_pickle(path: Path, value: Any) -> None:
    path.write_bytes(pickle.dumps(value, protocol=0))


@pytest.mark.parametrize("save", [save_joblib, save_packed, save_pickle, save_old_pickle])
@pytest.mark.parametrize("value", [{"a": LARGE[:2000]}, [LARGE[:2000], Trap()], {"a": 1}, "x" * 9])
def test_a_file_says_what_its_bytes_say(
    save: Callable[[Path, Any], None], value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    save(path, value)
    with path.open("rb") as file:
        found = scan_file(file)
        assert not file.closed
    assert found == scan_model(path.read_bytes())
    assert any("system" in one for one in found.findings) == ("Trap" in str(value))


def test_arrays_of_a_joblib_file_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "model"
    save_joblib(path, {"first": LARGE, "trap": Trap(), "second": LARGE})
    with Watched(path) as file:
        found = scan_file(file)
        assert file.largest <= 1 << 16
    assert "system" in found.findings[0]


@pytest.mark.parametrize("compress", [3, ("gzip", 3), ("bz2", 1), ("xz", 0), ("lzma", 0)])
def test_compressed_arrays_are_passed_over(compress: Any, tmp_path: Path) -> None:
    """Unpacked a piece at a time: 8 MB of arrays, and never a quarter of that in memory."""
    path = tmp_path / "model"
    joblib.dump({"a": np.zeros(1 << 19), "trap": Trap(), "b": np.ones(1 << 19)}, path, compress)
    with Watched(path) as file:
        tracemalloc.start()
        try:
            found = scan_file(file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert not file.closed
    assert "system" in found.findings[0]
    assert peak < 2 << 20


def test_inflated_back_and_forth() -> None:
    plain = bytes(range(256)) * 2000
    packed = zlib.compress(plain)
    file = open_packed(io.BytesIO(packed))
    assert file.seek(0, os.SEEK_END) == len(plain)
    for at, size in ((0, 5), (300_000, 70_000), (100, 100), (len(plain) - 3, 10), (0, len(plain))):
        assert file.seek(at) == file.tell() == at
        assert io.BufferedReader(file).read(size) == plain[at : at + size]  # type: ignore[type-var]
        file = open_packed(io.BytesIO(packed))
    assert file.seek(10) == 10
    assert file.seek(5, os.SEEK_CUR) == 15
    assert file.seek(10 * len(plain)) == len(plain)
    assert unpacked_size(open_packed(io.BytesIO(packed)), 1000) == 1001
    cut = open_packed(io.BytesIO(packed[: len(packed) // 2]))
    assert plain.startswith(cut.read())


def test_of_a_pickle_no_array_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "model"
    save_pickle(path, [LARGE, LARGE + 1])
    with path.open("rb", buffering=0) as file:
        trace = trace_pickle(file)

    def sizes(value: Any) -> list[int]:
        if isinstance(value, bytes | bytearray):
            return [len(value)]
        if isinstance(value, Made):
            value = [value.arguments, value.state]
        return (
            [size for one in value for size in sizes(one)]
            if isinstance(value, list | tuple)
            else []
        )

    kept = [size for call in trace.calls for size in sizes(call.arguments)]
    assert kept
    assert max(kept) <= 1 << 10


def test_files_that_are_cut_or_go_on(tmp_path: Path) -> None:
    path = tmp_path / "model"
    save_pickle(path, {"a": LARGE})
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(len(whole) // 2)
    with path.open("rb") as file, pytest.raises(InvalidInput, match="as a pickle it cannot"):
        scan_file(file)
    path.write_bytes(whole + b"more")
    with path.open("rb") as file:
        assert any("4 bytes follow its end" in one for one in scan_file(file).findings)


@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, 3 * HEAD_BYTES])
def test_where_the_head_ends(size: int) -> None:
    """What has no header is known by its last byte."""
    data = b"I1\n" * (size // 3) + b"I1\n"[: size % 3]
    with pytest.raises(InvalidInput) as without:
        scan_file(io.BytesIO(data))
    assert "begins like none of them" in str(without.value)
    with pytest.raises(InvalidInput) as with_end:
        scan_file(io.BytesIO(data + b"x."))
    assert "as a pickle it cannot" in str(with_end.value)
