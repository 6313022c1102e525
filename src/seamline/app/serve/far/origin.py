"""The control plane that a data plane elsewhere follows, over HTTP.

What it refuses is raised by its meaning; that it cannot be reached is Unavailable.
"""

from __future__ import annotations

import http.client
import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from urllib.parse import urlencode, urlsplit

from seamline.app.other_server import Answer, Asked, asking, foreign_answer
from seamline.domain import errors
from seamline.domain.digests import Digest
from seamline.serve.far_counts import Told
from seamline.store.received import FileReceiver

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
        with self._asked("GET", path, None, sent) as answer:
            if answer.status == http.client.NOT_MODIFIED:
                return None
            return Fetched(answer.header("ETag"), answer.read(_LONGEST_FILE))

    def key_history(self) -> list[bytes]:
        with self._asked("GET", "/keys", None, {}) as answer:
            document = answer.read_json()
            try:
                return [str(entry).encode() for entry in document["history"]]
            except (KeyError, TypeError) as error:
                raise foreign_answer(self.url, answer.status) from error

    def fetch_package(self, environment: str, digest: Digest, receiver: FileReceiver) -> None:
        """What the receiver does not have of its bytes, not verified. Unavailable where they end
        too early."""
        path = f"/environments/{environment}/packages/{digest}"
        start = receiver.size_bytes
        sent = {"Range": f"bytes={start}-", "If-Range": f'"{digest}"'} if start else {}
        beyond = http.client.REQUESTED_RANGE_NOT_SATISFIABLE
        with self._asked("GET", path, None, sent, reads=beyond) as answer:
            if answer.status == beyond:  # no part of these bytes is as long
                receiver.begin_again()
                raise errors.Unavailable(f"{self.url} has less of {digest} than was here of it.")
            told = answer.header("Content-Range")
            if answer.status != http.client.PARTIAL_CONTENT or not told.startswith(
                f"bytes {start}-"
            ):
                receiver.begin_again()
            while piece := answer.read(CHUNK_BYTES):
                receiver.write(piece)
            if answer.missing_bytes:
                missing = answer.missing_bytes
                raise errors.Unavailable(
                    f"{self.url} broke off {missing} bytes before the end of {digest}.",
                    next_step="What has come is kept; the rest is asked for next.",
                )

    def send_segment(self, environment: str, log: str, name: str, data: bytes) -> None:
        path = f"/environments/{environment}/log-segments/{log}/{name}"
        sent = {"Content-Type": "application/octet-stream"}
        with self._asked("PUT", path, data, sent) as answer:
            answer.read()

    def send_counts(self, environment: str, plane: str, told: Told) -> None:
        path = f"/environments/{environment}/plane-counts/{plane}"
        sent = {"Content-Type": "application/json"}
        with self._asked("PUT", path, json.dumps(asdict(told)).encode(), sent) as answer:
            answer.read()

    def _asked(
        self,
        method: str,
        path: str,
        body: bytes | None,
        sent: dict[str, str],
        reads: int | None = None,
    ) -> AbstractContextManager[Answer]:
        asked = Asked(method, path, body, sent, reads)
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
