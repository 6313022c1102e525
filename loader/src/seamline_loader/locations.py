"""Where a payload can be had: under a web address, or in a folder. Read in ranges."""

from __future__ import annotations

import http.client
import re
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from seamline_loader.errors import NotAllowed, NotThere, Unreachable, WrongBytes
from seamline_loader.partial import CHUNK_BYTES
from seamline_loader.web import Address, address_of, altered_to, told_by, why

_REASON_BYTES = 1 << 16
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")


class Interrupted(Exception):
    """Trying again may help."""


@dataclass(frozen=True)
class Offer:
    """What a location has: how much, and whether parts of it can be asked for."""

    size: int
    in_ranges: bool


@dataclass(frozen=True)
class WebLocation:
    """`{address}/{64 hexadecimal digits}` is a payload."""

    address: Address

    def __str__(self) -> str:
        return self.address.url

    def look(self, name: str) -> Offer:
        with self._ask(name, "bytes=0-0") as response:
            if response.status == 206:
                total = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
                if total:
                    return Offer(int(total[1]), in_ranges=True)
            length = response.headers.get("Content-Length", "")
            if response.status == 200 and length.isdigit():
                return Offer(int(length), in_ranges=False)
        raise Unreachable(f"{self} does not say how large {name} is. Serve it with its length.")

    def read(self, name: str, start: int, end: int, offer: Offer) -> Iterator[bytes]:
        """Bytes from `start` up to `end`, without it; fewer when the connection ends early."""
        wanted = f"bytes={start}-{end - 1}" if offer.in_ranges else None
        with self._ask(name, wanted) as response:
            if offer.in_ranges and response.status != 206:
                raise Interrupted(f"{self} stopped answering in ranges")
            try:
                while chunk := response.read(CHUNK_BYTES):
                    yield chunk
            except (OSError, http.client.HTTPException) as error:
                raise Interrupted(f"{self} broke off ({why(error)})") from error

    def _ask(self, name: str, wanted: str | None) -> Any:
        headers = {"Accept-Encoding": "identity"}
        if wanted:
            headers["Range"] = wanted
        try:
            return self.address.send("/" + name, headers)
        except urllib.error.HTTPError as error:
            with error:
                body = error.read(_REASON_BYTES)
            actual = altered_to(body) if error.code == 422 else ""
            if actual:
                raise WrongBytes(str(self), expected=name, actual=actual) from None
            raise self._refusal(name, error.code, told_by(body)) from None
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"{self} cannot be reached ({why(error)})") from error

    def _refusal(self, name: str, status: int, told: str) -> Exception:
        if status in (404, 410):
            return NotThere(f"{self} has no payload sha256:{name} ({status}).")
        if status in (401, 403):
            has = (
                "the credentials were not enough" if self.address.authorization else "none was set"
            )
            return NotAllowed(
                f"{self} wants a token ({status}; {has}). Set SEAMLINE_TOKEN to one that may "
                "read there."
            )
        if status == 429 or status >= 500:
            return Interrupted(f"{self} answered {status}")
        return Unreachable(
            f"{self} answered {status}: {told or 'no reason given. Is it the address of payloads?'}"
        )


@dataclass(frozen=True)
class FolderLocation:
    """`{folder}/{64 digits}`, or as a workspace keeps blobs: `{folder}/sha256/ab/{62 digits}`."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def look(self, name: str) -> Offer:
        try:
            return Offer(self._find(name).stat().st_size, in_ranges=True)
        except OSError as error:
            raise Unreachable(f"The folder {self} cannot be read ({why(error)}).") from error

    def read(self, name: str, start: int, end: int, offer: Offer) -> Iterator[bytes]:
        try:
            with self._find(name).open("rb") as file:
                file.seek(start)
                while start < end and (chunk := file.read(min(CHUNK_BYTES, end - start))):
                    start += len(chunk)
                    yield chunk
        except OSError as error:
            raise Interrupted(f"The folder {self} cannot be read ({why(error)})") from error

    def _find(self, name: str) -> Path:
        for path in (self.folder / name, self.folder / "sha256" / name[:2] / name[2:]):
            if path.is_file():
                return path
        raise NotThere(f"The folder {self.folder} has no payload sha256:{name}.")


Location = Union[WebLocation, FolderLocation]


def location_of(text: str, token: str | None) -> Location:
    """
    >>> str(location_of("https://ada:secret@models.example/payloads/", None))
    'https://models.example/payloads'
    >>> str(location_of("/srv/payloads", None))
    '/srv/payloads'
    """
    if "://" in text:
        return WebLocation(address_of(text, token))
    return FolderLocation(Path(text).expanduser())
