"""What every HTTP request of the data plane goes through: its body in, its answer out.

Bodies are bounded in bytes as they come and once unpacked, and in the time that they may take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from seamline.domain import errors
from seamline.domain.errors import InvalidInput, SeamlineError, Unavailable
from seamline.protocols.oip_packed import (
    COMPRESS_ABOVE_BYTES,
    MAX_BODY_BYTES,
    PACKED,
    chosen_encoding,
    decompress,
    pack,
    too_large,
)
from seamline.serve.inputs.validate import TooLarge
from seamline.serve.patience import ClientGone, TookTooLong, Watch

#: Beyond the limit and up to here, what comes is thrown away until the client listens.
DISCARDED_BODY_BYTES = 256 << 20
BODY_TIMEOUT_S = 30.0
OK = 200
#: An error quotes what was sent; it is not to be as long.
LONGEST_ERROR = 4000
JSON = b"application/json"
#: Where the connection tells of a client that went (oip_connections.py).
WATCH_EXTENSION = "seamline.watch"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: What is called for the body, or all of it.
Body = Receive | bytes
Headers = list[tuple[bytes, bytes]]


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class WrongMethod(InvalidInput):
    pass


class BodyTooSlow(InvalidInput):
    pass


#: The first that fits counts.
STATUS: tuple[tuple[type[SeamlineError], int], ...] = (
    (TooLarge, 413),
    (WrongMethod, 405),
    (BodyTooSlow, 408),
    (TookTooLong, 504),
    (ClientGone, 499),
    (errors.InvalidInput, 400),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Refused, 422),
    (errors.DigestMismatch, 422),
    (errors.Unavailable, 503),
    (SeamlineError, 500),
)


# A frozen dataclass takes three times as long to be made, and these are for each request.
class Request(NamedTuple):
    method: str
    headers: dict[bytes, bytes]
    body: Body
    environment: str
    #: What follows `v2` in the path.
    parts: tuple[str, ...]
    watch: Watch | None = None
    path: str = ""

    def text(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


class Reply(NamedTuple):
    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


def watch_of(scope: Scope) -> Watch | None:
    watch: Watch | None = scope.get("extensions", _NOTHING).get(WATCH_EXTENSION)
    return watch


def need(request: Request, method: str) -> None:
    if request.method != method:
        raise _wrong(request.method, method)


def need_get(method: str) -> None:
    """Before there is a request: of paths that are none of the protocol's."""
    if method not in ("GET", "HEAD"):
        raise _wrong(method, "GET")


def _wrong(asked: str, wanted: str) -> WrongMethod:
    allowed = "GET, HEAD" if wanted == "GET" else wanted
    return WrongMethod(f"This path takes {wanted}, not {asked}.", allowed=allowed)


def json_reply(status: int, value: Any) -> Reply:
    return Reply(status, msgspec.json.encode(value))


def status_of(error: SeamlineError) -> int:
    return status_of_kind(type(error))


def status_of_kind(kind: type[SeamlineError]) -> int:
    """
    >>> status_of_kind(TooLarge), status_of_kind(errors.Forbidden)
    (413, 403)
    """
    return next(status for known, status in STATUS if issubclass(kind, known))


def error_reply(error: SeamlineError) -> Reply:
    status = status_of(error)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if status == 401:
        headers = ((b"www-authenticate", b"Bearer"),)
    elif status == 405:
        headers = ((b"allow", str(error.details["allowed"]).encode()),)
    elif isinstance(error, Unavailable):
        headers = ((b"retry-after", b"1"),)
    elif status in (408, 413):
        # What may still be on its way is not read.
        headers = ((b"connection", b"close"),)
    return Reply(status, error_body(str(error)), JSON, headers)


def error_body(text: str) -> bytes:
    """
    >>> error_body("There is no model 'x'.")
    b'{"error":"There is no model \\'x\\'."}'
    """
    if len(text) > LONGEST_ERROR:
        half = LONGEST_ERROR // 2
        text = f"{text[:half]} … {text[-half:]}"
    # What was sent may hold halves of characters, which UTF-8 has no bytes for.
    return msgspec.json.encode({"error": text.encode(errors="replace").decode()})


async def read_body(request: Request) -> bytes:
    """What is beyond the limit is read and thrown away: a client that is still sending would see
    a broken connection instead of the answer. Beyond many times the limit it does."""
    if b"expect" in request.headers:
        _refuse_unsent(request)
    coming = request.body
    if isinstance(coming, bytes):
        body = coming
    else:
        message = await coming()
        body = message.get("body", b"")
        if message.get("more_body", False):
            body = await _read_on(coming, body)
        elif message["type"] == "http.disconnect":
            raise ClientGone("The client went away before the end of its request.")
    if len(body) > MAX_BODY_BYTES:
        raise too_large(len(body))
    encoding = request.headers.get(b"content-encoding")
    return body if encoding is None else decompress(body, encoding.decode("latin-1"))


def _refuse_unsent(request: Request) -> None:
    """A client that asks first is told before it sends."""
    length = request.headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise too_large(int(length))


async def _read_on(receive: Receive, body: bytes) -> bytes:
    parts, size, more = [body], len(body), True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more and size <= DISCARDED_BODY_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone("The client went away before the end of its request.")
                part = message.get("body", b"")
                size += len(part)
                if size <= MAX_BODY_BYTES:
                    parts.append(part)
                else:
                    parts.clear()
                more = message.get("more_body", False)
    except TimeoutError:
        raise BodyTooSlow(f"The body did not arrive within {BODY_TIMEOUT_S:g} s.") from None
    if size > MAX_BODY_BYTES:
        raise too_large(size)
    return b"".join(parts)


async def send_reply(send: Send, method: str, reply: Reply, accepted: bytes) -> None:
    headers, body = lay_out(reply, accepted)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


def lay_out(reply: Reply, accepted: bytes) -> tuple[Headers, bytes]:
    """Headers and body as they go out. `accepted`: Accept-Encoding. Errors are not packed:
    tritonclient reads them as they come.

    >>> lay_out(Reply(200, b"{}"), b"gzip, deflate")
    ([(b'content-type', b'application/json'), (b'content-length', b'2')], b'{}')
    >>> lay_out(Reply(200, b"{}"), b"deflate")[0][1]
    (b'content-encoding', b'deflate')
    """
    body, headers = reply.body, [(b"content-type", reply.content_type), *reply.headers]
    if reply.status == OK and (accepted in PACKED or len(body) > COMPRESS_ABOVE_BYTES):
        encoding = chosen_encoding(accepted.decode("latin-1"))
        if encoding is not None:
            body = pack(body, encoding)
            headers.append((b"content-encoding", encoding.encode()))
        headers.append((b"vary", b"Accept-Encoding"))
    headers.append((b"content-length", b"%d" % len(body)))
    return headers, body
