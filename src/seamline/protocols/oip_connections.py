"""One HTTP connection of the data plane: uvicorn's, with limits and with errors that are objects.

Headers have to come whole within a time and a size; an answer has to be taken off the wire within
a time; whoever waits for an answer is told when the client goes away. An answer that is whole goes
out in one piece: ASGI has a message for its head and another for its body, each of which would be
a call of the system and wake the client up.
"""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from seamline.protocols.oip_http import WATCH_EXTENSION, WHOLE_EXTENSION, error_body

HEADERS_TIMEOUT_S = 10.0
MAX_HEADER_BYTES = 64 << 10
#: For what is in the send buffer, once it is full.
SEND_TIMEOUT_S = 30.0
_END = b"\r\n"


class Connection(HttpToolsProtocol):
    """A timer exists only while headers are incomplete: what comes in one piece costs none."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._in_body = False
        self._is_partial = False
        self._header_bytes = 0
        self._header_timer: TimerHandle | None = None
        self._send_timer: TimerHandle | None = None
        self._on_gone: Callable[[], None] | None = None
        self._is_lost = False

    # As uvicorn narrows it: its sockets are streams.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            self._is_partial = True
        super().data_received(data)
        if not self._is_partial:
            if self._in_body and self.cycle.response_complete:
                self._await_headers()  # nobody reads what still comes of this body
            return
        self._header_bytes += len(data)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(431, f"The headers are longer than {MAX_HEADER_BYTES} bytes.")
        else:
            self._await_headers()

    def on_message_begin(self) -> None:
        self._is_partial = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_partial, self._in_body, self._header_bytes = False, True, 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
        super().on_headers_complete()  # the application runs in a later turn of the loop
        # Weak, for the cycle holds the scope: else each request were garbage to be searched for.
        extensions: dict[str, Any] = {
            WATCH_EXTENSION: self.watch,
            WHOLE_EXTENSION: partial(_send_whole, ref(self.cycle)),
        }
        self.scope["extensions"] = extensions

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def watch(self, on_gone: Callable[[], None] | None) -> None:
        """`on_gone` is called once the client has gone, at once if it has; None: never."""
        self._on_gone = on_gone
        if on_gone is not None and self._is_lost:
            on_gone()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._is_lost = True
        for timer in (self._header_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        if self._on_gone is not None:
            self._on_gone()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timer = self.loop.call_later(SEND_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP at all."""
        self._refuse(400, "This is no HTTP/1.1 request that can be read.")

    def _await_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADERS_TIMEOUT_S, self._headers_are_late)

    def _headers_are_late(self) -> None:
        self._header_timer = None
        if self._header_bytes:
            self._refuse(408, f"The headers did not arrive within {HEADERS_TIMEOUT_S:g} s.")
        else:
            self.transport.close()

    def _refuse(self, status: int, says: str) -> None:
        """An answer to nobody's request in particular. Not into the middle of another answer."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = error_body(says)
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: "
            self.transport.write(
                b"".join([STATUS_LINE[status], head, b"%d\r\n\r\n" % len(body), body])
            )
        self.transport.close()


def _send_whole(asked: ref[RequestResponseCycle], status: int, head: bytes, body: bytes) -> bool:
    """As `cycle.send` does of both messages, where nothing stands in the way: no answer to be
    waited with, and a connection that stays. False where nothing was sent."""
    cycle = asked()
    if cycle is None or cycle.disconnected:
        return True  # as there: nobody is to be told
    if cycle.response_started or not cycle.keep_alive or cycle.flow.write_paused:
        return False
    always = [part for name, value in cycle.default_headers for part in (name, b": ", value, _END)]
    cycle.transport.write(b"".join([STATUS_LINE[status], *always, head, _END, body]))
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
    cycle.on_response()
    return True
