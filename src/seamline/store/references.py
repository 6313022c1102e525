"""Which blobs something refers to: whatever any row of the database, or a blob, mentions.

Looked for in the text of every column of every table that there is, whoever made it: a table of a
newer version, or of somebody else, holds its blobs, too. Rather too much is kept than too little.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from sqlalchemy import Connection, MetaData, String, Table, select

from seamline.store.blobs import CHUNK_BYTES, Blobs

_DIGITS = 64
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
#: How documents begin that name other blobs: JSON, and lists of digests.
_NAMING = (b"{", b"[", b"sha256:")

#: Rows that do not count: table → (column, its values).
Ignored = Mapping[str, tuple[str, Collection[str]]]


def mentions_in(data: bytes) -> set[str]:
    """
    >>> sorted(mentions_in(b'{"a": "sha256:' + b"0f" * 32 + b'"}'))[0][:11]
    'sha256:0f0f'
    """
    return {f"sha256:{found.decode()}" for found in _DIGEST.findall(data)}


def referenced_blobs(
    connection: Connection,
    blobs: Blobs,
    documents: Iterable[tuple[str, Path]] = (),
    ignored: Ignored | None = None,
    order: Collection[str] = (),
) -> dict[str, str]:
    """Digest → what refers to it: the table (or the name of one of the `documents`, files outside
    of the database). Of several the first of `order`, and then any."""
    found: dict[str, str] = {}
    for name, path in documents:
        if path.is_file():
            for digest in mentions_in(path.read_bytes()):
                found.setdefault(digest, name)
    tables = MetaData()
    tables.reflect(connection)
    first = {name: place for place, name in enumerate(order)}
    for table in sorted(tables.sorted_tables, key=lambda one: first.get(one.name, len(first))):
        for digest in _mentions_of(connection, table, (ignored or {}).get(table.name)):
            found.setdefault(digest, table.name)
    _follow(blobs, found)
    return found


def _mentions_of(
    connection: Connection, table: Table, ignored: tuple[str, Collection[str]] | None
) -> Iterator[str]:
    texts = [column for column in table.c if isinstance(column.type, String)]
    if not texts:
        return
    beside = [] if ignored is None else [table.c[ignored[0]].label("_ignored")]
    for row in connection.execute(select(*beside, *texts).execution_options(yield_per=1000)):
        if ignored is not None and row[0] in ignored[1]:
            continue
        for value in row[len(beside) :]:
            if value is not None and len(value) >= _DIGITS:
                yield from mentions_in(value.encode())


def _follow(blobs: Blobs, found: dict[str, str]) -> None:
    """What the documents among them name, and what those name."""
    waiting = list(found)
    while waiting:
        digest = waiting.pop()
        for named in _named_in(blobs.path_of(digest)):
            if named not in found:
                found[named] = found[digest]
                waiting.append(named)


def _named_in(path: Path) -> set[str]:
    """In pieces: a folder of a million files has a long list."""
    named: set[str] = set()
    try:
        with path.open("rb") as file:
            data = file.read(CHUNK_BYTES)
            if not data.startswith(_NAMING):
                return named
            while data:
                named |= mentions_in(data)
                more = file.read(CHUNK_BYTES)
                data = data[-_DIGITS:] + more if more else b""
    except FileNotFoundError:  # named, and no blob
        return named
    return named
