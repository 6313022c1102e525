"""Speaks to the workspace's server over HTTP, with the standard library (it imports fast).

Where no server runs, the same app runs inside this process, holding the workspace's lock,
until the command's work is done.
"""

from __future__ import annotations

import gc
import hashlib
import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from seamline.domain import errors
from seamline.domain.settings import Settings
from seamline.runtime.processes import is_alive
from seamline.runtime.server_file import read_server_file

API = "/api/v1"
_CHUNK_BYTES = 1 << 20
#: A server starts in seconds; a command of another process may train a model.
PATIENCE_S = 60.0
_PAUSE_S = 0.1


class Readable(Protocol):
    """What `http.client` needs of a file that it sends."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Client:
    base_url: str
    token: str
    #: The server lives in this process, and only as long as the command.
    is_own_server: bool = False

    def get(self, path: str, **query: Any) -> Any:
        return self._send("GET", path, query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        payload = json.dumps(body if body is not None else {}).encode()
        return self._send("POST", path, query, payload, "application/json")

    def delete(self, path: str, **query: Any) -> Any:
        return self._send("DELETE", path, query)

    def upload(self, path: str, file: Readable, size: int, **query: Any) -> Any:
        headers = {"Content-Length": str(size)}
        return self._send("POST", path, query, file, "application/octet-stream", headers)

    def download(self, path: str, file: IO[bytes]) -> str:
        """What the server has at this path (of the server, not of its API), into `file`; the
        digest of what has come."""
        return self._receive(_address(self.base_url).path.rstrip("/") + quote(path), file)

    def fetch(self, path: str, file: IO[bytes], **query: Any) -> str:
        """An answer of the API that is a file, like `download`."""
        return self._receive(self._target(path, query), file)

    def _receive(self, target: str, file: IO[bytes]) -> str:
        hasher = hashlib.sha256()
        with self._asked("GET", target, None, {}) as response:
            if response.status != http.client.OK:
                _decode(response.status, response.read(), f"GET {target}")
                raise errors.MachineryError(f"GET {target} answered {response.status}.")
            while chunk := response.read(_CHUNK_BYTES):
                hasher.update(chunk)
                _write(file, chunk)
        return f"sha256:{hasher.hexdigest()}"

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: bytes | Readable | None = None,
        content_type: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Any:
        headers = dict(more or {})
        if content_type:
            headers["Content-Type"] = content_type
        target = self._target(path, query)
        with self._asked(method, target, body, headers) as response:
            data = response.read()
        return _decode(response.status, data, f"{method} {target}")

    def _target(self, path: str, query: Mapping[str, Any]) -> str:
        given = {name: value for name, value in query.items() if value is not None}
        asked = "?" + urlencode(given, doseq=True) if given else ""
        return _address(self.base_url).path.rstrip("/") + API + quote(path) + asked

    @contextmanager
    def _asked(
        self,
        method: str,
        target: str,
        body: bytes | Readable | None,
        headers: Mapping[str, str],
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer, its body not read yet; Unavailable when none comes, or stops half-way."""
        address, sent = _address(self.base_url), dict(headers)
        if self.token:
            sent["Authorization"] = f"Bearer {_checked_token(self.token)}"
        secure = address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(address.hostname or "", address.port, timeout=600)
        try:
            connection.request(method, target, body, sent)
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise errors.Unavailable(
                f"No Seamline server answers at {self.base_url} ({why}).",
                next_step="Start one with seamline up, or correct --url (SEAMLINE_URL).",
            ) from error
        finally:
            connection.close()


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise errors.MachineryError(f"What came cannot be written: {error.strerror}.") from error


def _address(url: str) -> SplitResult:
    """
    >>> _address("http://127.0.0.1:8765").port
    8765
    """
    try:
        found = urlsplit(url)
        is_sound = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        found, is_sound = urlsplit(""), False
    if not is_sound or any(not "!" <= letter <= "~" for letter in url):
        raise errors.InvalidInput(
            f"{url!r} is no address of a server.", next_step="Write http://HOST:PORT."
        )
    return found


def _checked_token(token: str) -> str:
    if any(not "!" <= letter <= "~" for letter in token):
        raise errors.InvalidInput(
            "The token holds characters that no token has.",
            next_step="Copy it once more: sl_ and 43 letters, digits, - and _.",
        )
    return token


def _decode(status: int, data: bytes, what: str) -> Any:
    try:
        document = json.loads(data) if data else None
    except ValueError:
        document = None
    if status < 400:
        return document
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        error = document["error"]
        cls = errors.class_of_code(error.get("code")) or errors.Refused
        raise cls(error.get("message", ""), next_step=error.get("next_step", ""))
    if isinstance(document, dict) and "detail" in document:
        raise errors.InvalidInput(f"{what}: {json.dumps(document['detail'])}")
    raise errors.MachineryError(f"{what} answered {status}: {data[:300]!r}")


def find_server(settings: Settings) -> str | None:
    """The address of the server to speak to, or None when none runs for the workspace."""
    if settings.url:
        return settings.url
    found = read_server_file(settings.workspace)
    if found is None or not is_alive(found.identity):
        return None
    return found.url


@contextmanager
def connect(settings: Settings, *, must_exist: bool = False) -> Iterator[Client]:
    """A client of the running server, or of one that lives as long as this block.

    Whoever holds the workspace without an address is starting, or a command like this one: it is
    waited for, PATIENCE_S at the most, then Conflict. `must_exist`: where there is no workspace it
    raises NotFound, and makes none.
    """
    if must_exist and not settings.url:
        check_is_there(settings.workspace)
    with ExitStack() as stack:
        yield _client(settings, stack)


def check_is_there(workspace: Path) -> None:
    """NotFound where no folder is, with the one that a folder above has."""
    if workspace.exists():
        return
    place = workspace.absolute()
    above = (folder / place.name for folder in place.parent.parents)
    nearest = next((one for one in above if one.is_dir()), None)
    there = "Go to the folder that has it" if nearest is None else f"Go to {nearest.parent}"
    raise errors.NotFound(
        f"There is no workspace at {place}.",
        next_step=f"{there}, or name it with --workspace; seamline up makes a new one here.",
    )


def _client(settings: Settings, stack: ExitStack) -> Client:
    deadline = time.monotonic() + PATIENCE_S
    is_told = False
    while (address := find_server(settings)) is None:
        gc.disable()  # What is imported is no garbage; `seamline up` does the same.
        from seamline.server import serve_in_process

        gc.freeze()
        gc.enable()
        try:
            own = stack.enter_context(serve_in_process(settings))
        except errors.Conflict:
            if time.monotonic() > deadline:
                raise
        else:
            sys.stderr.write(f"no server runs on {settings.workspace}: working in this process\n")
            return Client(own, settings.token, is_own_server=True)
        if not is_told:
            sys.stderr.write(f"another process has {settings.workspace}: waiting for it\n")
            is_told = True
        time.sleep(_PAUSE_S)
    return Client(address, settings.token)


def body_of(path: Path) -> tuple[IO[bytes], int]:
    """An open file and its size; InvalidInput when it cannot be read."""
    try:
        return path.open("rb"), path.stat().st_size
    except OSError as error:
        raise errors.InvalidInput(f"{path} cannot be read: {error.strerror}.") from error


def text_of(path: Path) -> str:
    """The text of a file; InvalidInput when it cannot be read."""
    body, _ = body_of(path)
    with body:
        try:
            return body.read().decode()
        except UnicodeDecodeError as error:
            raise errors.InvalidInput(f"{path} cannot be read: it is no text ({error}).") from error
