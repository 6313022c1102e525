from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, InvalidInput, NotFound
from seamline.store.blobs import Blobs, write_atomically


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", ManualClock())


def test_bytes_come_back_by_their_digest(blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.put(b"weights")
    assert digest == digest_of(b"weights")
    assert blobs.get(digest) == b"weights"
    file = tmp_path / "large"
    file.write_bytes(b"x" * (3 << 20))
    assert blobs.verified_path(blobs.put_file(file)).stat().st_size == 3 << 20


def test_an_altered_blob_is_refused_with_both_digests(blobs: Blobs) -> None:
    digest = blobs.put(b"weights")
    blobs.path_of(digest).write_bytes(b"Weights")
    for use in (blobs.get, blobs.verified_path):
        with pytest.raises(DigestMismatch) as caught:
            use(digest, "package air-time 1.0.0")
        message = str(caught.value)
        assert digest in message
        assert digest_of(b"Weights") in message
        assert "package air-time 1.0.0" in message


def test_what_a_power_cut_left_short_is_put_anew(blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.put(b"weights")
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    for put in (lambda: blobs.put(b"weights"), lambda: blobs.put_file(file)):
        blobs.path_of(digest).write_bytes(b"")
        put()
        assert blobs.get(digest) == b"weights"


def test_unknown_and_mistyped_digests(blobs: Blobs) -> None:
    with pytest.raises(NotFound):
        blobs.get(digest_of(b"never put"))
    with pytest.raises(InvalidInput):
        blobs.get("sha256:../../etc/passwd")


def test_atomic_write_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    at_once = threading.Barrier(4, timeout=120)
    written = [letter.encode() * 100_000 for letter in "abcd"]

    def write(data: bytes) -> None:
        for _ in range(10):
            at_once.wait()
            write_atomically(path, data)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, written))
    assert path.read_bytes() in written
    assert list(tmp_path.iterdir()) == [path]
