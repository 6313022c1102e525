"""A file as a delivery: CSV, Parquet, JSON lines or Arrow IPC, plain or packed (gz, zip)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePath

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from seamline.data.sources.batches import Delivery, check_columns, frame_of
from seamline.data.sources.json_lines import JsonLines
from seamline.data.sources.packed import unpack
from seamline.data.sources.plain import plain_frame
from seamline.data.sources.separated import BLOCK_BYTES, Separated
from seamline.domain.digests import Digest
from seamline.domain.errors import InvalidInput, NotFound
from seamline.store.blobs import digest_of_file

#: What a batch may hold; a row group of large values gives fewer rows than BATCH_ROWS at a time.
BATCH_ROWS = 131_072
BATCH_BYTES = 32 << 20
_BLOCK_BYTES_PER_COLUMN = 8 << 10


class Format(StrEnum):
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    JSON_LINES = "json lines"
    ARROW = "arrow"
    ARROW_STREAM = "arrow stream"


_MAGIC: Mapping[bytes, Format] = {
    b"PAR1": Format.PARQUET,
    b"ARROW1": Format.ARROW,
    b"\xff\xff\xff\xff": Format.ARROW_STREAM,
}
_SUFFIXES: Mapping[str, Format] = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".parquet": Format.PARQUET,
    ".json": Format.JSON_LINES,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
}


def detect_format(data: bytes, filename: str) -> Format:
    """By the first bytes, then by the suffix; text that starts with { is JSON lines, else CSV.

    >>> detect_format(b"PAR1...", "data.csv"), detect_format(b'{"a": 1}', "data")
    (<Format.PARQUET: 'parquet'>, <Format.JSON_LINES: 'json lines'>)
    >>> detect_format(b"a,b", "data")
    <Format.CSV: 'csv'>
    """
    for magic, found in _MAGIC.items():
        if data.startswith(magic):
            return found
    by_suffix = _SUFFIXES.get(PurePath(filename).suffix.lower())
    if by_suffix is not None:
        return by_suffix
    return Format.JSON_LINES if data[:64].lstrip().startswith(b"{") else Format.CSV


def open_file(
    path: Path,
    folder: Path,
    *,
    name: str = "",
    filename: str = "",
    digest: Digest | None = None,
) -> Delivery:
    """`folder` is the caller's own, for what has to be unpacked; both have to stay meanwhile.

    `filename` is what the format is told by where the bytes alone do not tell it; `digest` is that
    of the file's bytes, where the caller has made it while it wrote them. Raises NotFound or
    InvalidInput, naming the file (`name`, if given) and what is wrong.
    """
    name = name or str(path)
    if not path.exists():
        raise NotFound(f"There is no file {name}.", next_step="Give the path of the delivery.")
    if not path.is_file():
        raise InvalidInput(f"{name} is not a file.", next_step="Deliver one file at a time.")
    if not path.stat().st_size:
        raise InvalidInput(f"{name} is empty.", next_step="Deliver at least one row.")
    digest = digest or digest_of_file(path)
    plain, inner = unpack(path, filename or path.name, name, folder)
    with plain.open("rb") as file:
        found = detect_format(file.read(64), inner)
    return _OPENERS[found](plain, name, digest)


def _open_separated(delimiter: str) -> Callable[[Path, str, Digest], Delivery]:
    def open_it(path: Path, name: str, digest: Digest) -> Delivery:
        columns = Separated(path, name, delimiter).columns()
        # A batch costs something for each column: wide tables come in larger ones.
        block_bytes = max(BLOCK_BYTES, _BLOCK_BYTES_PER_COLUMN * len(columns))
        source = Separated(path, name, delimiter, block_bytes)
        schema = pl.Schema(dict.fromkeys(columns, pl.String()))
        return Delivery(name, digest, schema, source.batches, is_text=True)

    return open_it


def _open_json_lines(path: Path, name: str, digest: Digest) -> Delivery:
    source = JsonLines(path, name)
    schema = source.schema()
    check_columns(name, schema)
    return Delivery(name, digest, schema, lambda: source.batches(schema))


def _open_parquet(path: Path, name: str, digest: Digest) -> Delivery:
    with _explaining(name, Format.PARQUET, path), parquet.ParquetFile(path) as file:
        arrow, rows = file.schema_arrow, file.metadata.num_rows
    check_columns(name, arrow.names)
    with _explaining(name, Format.PARQUET, path):
        empty = plain_frame(frame_of(pa.Table.from_batches([], arrow)), name)
    return Delivery(name, digest, empty.schema, lambda: _read_parquet(path, name), rows=rows)


def _read_parquet(path: Path, name: str) -> Iterator[pl.DataFrame]:
    with _explaining(name, Format.PARQUET, path), parquet.ParquetFile(path, pre_buffer=False) as it:
        for group in range(it.num_row_groups):
            about = it.metadata.row_group(group)
            row_bytes = max(1, about.total_byte_size // max(1, about.num_rows))
            most = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
            for batch in it.iter_batches(most, row_groups=[group]):
                yield plain_frame(frame_of(batch), name)


def _open_arrow(found: Format) -> Callable[[Path, str, Digest], Delivery]:
    def open_it(path: Path, name: str, digest: Digest) -> Delivery:
        with _explaining(name, found, path), pa.OSFile(str(path)) as file:
            opened = pa.ipc.open_file if found is Format.ARROW else pa.ipc.open_stream
            arrow = opened(file).schema
            names = arrow.names
        check_columns(name, names)
        with _explaining(name, found, path):
            empty = plain_frame(frame_of(pa.Table.from_batches([], arrow)), name)
        return Delivery(name, digest, empty.schema, lambda: _read_arrow(path, name, found))

    return open_it


def _read_arrow(path: Path, name: str, found: Format) -> Iterator[pl.DataFrame]:
    """Not mapped into memory: a file that is cut off meanwhile would end the process."""
    with _explaining(name, found, path), pa.OSFile(str(path)) as file:
        if found is Format.ARROW:
            reader = pa.ipc.open_file(file)
            batches = (reader.get_batch(at) for at in range(reader.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(file))
        for batch in batches:
            # Places in memory come from the file: one that points elsewhere would end the process.
            batch.validate(full=True)
            yield from plain_frame(frame_of(batch), name).iter_slices(BATCH_ROWS)


@contextmanager
def _explaining(name: str, found: Format, path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(
            f"{name} cannot be read as {found}: {_why(error, found, path)}.",
            next_step="Correct the file; CSV, Parquet, JSON lines and Arrow are read.",
        ) from error


def _why(error: Exception, found: Format, path: Path) -> str:
    if found is Format.PARQUET:
        with path.open("rb") as file:
            file.seek(-4, 2)
            if file.read() != b"PAR1":
                return "it was cut off: a Parquet file ends with its footer, this one does not"
    return " ".join(str(error).split()).rstrip(".")[:300]


_OPENERS: Mapping[Format, Callable[[Path, str, Digest], Delivery]] = {
    Format.CSV: _open_separated(","),
    Format.TSV: _open_separated("\t"),
    Format.PARQUET: _open_parquet,
    Format.JSON_LINES: _open_json_lines,
    Format.ARROW: _open_arrow(Format.ARROW),
    Format.ARROW_STREAM: _open_arrow(Format.ARROW_STREAM),
}
