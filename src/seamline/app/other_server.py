"""One request to another Seamline server: its refusals come as ours, naming it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from seamline.domain import errors

_LONGEST_REFUSAL = 1 << 20


@dataclass(frozen=True)
class Asked:
    method: str
    #: Below `/api/v1`.
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None
    #: A refusal that whoever asks reads from the answer.
    reads: int | None = None


@dataclass(frozen=True)
class Answer:
    """Reading it raises Unavailable where the wire breaks; what is done with what was read does
    not look like that."""

    url: str
    response: http.client.HTTPResponse

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def missing_bytes(self) -> int:
        """Announced and not read."""
        return self.response.length or 0

    def header(self, name: str) -> str:
        return self.response.headers[name] or ""

    def read(self, most: int | None = None) -> bytes:
        with _reaching(self.url):
            return self.response.read(most)

    def read_json(self, most: int | None = None) -> Any:
        try:
            return json.loads(self.read(most))
        except ValueError as error:
            raise foreign_answer(self.url, self.status) from error


@contextmanager
def asking(
    url: str, token: str, asked: Asked, *, connect_s: float, answer_s: float
) -> Iterator[Answer]:
    """The answer, to be read meanwhile. Raises what the server refused it with, and Unavailable
    where it does not answer, or not as Seamline does: that may be better the next time."""
    address = urlsplit(url)
    is_secure = address.scheme == "https"
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    headers = dict(asked.headers or {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = kind(address.hostname or "", address.port, timeout=connect_s)
    with closing(connection):
        with _reaching(url):
            connection.connect()
            connection.sock.settimeout(answer_s)
            path = f"{address.path.rstrip('/')}/api/v1{asked.path}"
            connection.request(asked.method, path, asked.body, headers)
            answer = Answer(url, connection.getresponse())
        if answer.status >= http.client.BAD_REQUEST and answer.status != asked.reads:
            raise _meaning(url, answer.status, answer.read(_LONGEST_REFUSAL))
        yield answer


def foreign_answer(url: str, status: int) -> errors.Unavailable:
    return errors.Unavailable(
        f"{url} answered {status}, and not as Seamline does.",
        next_step="Look whether it is the address of a Seamline server, and what stands before it.",
    )


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise errors.Unavailable(
            f"{url} does not answer ({why}).",
            next_step="Look whether it runs (seamline up, there) and can be reached from here.",
        ) from error


def _meaning(url: str, status: int, data: bytes) -> errors.SeamlineError:
    """What is no refusal of Seamline (a proxy's page, for one) may be better the next time."""
    try:
        said = json.loads(data)["error"]
        cls = errors.class_of_code(said["code"])
        if cls is not None and status < http.client.INTERNAL_SERVER_ERROR:
            return cls(f"{url} says: {said['message']}", next_step=str(said["next_step"]))
        # Bytes that came altered are sent again.
        return errors.Unavailable(f"{url} says: {said['message']}")
    except (ValueError, KeyError, TypeError):
        return foreign_answer(url, status)
