"""Folders of files (a prefix of an object store, or a folder here): new files, as one delivery.

Folders named `key=value` are columns, as Hive and Spark lay out Parquet.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import polars as pl

from seamline.data.sources.batches import Delivery, spool
from seamline.data.sources.files import open_file
from seamline.data.sources.objects import Found, Objects
from seamline.data.sources.watermarks import read_mark
from seamline.domain.errors import InvalidInput
from seamline.measure.casting import DType, cast_series

SUFFIXES = frozenset(
    {
        *(".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson", ".arrow", ".feather", ".ipc"),
        *(".gz", ".zip"),
    }
)
_DIGEST_BYTES = 6
#: How Hive and Spark write that there is no value.
_NONE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class FolderMark:
    """The files of a folder that were read, and are still there: by name, second of writing and
    size, each as a digest of 48 bits. A time alone would not do: a file may come in late with an
    early one, when it was moved, or took long to upload."""

    read: frozenset[bytes]

    def to_text(self) -> str:
        """
        >>> from datetime import UTC, datetime
        >>> file = Found("in/a.csv", "a.csv", 12, datetime(2026, 3, 2, tzinfo=UTC), None)
        >>> mark = NOTHING.with_files([file])
        >>> FolderMark.from_text(mark.to_text()) == mark, mark.holds(file)
        (True, True)
        """
        return json.dumps({"files": b64encode(b"".join(sorted(self.read))).decode()})

    @classmethod
    def from_text(cls, text: str) -> FolderMark:
        data = b64decode(json.loads(text)["files"])
        starts = range(0, len(data), _DIGEST_BYTES)
        return cls(frozenset(data[at : at + _DIGEST_BYTES] for at in starts))

    def holds(self, file: Found) -> bool:
        return _digest_of(file) in self.read

    def with_files(self, files: Iterable[Found]) -> FolderMark:
        return FolderMark(self.read | {_digest_of(one) for one in files})


#: Before anything was read.
NOTHING = FolderMark(frozenset())


def _digest_of(file: Found) -> bytes:
    """Of the second: a server may tell more of a moment in a list than of the file alone."""
    said = f"{file.relative}\0{int(file.modified_at.timestamp())}\0{file.size_bytes}"
    return blake2b(said.encode(), digest_size=_DIGEST_BYTES).digest()


def files_of(objects: Objects) -> list[Found]:
    """Of known formats, by path. Names that begin with _ or . are their writer's own."""
    return [
        one
        for one in objects.list_below()
        if PurePosixPath(one.path).suffix.lower() in SUFFIXES
        and not any(part.startswith(("_", ".")) for part in one.relative.split("/"))
    ]


def read_folder(
    objects: Objects,
    folder: Path,
    *,
    follows: str | None = None,
    is_whole: bool = False,
    tell: Callable[[int, int], None] | None = None,
) -> Delivery:
    """The rows of all files (`is_whole`), or of those that `follows` does not name. A file is taken
    as written once: one that is written over later is read again."""
    files = files_of(objects)
    if not files:
        raise objects.not_found()
    mark = NOTHING if is_whole else mark_of(follows, objects.location.uri)
    fresh = [one for one in files if not mark.holds(one)]
    uri = objects.location.uri
    reading = _Folder(objects, folder, partition_types(files), tell)
    # Without a new file: the columns of any, and no row.
    frames = reading.frames(fresh) if fresh else (f.clear() for f in reading.frames(files[:1]))
    window = "" if mark is NOTHING else mark.to_text()
    spooled = spool(frames, folder / "rows.arrow", name=uri, asked=f"{uri}\n{window}")
    delivery = replace(spooled, is_text=reading.is_text)
    if is_whole:
        return delivery
    after = NOTHING.with_files(files) if fresh else mark
    return replace(delivery, watermark=after.to_text(), follows=follows)


def mark_of(watermark: str | None, source: str) -> FolderMark:
    return NOTHING if watermark is None else read_mark(FolderMark.from_text, watermark, source)


def partition_values(relative: str) -> dict[str, str | None]:
    """
    >>> partition_values("year=2026/city=New%20York/part-0.parquet")
    {'year': '2026', 'city': 'New York'}
    """
    pairs = (part.partition("=") for part in relative.split("/")[:-1] if "=" in part)
    return {unquote(key): None if value == _NONE else unquote(value) for key, _, value in pairs}


def partition_types(files: Sequence[Found]) -> Mapping[str, DType]:
    """Each column of the folders' names is what all of its values read as."""
    seen: dict[str, set[str]] = {}
    for one in files:
        for key, value in partition_values(one.relative).items():
            seen.setdefault(key, set()).update([] if value is None else [value])
    return {key: _type_of(sorted(values)) for key, values in seen.items()}


def _type_of(values: Sequence[str]) -> DType:
    """
    >>> _type_of(["1", "02"]), _type_of(["2026-03-02"]), _type_of(["1", "x"]), _type_of([])
    (<DType.INT: 'int'>, <DType.DATE: 'date'>, <DType.STRING: 'string'>, <DType.STRING: 'string'>)
    """
    series = pl.Series(values, dtype=pl.String)
    for dtype in (DType.INT, DType.DATE):
        if values and not cast_series(series, dtype).null_count():
            return dtype
    return DType.STRING


class _Folder:
    def __init__(
        self,
        objects: Objects,
        folder: Path,
        types: Mapping[str, DType],
        tell: Callable[[int, int], None] | None,
    ) -> None:
        self._objects, self._folder, self._types, self._tell = objects, folder, types, tell
        self._columns: list[str] | None = None
        self.is_text = False

    def frames(self, files: Sequence[Found]) -> Iterator[pl.DataFrame]:
        done, whole = 0, sum(one.size_bytes for one in files)
        for number, file in enumerate(files):
            delivery = self._open(file, done, whole)
            if number and delivery.is_text != self.is_text:
                raise InvalidInput(
                    f"{delivery.name} is of another kind of format than {files[0].relative}.",
                    next_step="Keep text files (CSV, TSV) and typed ones in folders of their own.",
                )
            self.is_text = delivery.is_text
            for batch in delivery.batches():
                yield self._with_partitions(batch, file, delivery.name)
            done += file.size_bytes
            if self._tell is not None:
                self._tell(done, whole)

    def _open(self, file: Found, done: int, whole: int) -> Delivery:
        name = f"{self._objects.location.uri.rstrip('/')}/{file.relative}"
        filename = PurePosixPath(file.path).name
        if self._objects.location.is_on_this_machine:
            return open_file(Path("/", file.path), self._folder, name=name, filename=filename)
        fetched = self._folder / "fetched"
        fetched.unlink(missing_ok=True)
        tell = self._tell
        digest = self._objects.fetch(
            file.path, fetched, None if tell is None else lambda came, _: tell(done + came, whole)
        )
        return open_file(fetched, self._folder, name=name, filename=filename, digest=digest)

    def _with_partitions(self, batch: pl.DataFrame, file: Found, name: str) -> pl.DataFrame:
        values = partition_values(file.relative)
        typed = [
            cast_series(pl.Series(key, [values.get(key)], dtype=pl.String), dtype)
            for key, dtype in self._types.items()
            if not self.is_text  # text stays as it was written, like all else of it
        ] or [pl.Series(key, [values.get(key)], dtype=pl.String) for key in self._types]
        frame = batch.drop(list(self._types), strict=False).with_columns(
            one.new_from_index(0, batch.height) for one in typed
        )
        if self._columns is None:
            self._columns = frame.columns
        if set(frame.columns) != set(self._columns):
            differ = sorted(set(frame.columns) ^ set(self._columns))
            raise InvalidInput(
                f"{name} has not the columns of the files before it: {', '.join(differ[:5])}.",
                next_step="Deliver files of one schema in one folder.",
            )
        return frame.select(self._columns)
