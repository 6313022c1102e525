"""One file by URI, in the format that its name says, and Parquet folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from seamline.data.sinks.exports import Export
from seamline.data.sinks.marks import FOLDER_MARK, Mark, Sent, foreign, mark_of, read_mark
from seamline.data.sources.objects import Objects
from seamline.domain.errors import InvalidInput, nearest


class Rows(Protocol):
    """What is written: an export, or what was read of a version."""

    @property
    def schema(self) -> pl.Schema: ...

    def batches(self) -> Iterator[pl.DataFrame]: ...


_TIME = "%Y-%m-%dT%H:%M:%S%.6f%:z"


def send_file(objects: Objects, export: Export, folder: Path) -> Sent:
    """Seen when it is whole. `folder` is the caller's own, for the file while it is made."""
    name = PurePosixPath(objects.key).name
    mark_path = str(PurePosixPath(objects.key).with_name(f"_seamline.{name}.json"))
    mark, there = read_mark(objects, mark_path), objects.head()
    if there is not None:
        if mark is None or (mark.pending == () and mark.files.get(name) != there.etag):
            raise foreign(objects.location.uri)
        if mark.digest == export.digest and not mark.pending:
            return Sent(export.rows, is_new=False)
    path = folder / "export"
    write_rows(path, writer_for(name), export)
    # First the intent: a file without a mark is somebody else's.
    objects.write(mark_path, Mark(None, export.what, 0, {}, (name,)).to_bytes())
    objects.write_file(objects.key, path)
    objects.write(mark_path, mark_of(export, {name: objects.head()}).to_bytes())
    path.unlink()
    return Sent(export.rows, is_new=True)


def send_folder(objects: Objects, export: Export) -> Sent:
    """`ds=DAY/….parquet`, the version's own files byte by byte. An export of some days leaves the
    others. Nothing is deleted but what an earlier export wrote."""
    if objects.head() is not None:
        raise foreign(f"{objects.location.uri} (a file, not a folder)")
    mark_path = objects.below(FOLDER_MARK)
    mark = read_mark(objects, mark_path)
    there = {one.relative: one for one in objects.list_below() if one.relative != FOLDER_MARK}
    ours = set() if mark is None else {*mark.files, *mark.pending}
    if set(there) - ours:
        raise foreign(f"{objects.location.uri} ({sorted(set(there) - ours)[0]})")
    names = export.names()
    kept = {name for name in (mark.files if mark else ()) if not _is_of(export, name)}
    wanted = kept | set(names)
    if mark is not None and not mark.pending and set(mark.files) == wanted <= set(there):
        return Sent(export.rows, is_new=False)
    before = mark.files if mark else {}
    pending = tuple(sorted((ours | wanted) - kept))
    objects.write(mark_path, Mark(None, export.what, 0, before, pending).to_bytes())
    for name, file in names.items():
        if name not in there or there[name].size_bytes == 0:
            objects.write(objects.below(name), file.load())
    for name in sorted(set(there) - wanted):
        objects.delete(objects.below(name))
    files = {one.relative: one for one in objects.list_below() if one.relative in wanted}
    objects.write(mark_path, mark_of(export, files).to_bytes())
    return Sent(export.rows, is_new=True)


def _is_of(export: Export, name: str) -> bool:
    """Whether a file's day is among those that the export replaces."""
    day = name.partition("/")[0].partition("=")[2]
    since = "" if export.since is None else export.since.isoformat()
    return day >= since and (export.until is None or day < export.until.isoformat())


def write_rows(path: Path, write: Callable[[IO[bytes], Rows], None], export: Rows) -> None:
    with path.open("wb") as file:
        write(file, export)


def writer_for(name: str) -> Callable[[IO[bytes], Rows], None]:
    """Raises InvalidInput for a name that does not end like a format."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in WRITERS:
        raise InvalidInput(
            f"{name!r} does not say which format to write.", next_step=nearest(suffix, WRITERS)
        )
    return WRITERS[suffix]


def _frames(export: Rows) -> Iterator[pl.DataFrame]:
    """At least one, so that a file without rows has its columns."""
    yield pl.DataFrame(schema=export.schema)
    yield from export.batches()


def _write_csv(separator: str) -> Callable[[IO[bytes], Rows], None]:
    def write(file: IO[bytes], export: Rows) -> None:
        for number, frame in enumerate(_frames(export)):
            frame.write_csv(
                file, include_header=number == 0, separator=separator, datetime_format=_TIME
            )

    return write


def _write_json_lines(file: IO[bytes], export: Rows) -> None:
    for frame in export.batches():
        frame.write_ndjson(file)


def _arrow_schema(export: Rows) -> pa.Schema:
    return pl.DataFrame(schema=export.schema).to_arrow().schema


def _write_parquet(file: IO[bytes], export: Rows) -> None:
    with parquet.ParquetWriter(file, _arrow_schema(export), compression="zstd") as writer:
        for frame in export.batches():
            writer.write_table(frame.to_arrow())


def _write_arrow(file: IO[bytes], export: Rows) -> None:
    with pa.ipc.new_file(file, _arrow_schema(export)) as writer:
        for frame in export.batches():
            writer.write_table(frame.to_arrow())


WRITERS: Mapping[str, Callable[[IO[bytes], Rows], None]] = {
    ".csv": _write_csv(","),
    ".tsv": _write_csv("\t"),
    ".parquet": _write_parquet,
    ".jsonl": _write_json_lines,
    ".ndjson": _write_json_lines,
    ".arrow": _write_arrow,
    ".feather": _write_arrow,
}
