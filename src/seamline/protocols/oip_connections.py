"""One HTTP connection of the data plane: uvicorn's, with limits and with errors that are objects.

Headers have to come whole within a time and a size; an answer has to be taken off the wire within
a time; whoever waits for an answer is told when the client goes away. What is short and asks a
model is answered without ASGI (oip_quick_answers.py), unless anything about it is out of the
ordinary: a body that is slow to come or of unknown length, another version of HTTP, an answer
before it that is not out yet, a connection that is to end.

Whoever asks for another protocol (`Upgrade`) is answered in this one.
"""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle
from collections.abc import Callable
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from seamline.protocols.oip_http import WATCH_EXTENSION, error_body
from seamline.protocols.oip_quick_answers import MAX_BYTES, Answer, QuickCycle, path_of

HEADERS_TIMEOUT_S = 10.0
MAX_HEADER_BYTES = 64 << 10
#: For what is in the send buffer, once it is full.
SEND_TIMEOUT_S = 30.0
#: Many clients send head and body in two pieces: so long the second is waited for without ASGI.
REST_S = 0.02


class Connection(HttpToolsProtocol):
    """`answer`: what is called without ASGI; None: nothing is.

    A timer exists only while headers are incomplete: what comes in one piece costs none. The one
    that lets go of an idle connection is looked at when it is due, and not set for each answer."""

    _quick: QuickCycle

    def __init__(self, *given: Any, answer: Answer | None = None, **named: Any) -> None:
        super().__init__(*given, **named)
        self._answer = answer if not self.root_path else None
        #: Of a request that is to be answered without ASGI, until its body is here.
        self._gathered: bytes | None = None
        self._asked: dict[bytes, bytes] = {}
        self._rest_timer: TimerHandle | None = None
        #: What was asked last on this connection, which is what is asked next.
        self._url_before, self._path = b"", ""
        self._in_body = False
        self._is_partial = False
        self._header_bytes = 0
        self._header_timer: TimerHandle | None = None
        self._send_timer: TimerHandle | None = None
        #: On the loop's clock; None while there is something to answer or to read.
        self._idle_since_s: float | None = None
        self._idle_timer: TimerHandle | None = None
        self._on_gone: Callable[[], None] | None = None
        self._is_lost = False
        #: Whose answer is due next, where others wait behind it (`cycle` is the newest).
        self._first: RequestResponseCycle | None = None

    # As uvicorn narrows it: its sockets are streams.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._quick = QuickCycle(transport, self.server_state, self.on_response_complete)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            self._is_partial = True
        self._idle_since_s = None
        self._read(data)
        if not self._is_partial:
            if self._gathered is not None:
                self._await_rest()
            elif self._in_body and self.cycle.response_complete:
                self._await_headers()  # nobody reads what still comes of this body
            return
        self._header_bytes += len(data)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(431, f"The headers are longer than {MAX_HEADER_BYTES} bytes.")
        else:
            self._await_headers()

    def _read(self, data: bytes) -> None:
        """No other protocol is spoken here, so who asks for one (clients of Java do, for HTTP/2) is
        answered in this one. The parser ends where another one would begin: a new one goes on."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except HttpParserError:
                self.send_400_response("")
                return
            except HttpParserUpgrade as upgrade:
                if self.parser.get_method() == b"CONNECT":
                    self.send_400_response("")
                    return
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = HttpRequestParser(self)

    def _head_without_upgrade(self) -> bytes:
        first = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % first]
        for name, value in self.headers:
            if name == b"connection" and b"close" in value.lower():
                lines.append(b"connection: close")
            elif name not in (b"connection", b"upgrade"):
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        self._is_partial = True
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._is_partial, self._in_body, self._header_bytes = False, True, 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
        if self._is_quick():
            self._gathered = b""
        else:
            self._begin_cycle()

    def on_body(self, body: bytes) -> None:
        if self._gathered is None:
            super().on_body(body)
        else:
            self._gathered += body

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_body = False
        if self._gathered is None or self._answer is None:
            super().on_message_complete()
            return
        body, self._gathered = self._gathered, None
        self._end_waiting()
        # It has what the connection asks of a cycle.
        self.cycle = self._first = cast(RequestResponseCycle, self._quick)
        asked, self._asked = self._asked, {}
        self._quick.start(
            self._answer("POST", self._path, asked, body, self.watch),
            asked.get(b"accept-encoding", b""),
        )

    def on_response_complete(self) -> None:
        if self.pipeline:
            self._first = self.pipeline[-1][0]
            super().on_response_complete()
            return
        self._first = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._idle_since_s = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_idle)

    def _look_idle(self) -> None:
        self._idle_timer = None
        if self._idle_since_s is None:
            return  # the next answer sets it
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._idle_timer = self.loop.call_later(left_s, self._look_idle)
        else:
            self.timeout_keep_alive_handler()

    def shutdown(self) -> None:
        self._take_up()
        super().shutdown()

    def _is_quick(self) -> bool:
        if self._answer is None or self.parser.get_method() != b"POST":
            return False
        if self.url != self._url_before:
            self._url_before, self._path = self.url, path_of(self.url)
        if not self._path or not (self.cycle is None or self.cycle.response_complete):
            return False
        headers = self._asked = dict(self.headers)
        length = headers.get(b"content-length", b"")
        return (
            length.isdigit()
            and int(length) <= MAX_BYTES
            and b"expect" not in headers
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.flow.write_paused
        )

    def _begin_cycle(self) -> None:
        asked = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # only now: what is quick needs no scope
        self.url, self.headers, self.expect_100_continue = asked
        self.scope["headers"] = self.headers
        super().on_headers_complete()  # the application runs in a later turn of the loop
        if not self.pipeline:
            self._first = self.cycle
        extensions: dict[str, Any] = {WATCH_EXTENSION: self.watch}
        self.scope["extensions"] = extensions

    def _await_rest(self) -> None:
        if self._rest_timer is None:
            self._rest_timer = self.loop.call_later(REST_S, self._take_up)

    def _end_waiting(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _take_up(self) -> None:
        """A body that is not here yet comes by ASGI, which has a time for it."""
        self._end_waiting()
        if self._gathered is None:
            return
        body, self._gathered, self._asked = self._gathered, None, {}
        self._begin_cycle()
        if body:
            super().on_body(body)

    def watch(self, on_gone: Callable[[], None] | None) -> None:
        """`on_gone` is called once the client has gone, at once if it has; None: never."""
        self._on_gone = on_gone
        if on_gone is not None and self._is_lost:
            on_gone()

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_up()
        super().connection_lost(exc)  # tells the newest only
        if self._first is not None:
            self._first.disconnected = True
            self._first.message_event.set()
        self._is_lost, self._first = True, None
        for timer in (self._header_timer, self._send_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        if self._on_gone is not None:
            self._on_gone()
        self._quick.leave()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timer = self.loop.call_later(SEND_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP at all, or no longer."""
        last = self.cycle
        if last is not None and not last.response_complete:
            if self._in_body and self.pipeline:
                self.pipeline.popleft()
                last = self.pipeline[0][0] if self.pipeline else self._first or last
                self._in_body = False
            if not self._in_body:
                last.keep_alive = False  # what came whole is answered, and nothing after it
                self._is_partial = False
                return
            if not last.response_started:
                # Its answer is this one: it breaks off in its body.
                last.disconnected = last.response_complete = True
                last.message_event.set()
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
