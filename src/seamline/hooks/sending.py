"""One POST to a hook's receiver, which may do anything: refuse, hang, trickle, redirect, die."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from seamline.hooks.deliveries import Answer

_Connect = Callable[..., http.client.HTTPConnection]


class Call:
    """Can be ended from another thread, and ends itself when its time is over: the time-out of a
    socket begins anew with each byte that comes."""

    def __init__(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> None:
        self._request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310
        self._timeout_s = timeout_s
        self._connections: list[http.client.HTTPConnection] = []
        self._is_over = threading.Event()

    def send(self) -> Answer:
        opener = urllib.request.build_opener(
            _Http(self._kept(http.client.HTTPConnection)),
            _Https(self._kept(http.client.HTTPSConnection)),
            _Stay(),
        )
        timer = threading.Timer(self._timeout_s, self.end)
        timer.daemon = True
        timer.start()
        try:
            with opener.open(self._request, timeout=self._timeout_s) as response:
                if self._is_over.is_set():  # the end of the connection reads as the headers' end
                    return Answer(None, self._why(TimeoutError()))
                return Answer(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, f"It answered {error.code}.", _seconds(error.headers))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(None, self._why(error))
        finally:
            timer.cancel()

    def end(self) -> None:
        self._is_over.set()
        for connection in list(self._connections):
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _kept(self, kind: type[http.client.HTTPConnection]) -> _Connect:
        def connect(host: str, **options: Any) -> http.client.HTTPConnection:
            made = kind(host, **options)
            self._connections.append(made)
            return made

        return connect

    def _why(self, error: Exception) -> str:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if self._is_over.is_set() or isinstance(reason, TimeoutError):
            return f"No answer within {self._timeout_s:g} s."
        return f"No answer: {reason or type(reason).__name__}."


class _Http(urllib.request.HTTPHandler):
    def __init__(self, connect: _Connect) -> None:
        super().__init__()
        self._connect = connect

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connect, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, connect: _Connect) -> None:
        super().__init__()
        self._connect = connect

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connect, req)


class _Stay(urllib.request.HTTPRedirectHandler):
    """A receiver is who the file names; what it redirects to was not declared by anybody."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _seconds(headers: Any) -> float:
    """Of `Retry-After`, where it is a number; a date is passed over."""
    text = str(headers.get("Retry-After", "")) if headers else ""
    return float(text) if text.isdecimal() and len(text) < 9 else 0.0
