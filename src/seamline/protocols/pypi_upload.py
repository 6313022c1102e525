"""The body of the legacy upload, as it arrives: its file straight to the disk, hashed on the way.

Frameworks read a form before anybody looks at it, into memory and the machine's temporary folder
(which may be memory, too), and copy it afterwards. Here nothing is larger than a piece but the one
file, which lies in a folder of its own below the workspace's `incoming` and is moved once it is
sound. Whatever ends the request takes the folder away; a server that was killed does when it
starts again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from seamline.domain.errors import InvalidInput, Unavailable
from seamline.store.received import FileReceiver, ReceivedFile
from seamline.store.room import MAY_BE_FULL, is_out_of_room

FIELDS = (":action", "name", "version", "sha256_digest")
MAX_FIELD_BYTES = 1024
MAX_PARTS = 1000
PIECE_BYTES = 1 << 20
_FILE = "content"


@dataclass(frozen=True)
class Upload:
    """`filename`: as the sender calls it, to be checked. `fields`: those of FIELDS that came."""

    filename: str
    file: ReceivedFile
    fields: dict[str, str]


@asynccontextmanager
async def received_upload(request: Request, incoming: Path) -> AsyncIterator[Upload]:
    """The upload for as long as the block lasts; InvalidInput when it is not whole."""
    form = _Form(_boundary_of(request))
    folder = await run_in_threadpool(_make_folder, incoming)
    receiver = FileReceiver(folder / "upload")
    try:
        async for chunk in request.stream():
            form.feed(chunk)
            if form.waiting_bytes >= PIECE_BYTES:
                await run_in_threadpool(receiver.write, form.take())
        await run_in_threadpool(receiver.write, form.take())
        filename = form.finish()
        yield Upload(filename, await run_in_threadpool(receiver.finish), form.fields)
    except ClientDisconnect:
        raise InvalidInput(
            "The upload was interrupted; nothing of it was kept.", next_step="Send it again."
        ) from None
    except MAY_BE_FULL as error:
        if not is_out_of_room(error):
            raise
        raise Unavailable(
            "There is no room for this upload; nothing of it was kept.",
            next_step="Make room on the server's disk, then send it again.",
        ) from error
    finally:
        with suppress(OSError):  # what was buffered for a full disk
            receiver.close()
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder(incoming: Path) -> Path:
    incoming.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="upload-", dir=incoming))


def _boundary_of(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidInput(
            "An upload is sent as multipart/form-data.",
            next_step="Send it with twine or uv publish, or as curl does with -F.",
        )
    return boundary


class _Form:
    """What is known of the form so far. Fields that nobody asks for are passed over."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self._filename: str | None = None
        self._name = ""
        self._value = bytearray()
        self._is_file = False
        self._parts = 0
        self._ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header, self._header_value = bytearray(), bytearray()
        self._waiting = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _broken(str(error)) from error

    @property
    def waiting_bytes(self) -> int:
        return len(self._waiting)

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken(str(error)) from error

    def take(self) -> bytes:
        """The file's bytes since the last time."""
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken

    def finish(self) -> str:
        """The file's name; InvalidInput when the form is not whole."""
        if not self._ended:
            raise _broken("it ends before its last part does")
        if not self._filename:
            raise InvalidInput(f"The upload has no file in its field {_FILE!r}.")
        return self._filename

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _broken(f"it has more than {MAX_PARTS} parts")
        self._headers, self._is_file = {}, False
        self._value.clear()

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._header_value)
        self._header.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise _broken("one of its parts has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        if self._name == _FILE and b"filename" in options:
            if self._filename is not None:
                raise _broken(f"it has two files in its field {_FILE!r}")
            self._filename = options[b"filename"].decode("utf-8", "replace")
            self._is_file = True

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._waiting += memoryview(data)[start:end]
        elif self._name in FIELDS:
            self._value += data[start:end]
            if len(self._value) > MAX_FIELD_BYTES:
                raise _broken(f"its field {self._name!r} is longer than {MAX_FIELD_BYTES} bytes")

    def _end_part(self) -> None:
        if not self._is_file and self._name in FIELDS:
            if self._name in self.fields:
                raise _broken(f"it has two fields {self._name!r}")
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


def _broken(why: str) -> InvalidInput:
    return InvalidInput(f"The upload's form cannot be read: {why}.", next_step="Send it again.")
