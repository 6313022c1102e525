"""Files as they are sent: whole, to nobody any more, and when they change on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from seamline.domain.clock import ManualClock
from seamline.domain.errors import DigestMismatch
from seamline.protocols.pypi_files import file_response
from seamline.store.blobs import Blobs
from seamline.store.verified import VerifiedFile

DATA = bytes(range(256)) * 12 * 1024  # three mebibytes


class Exchange:
    """One request over ASGI. `on_piece`: called after each piece, with what has been sent."""

    def __init__(self, file: VerifiedFile, on_piece: Callable[[bytes], None]) -> None:
        self._file = file
        self._on_piece = on_piece
        self.sent = b""
        self.is_whole = False
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.sent += message["body"]
            self.is_whole = not message["more_body"]
            self._on_piece(self.sent)

    async def run(self) -> None:
        scope = {"type": "http", "method": "GET", "headers": [], "path": "/", "query_string": b""}
        size = self._file.size_bytes
        response = file_response(Request(scope), size, '"etag"', lambda: self._file)
        await response(scope, self.receive, self.send)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", ManualClock())


def exchange(
    blobs: Blobs, data: bytes, act: Callable[[Exchange, bytes], None] = lambda *_: None
) -> tuple[Exchange, VerifiedFile]:
    file = blobs.open_verified(blobs.put(data), "wheel")

    async def run() -> Exchange:
        made = Exchange(file, lambda sent: act(made, sent))
        try:
            await made.run()
        finally:
            with pytest.raises(ValueError, match="closed"):
                file.read(0, 1)
        return made

    return asyncio.run(run()), file


@pytest.mark.parametrize("data", [DATA, b"x", b""])
def test_a_file_is_sent_whole(blobs: Blobs, data: bytes) -> None:
    done, _ = exchange(blobs, data)
    assert (done.sent, done.is_whole) == (data, True)


def test_nothing_more_is_read_for_a_client_that_has_left(blobs: Blobs) -> None:
    done, _ = exchange(blobs, DATA, lambda made, _: made.gone.set())
    assert 0 < len(done.sent) < len(DATA)
    assert not done.is_whole


def test_the_last_piece_is_held_back_when_the_file_changed_on_the_way(blobs: Blobs) -> None:
    path = blobs.path_of(blobs.put(DATA))
    seen: list[int] = []

    def flip(_: Exchange, sent: bytes) -> None:
        seen.append(len(sent))
        path.write_bytes(DATA[:-1] + b"!")

    with pytest.raises(DigestMismatch, match="wheel"):
        exchange(blobs, DATA, flip)
    assert 0 < seen[-1] < len(DATA)
