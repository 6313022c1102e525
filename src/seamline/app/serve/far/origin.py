"""The control plane that a data plane elsewhere follows, over HTTP.

What it refuses is raised by its meaning; that it cannot be reached is Unavailable.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from seamline.app.other_server import Asked, asking
from seamline.domain import errors

TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
_LONGEST_FILE = 256 << 20


@dataclass(frozen=True)
class Fetched:
    etag: str
    envelope: bytes


@dataclass(frozen=True)
class Origin:
    url: str
    token: str

    def next_file(self, environment: str, name: str, known: str, wait_s: float) -> Fetched | None:
        """A signed file (`snapshot`, `access-list`), unless it is the one of that ETag for as long
        as it waits."""
        path = f"/environments/{environment}/{name}?{urlencode({'wait_s': wait_s})}"
        sent = {"If-None-Match": known} if known else {}
        with self._asked("GET", path, None, sent) as response:
            if response.status == http.client.NOT_MODIFIED:
                return None
            return Fetched(response.headers["ETag"] or "", response.read(_LONGEST_FILE))

    def key_history(self) -> list[bytes]:
        with self._asked("GET", "/keys", None, {}) as response:
            document: dict[str, Any] = json.loads(response.read())
            return [str(entry).encode() for entry in document["history"]]

    def fetch_package(self, environment: str, digest: str, take: Callable[[bytes], None]) -> None:
        """Its bytes, piece by piece and not verified."""
        path = f"/environments/{environment}/packages/{digest}"
        with self._asked("GET", path, None, {}) as response:
            while piece := response.read(CHUNK_BYTES):
                take(piece)

    def send_segment(self, environment: str, log: str, name: str, data: bytes) -> None:
        path = f"/environments/{environment}/log-segments/{log}/{name}"
        sent = {"Content-Type": "application/octet-stream"}
        with self._asked("PUT", path, data, sent) as response:
            response.read()

    def _asked(
        self, method: str, path: str, body: bytes | None, sent: dict[str, str]
    ) -> AbstractContextManager[http.client.HTTPResponse]:
        asked = Asked(method, path, body, sent)
        return asking(self.url, self.token, asked, connect_s=TIMEOUT_S, answer_s=TIMEOUT_S)


def check_url(url: str) -> str:
    """
    >>> check_url("http://127.0.0.1:8765/")
    'http://127.0.0.1:8765'
    """
    try:
        found = urlsplit(url)
        is_sound = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        is_sound = False
    if not is_sound:
        raise errors.InvalidInput(
            f"{url!r} is no address of a server.", next_step="Write --from http://HOST:PORT."
        )
    return url.rstrip("/")
