"""A request for a model's answer, answered by call-backs instead of by ASGI's cycle.

What uvicorn does for ASGI (a scope, a task, a copied context, events, two messages) costs more than
all that is done for a row. None of it is needed for a request that is short and here as a whole:
its answer's coroutine is run up to what it waits for, and from there once that is done. It is the
same coroutine that answers over ASGI; this knows of HTTP only, and of no rule.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from seamline.domain.errors import MachineryError, Unavailable
from seamline.protocols.oip_http import Reply, error_reply, lay_out
from seamline.serve.patience import Watch

LOG = logging.getLogger(__name__)
#: Longer bodies are held back on the wire while nobody reads them, as uvicorn does it.
MAX_BYTES = HIGH_WATER_LIMIT
CLOSE = (b"connection", b"close")
_PATH = re.compile(rb"(/[!-~]+)?/v2/models/[!-~]+/(infer|predict)")
_NOT_PLAIN = re.compile(rb"[?#%]")

Coming = Coroutine[Any, Any, Reply]
#: (method, path, headers, body, watch) → the answer, for which no task is needed.
Answer = Callable[[str, str, dict[bytes, bytes], bytes, Watch], Coming]


def path_of(url: bytes) -> str:
    """The path, where it asks a model and is written plainly; else empty.

    >>> path_of(b"/staging/v2/models/m/versions/1.0/infer")
    '/staging/v2/models/m/versions/1.0/infer'
    >>> path_of(b"/v2/models/m"), path_of(b"/v2/models/m%31/infer"), path_of(b"/snapshots/infer")
    ('', '', '')
    """
    is_one = _PATH.fullmatch(url) and not _NOT_PLAIN.search(url)
    return url.decode("ascii") if is_one else ""


class QuickCycle:
    """The request in work, one at a time for each connection. It stands where uvicorn has its own
    cycle, and its task: so what they are asked when a client goes or the server stops is here."""

    def __init__(
        self, transport: asyncio.Transport, state: ServerState, on_response: Callable[[], None]
    ) -> None:
        self._transport, self._state, self._on_response = transport, state, on_response
        self._loop = asyncio.get_running_loop()
        self.message_event = asyncio.Event()
        self.response_complete, self.keep_alive, self.disconnected = True, True, False
        self._accepted = b""
        self._coming: Coming | None = None
        self._awaited: asyncio.Future[Any] | None = None
        #: The headers that uvicorn has for each answer, and their lines.
        self._always: tuple[Any, bytes] = (None, b"")

    def start(self, coming: Coming, accepted: bytes) -> None:
        """`accepted`: the encodings, as the request lists them."""
        self.response_complete, self.keep_alive = False, True
        self._coming, self._accepted = coming, accepted
        # A server that stops waits for its tasks and then cancels them: both it can do with this.
        self._state.tasks.add(cast("asyncio.Task[None]", self))
        self._step()

    def cancel(self, msg: str) -> None:
        """By the server, once it has waited long enough."""
        if self._awaited is not None:
            self._awaited.cancel(msg)

    def _step(self, _done: object = None) -> None:
        assert self._coming is not None
        self._awaited = None
        try:
            awaited = self._coming.send(None)
        except StopIteration as ended:
            self._end(ended.value)
        except asyncio.CancelledError:
            self.keep_alive = False
            stopped = Unavailable("The data plane stopped while it worked on this request.")
            self._end(error_reply(stopped))
        except BaseException as error:
            LOG.error("A request broke.", exc_info=error)
            self.keep_alive = False
            broken = MachineryError(f"The data plane broke on this request: {error!r}.")
            self._end(error_reply(broken))
            if not isinstance(error, Exception):
                raise
        else:
            if awaited is None:  # it lets others go first
                self._loop.call_soon(self._step)
                return
            # What a task does with what its coroutine waits for.
            awaited._asyncio_future_blocking = False
            self._awaited = awaited
            awaited.add_done_callback(self._step)

    def _end(self, reply: Reply) -> None:
        self._coming = None
        self._state.tasks.discard(self)
        if not self.disconnected and not self._transport.is_closing():
            self._write(reply)
        self.response_complete = True
        if not self.keep_alive:
            self._transport.close()
        self._on_response()
        if self.disconnected:
            self.leave()

    def leave(self) -> None:
        """The connection is gone. After its last answer it is let go of: they hold one another."""
        self.disconnected = True
        if self.response_complete:
            self._on_response = _nothing

    def _write(self, reply: Reply) -> None:
        headers, body = lay_out(reply, self._accepted)
        if CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append(CLOSE)
        always = self._state.default_headers
        if always is not self._always[0]:
            self._always = (always, _lines(always))
        self._transport.write(
            b"%b%b%b\r\n%b" % (STATUS_LINE[reply.status], self._always[1], _lines(headers), body)
        )


def _nothing() -> None:
    pass


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
