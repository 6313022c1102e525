"""Files sent in pieces: verified, HEAD, If-None-Match, and one range of bytes (RFC 9110)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from seamline.protocols.pypi_pages import Page
from seamline.store.verified import VerifiedFile

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
FOREVER = "private, max-age=31536000, immutable"


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None: send all of it, as for what is not understood
    or asks for many ranges. An empty range cannot be satisfied.

    >>> parse_range("bytes=0-99", 1000), parse_range("bytes=990-", 1000)
    ((0, 100), (990, 1000))
    >>> parse_range("bytes=-10", 1000), parse_range("bytes=5-9999", 1000)
    ((990, 1000), (5, 1000))
    >>> parse_range("bytes=1000-", 1000), parse_range("bytes=-0", 1000)
    ((1000, 1000), (1000, 1000))
    >>> parse_range("bytes=0-1,5-6", 1000), parse_range("bytes=9-3", 1000), parse_range("", 1000)
    (None, None, None)
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        return max(size - int(last), 0), size
    start = min(int(first), size)
    if last == "":
        return start, size
    if int(last) < int(first):
        return None
    return start, min(int(last) + 1, size)


def is_known(request: Request, etag: str) -> bool:
    """Does the client hold these bytes already?

    The tag is compared weakly, as is the rule for this header.
    """
    given = request.headers.get("if-none-match", "")
    tags = [one.strip().removeprefix("W/") for one in given.split(",")]
    return etag in tags or tags == ["*"]


def page_response(request: Request, page: Page) -> Response:
    """Clients may keep a page and have to ask each time whether it is still the one."""
    headers = {"Vary": "Accept", "ETag": page.etag, "Cache-Control": "no-cache"}
    if is_known(request, page.etag):
        return Response(status_code=304, headers=headers)
    return Response(page.body, headers={**headers, "Content-Type": page.media_type})


def file_response(
    request: Request,
    size_bytes: int,
    etag: str,
    open_file: Callable[[], VerifiedFile],
    media_type: str = "application/octet-stream",
) -> Response:
    """`open_file`: called when bytes are sent, and not for what needs none of them."""
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": FOREVER}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    part = None
    if request.headers.get("if-range", etag) == etag:
        part = parse_range(request.headers.get("range", ""), size_bytes)
    if part is not None and part[0] >= part[1]:
        headers["Content-Range"] = f"bytes */{size_bytes}"
        return Response(status_code=416, headers=headers)
    start, stop = part or (0, size_bytes)
    headers["Content-Length"] = str(stop - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return _FileResponse(open_file(), start, stop, status, headers, media_type)


class _FileResponse(Response):
    """Memory holds a piece at a time, the client's pace decides when the next one is read.

    What the operating system holds in memory is read where it is sent: a thread for each piece
    would cost as much as the piece.
    """

    def __init__(
        self,
        file: VerifiedFile,
        start: int,
        stop: int,
        status_code: int,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__(None, status_code, headers, media_type)
        self._file = file
        self._start, self._stop = start, stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_wait_until_gone(receive))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            await self._send_pieces(send, gone)
        finally:
            gone.cancel()
            self._file.close()

    async def _send_pieces(self, send: Send, gone: asyncio.Task[None]) -> None:
        """A server swallows what is sent to a client that has left, so that has to be looked at."""
        at = self._start
        while at < self._stop:
            piece = self._file.read_at_once(at, self._stop)
            if piece is None:
                piece = await run_in_threadpool(self._file.read, at, self._stop)
            at += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            # A client that takes whatever comes must not keep the others waiting.
            await asyncio.sleep(0)
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
