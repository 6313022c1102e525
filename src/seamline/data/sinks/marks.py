"""The mark beside an export: which rows lie there, written last, so that they lie there once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seamline.data.sinks.exports import Export
from seamline.data.sources.objects import Found, Objects
from seamline.domain.errors import Conflict

#: Names that begin with _ are read by nobody: neither Spark, nor Hive, nor our own folders.
FOLDER_MARK = "_seamline.json"
_FORMAT = 1


@dataclass(frozen=True)
class Sent:
    """`is_new` is False where the very rows lay there already."""

    rows: int
    is_new: bool


@dataclass(frozen=True)
class Mark:
    """`files` lie there: name → the store's own tag of the object. `pending`: names that a writer
    was about to write; where it was killed, some of them lie there."""

    digest: str | None
    what: str
    rows: int
    files: Mapping[str, str | None]
    pending: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        return json.dumps({"seamline_export": _FORMAT, **self.__dict__}, indent=1).encode()


def read_mark(objects: Objects, path: str) -> Mark | None:
    """None: there is none. Raises Conflict for a file that is no mark of ours."""
    data = objects.read(path)
    if data is None:
        return None
    try:
        found: dict[str, Any] = json.loads(data)
        if found.pop("seamline_export") != _FORMAT:
            raise ValueError
        return Mark(**{**found, "pending": tuple(found["pending"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Conflict(
            f"{objects.location.scheme}://{objects.location.host}/{path} is no mark that this "
            "Seamline wrote.",
            next_step="Export to another place, or remove what lies there.",
        ) from None


def mark_of(export: Export, files: Mapping[str, Found | None]) -> Mark:
    tags = {name: None if one is None else one.etag for name, one in files.items()}
    return Mark(export.digest, export.what, export.rows, tags)


def foreign(where: str) -> Conflict:
    return Conflict(
        f"{where} holds something that Seamline did not write: it is left as it is.",
        next_step="Export to another place, or remove what lies there.",
    )
