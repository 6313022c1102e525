"""Files that arrive in pieces, and files that are sent in pieces."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, NotFound
from seamline.store import verified
from seamline.store.blobs import Blobs
from seamline.store.received import FileReceiver, ReceivedFile
from seamline.store.verified import PIECE_BYTES

DATA = bytes(range(256)) * 4 * 3 * 1024 + b"end"  # three pieces and a bit


@pytest.fixture
def clock() -> ManualClock:
    """Far ahead: whatever the disk says, it was long ago."""
    made = ManualClock()
    made.advance(100 * 365 * 86400)
    return made


@pytest.fixture
def blobs(tmp_path: Path, clock: ManualClock) -> Blobs:
    return Blobs(tmp_path / "blobs", clock)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry each time a whole file was hashed."""
    done: list[str] = []
    original = hashlib.file_digest

    def counted(*arguments: object) -> object:
        done.append("hashed")
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(verified.hashlib, "file_digest", counted)
    return done


def receive(path: Path, data: bytes = DATA) -> ReceivedFile:
    receiver = FileReceiver(path)
    for start in range(0, len(data), 100_000):
        receiver.write(data[start : start + 100_000])
    return receiver.finish()


def read(blobs: Blobs, digest: str, start: int = 0, stop: int | None = None) -> bytes:
    file = blobs.open_verified(digest, "wheel")
    try:
        return b"".join(file.pieces(start, file.size_bytes if stop is None else stop))
    finally:
        file.close()


def test_a_received_file_becomes_a_blob(blobs: Blobs, tmp_path: Path) -> None:
    received = receive(tmp_path / "upload")
    assert (received.digest, received.size_bytes) == (digest_of(DATA), len(DATA))
    assert blobs.adopt(received) == received.digest
    assert not received.path.exists()
    assert blobs.get(received.digest) == DATA
    assert read(blobs, received.digest) == DATA
    assert read(blobs, received.digest, 5, PIECE_BYTES + 7) == DATA[5 : PIECE_BYTES + 7]


def test_the_same_bytes_again_disturb_nobody_who_reads(blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.adopt(receive(tmp_path / "upload"))
    reader = blobs.open_verified(digest, "wheel")
    pieces = reader.pieces(0, len(DATA))
    first = next(pieces)
    again = receive(tmp_path / "again")
    assert blobs.adopt(again) == digest
    assert not again.path.exists()
    assert first + b"".join(pieces) == DATA
    reader.close()
    blobs.path_of(digest).write_bytes(b"altered")
    blobs.adopt(receive(tmp_path / "mended"))
    assert read(blobs, digest) == DATA


@pytest.mark.parametrize("other", ["puts", "adopts", "holds", "links"])
def test_who_uses_a_blob_disturbs_nobody_who_is_sent_it(
    blobs: Blobs, tmp_path: Path, other: str
) -> None:
    """Two data planes elsewhere fetch a package at once, say: what is sent is held."""
    digest = blobs.put(DATA)
    deeds: dict[str, Callable[[], object]] = {
        "puts": lambda: blobs.put(DATA),
        "adopts": lambda: blobs.adopt(receive(tmp_path / "again")),
        "holds": lambda: blobs.hold(digest),
        "links": lambda: os.link(blobs.path_of(digest), tmp_path / "link"),
    }
    with closing(blobs.open_verified(digest, "wheel")) as reader:
        pieces = reader.pieces(0, len(DATA))
        first = next(pieces)
        deeds[other]()
        assert first + b"".join(pieces) == DATA
        with reader.reading() as file:
            deeds["holds"]()
            assert file.read(5) == DATA[:5]


def test_what_is_adopted_is_in_use_from_then_on(
    blobs: Blobs, tmp_path: Path, clock: ManualClock
) -> None:
    """Also where its bytes lay here unused, and retention has judged them just now."""
    digest = blobs.put(DATA)
    path = blobs.path_of(digest)
    os.utime(path, (0, 0))
    judged = path.stat().st_mtime + 1.0
    blobs.adopt(receive(tmp_path / "upload"))
    assert not blobs.remove_unused(digest, judged)
    assert blobs.get(digest) == DATA


def test_read_in_any_order(blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.adopt(receive(tmp_path / "upload"))
    reader = blobs.open_verified(digest, "wheel")
    with reader.reading() as file:
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"end"
        file.seek(0)
        assert file.read(256) == bytes(range(256))
    with pytest.raises(DigestMismatch, match="an altered one"), reader.reading() as file:
        with blobs.path_of(digest).open("r+b") as other:
            other.write(b"other")
        assert file.read(5) == b"other"
    reader.close()


def test_a_file_of_another_file_system(blobs: Blobs) -> None:
    other = Path("/dev/shm")
    if not other.exists() or other.stat().st_dev == blobs.root.stat().st_dev:
        pytest.skip("there is one file system only")
    path = other / f"seamline-test-{os.getpid()}"
    try:
        received = receive(path)
        assert blobs.get(blobs.adopt(received)) == DATA
        assert not path.exists()
        altered = ReceivedFile(path, digest_of(b"x"), 1)
        path.write_bytes(b"y")
        with pytest.raises(DigestMismatch):
            blobs.adopt(altered)
        assert not blobs.holds(altered.digest)
    finally:
        path.unlink(missing_ok=True)
    assert not list(blobs.root.rglob("*.partial"))


def test_hashed_once_for_each_state(blobs: Blobs, hashed: list[str]) -> None:
    digest = blobs.put(DATA)
    for _ in range(3):
        assert read(blobs, digest) == DATA
    assert len(hashed) == 1
    path = blobs.path_of(digest)
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    read(blobs, digest)
    assert len(hashed) == 2


def _flip(path: Path) -> None:
    """One bit, its time stamps set back."""
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(len(DATA) // 2)
        old = file.read(1)[0]
        file.seek(len(DATA) // 2)
        file.write(bytes([old ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(DATA[:-3] + b"End")
    other.replace(path)


@pytest.mark.parametrize("alter", [_flip, _replace])
def test_altered_after_it_was_found_sound(blobs: Blobs, alter: Callable[[Path], None]) -> None:
    digest = blobs.put(DATA)
    assert read(blobs, digest) == DATA
    alter(blobs.path_of(digest))
    for _ in range(2):
        with pytest.raises(DigestMismatch, match=digest):
            blobs.open_verified(digest, "wheel")


def test_altered_while_it_is_sent(blobs: Blobs) -> None:
    digest = blobs.put(DATA)
    file = blobs.open_verified(digest, "wheel")
    try:
        pieces = file.pieces(0, file.size_bytes)
        next(pieces)
        _flip(blobs.path_of(digest))
        with pytest.raises(DigestMismatch, match="wheel"):
            list(pieces)
    finally:
        file.close()


def test_what_was_touched_just_now_is_not_remembered(tmp_path: Path, hashed: list[str]) -> None:
    """Two changes within one tick of the kernel's clock have the same stamps."""
    blobs = Blobs(tmp_path / "blobs", ManualClock())
    digest = blobs.put(DATA)
    read(blobs, digest)
    read(blobs, digest)
    assert len(hashed) == 2


def test_unknown_digests(blobs: Blobs) -> None:
    with pytest.raises(NotFound, match="wheel"):
        blobs.open_verified(digest_of(b"never put"), "wheel")


def test_what_memory_holds_is_read_at_once(blobs: Blobs) -> None:
    digest = blobs.put(DATA)
    file = blobs.open_verified(digest, "wheel")
    try:
        at = 7
        while at < len(DATA):
            # Where the system cannot tell, the way over the disk is always there.
            piece = file.read_at_once(at, len(DATA)) or file.read(at, len(DATA))
            assert piece == DATA[at : at + len(piece)]
            at += len(piece)
        assert at == len(DATA)
        _flip(blobs.path_of(digest))
        assert file.read_at_once(len(DATA) - 5, len(DATA)) is None, "hashing takes its time"
        with pytest.raises(DigestMismatch, match="wheel"):
            file.read(len(DATA) - 5, len(DATA))
        with pytest.raises(DigestMismatch, match="wheel"):  # it has become shorter
            file.read(len(DATA), len(DATA) + 1)
    finally:
        file.close()
