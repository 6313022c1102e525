"""What a pin is, and what the three clients have in common."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import polars as pl

from seamline.data.credentials import Credentials
from seamline.data.locations import Location
from seamline.domain.digests import Digest
from seamline.domain.errors import InvalidInput
from seamline.store.canonical import digest_of_json

_PART = re.compile(r"[\w$ -]{1,255}")


class PinKind(StrEnum):
    VERSION = "version"
    TIME = "time"


@dataclass(frozen=True)
class Pin:
    """A table as it was: the same pin gives the same rows for as long as the warehouse keeps them.

    `statement` reads exactly these rows there. `columns` are (name, type in its own words).
    """

    uri: str
    kind: PinKind
    value: str
    statement: str
    columns: tuple[tuple[str, str], ...]
    rows: int

    @property
    def digest(self) -> Digest:
        """Of the table's address, pin and columns; nobody has read its rows."""
        named = {"uri": self.uri, "kind": self.kind, "value": self.value, "columns": self.columns}
        return Digest(digest_of_json(named))


class Warehouse(Protocol):
    def pin(self) -> Pin:
        """The table as it is now. Reads its schema and its number of rows, no row."""

    def rows(self, pin: Pin) -> Iterator[pl.DataFrame]:
        """At the pin; in batches of one schema, at least one."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Place:
    location: Location
    credentials: Credentials

    @property
    def names(self) -> list[str]:
        """The parts of the table's name."""
        return [part for part in self.location.path.split("/") if part]

    def checked_names(self, *wanted: str) -> list[str]:
        """Raises InvalidInput unless the URI has these parts, each of which can be a name."""
        names = self.names
        if len(names) != len(wanted) or not all(map(_PART.fullmatch, names)):
            shape = "/".join(part.upper() for part in wanted)
            raise InvalidInput(
                f"{self.location.uri} names no table.",
                next_step=f"Write {self.location.scheme}://{self.location.host}/{shape}.",
            )
        return names

    def need(self, key: str) -> str:
        value = self.credentials.get(key)
        if value is None:
            named = self.credentials.name or "(none)"
            raise InvalidInput(
                f"The credentials {named} lack the key {key}, which {self.location.scheme} asks "
                "for.",
                next_step=f"seamline secret set NAME {key}",
            )
        return value


def load_client(module: str, extra: str) -> Any:
    """The warehouse's own library: an extra, loaded only where a table of it is named."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InvalidInput(
            f"The client library of {extra} is not installed.",
            next_step=f"pip install 'seamline[{extra}]'",
        ) from None
