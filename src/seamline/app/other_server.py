"""One request to another Seamline server: its refusals come as ours, naming it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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


@contextmanager
def asking(
    url: str, token: str, asked: Asked, *, connect_s: float, answer_s: float
) -> Iterator[http.client.HTTPResponse]:
    """The answer, to be read meanwhile. Raises what the server refused it with, and Unavailable
    where it does not answer, or not as Seamline does: that may be better the next time."""
    address = urlsplit(url)
    is_secure = address.scheme == "https"
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    headers = dict(asked.headers or {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = kind(address.hostname or "", address.port, timeout=connect_s)
    try:
        connection.connect()
        connection.sock.settimeout(answer_s)
        path = f"{address.path.rstrip('/')}/api/v1{asked.path}"
        connection.request(asked.method, path, asked.body, headers)
        response = connection.getresponse()
        if response.status >= http.client.BAD_REQUEST and response.status != asked.reads:
            raise _meaning(url, response.status, response.read(_LONGEST_REFUSAL))
        yield response
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise errors.Unavailable(
            f"{url} does not answer ({why}).",
            next_step="Look whether it runs (seamline up, there) and can be reached from here.",
        ) from error
    finally:
        connection.close()


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
        return errors.Unavailable(f"{url} answered {status}, and not as Seamline does.")
