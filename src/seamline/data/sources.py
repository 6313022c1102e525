"""Read a delivery: CSV, Parquet, JSON lines or Arrow IPC, plain or packed (gz, zip)."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath

import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv

from seamline.domain.digests import Digest, digest_of
from seamline.domain.errors import InvalidInput, NotFound


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
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"


@dataclass(frozen=True)
class Delivery:
    """`digest` is of the file's bytes as delivered: the very bytes that `frame` was read from."""

    frame: pl.DataFrame
    digest: Digest
    format: Format

    @property
    def is_text(self) -> bool:
        """Every column is still strings, as written: nothing was cast, so nothing was lost."""
        return self.format in (Format.CSV, Format.TSV)


def read_delivery(path: Path, source: str = "") -> Delivery:
    """Raises NotFound or InvalidInput, naming the file (`source`, if given) and what is wrong."""
    name = source or str(path)
    data = load_bytes(path, name)
    return parse_delivery(data, path.name, name)


def load_bytes(path: Path, name: str) -> bytes:
    if not path.exists():
        raise NotFound(f"There is no file {name}.", next_step="Give the path of the delivery.")
    if not path.is_file():
        raise InvalidInput(f"{name} is not a file.", next_step="Deliver one file at a time.")
    return path.read_bytes()


def parse_delivery(data: bytes, filename: str, source: str) -> Delivery:
    """`filename` is what the format is told by where the bytes alone do not tell it."""
    plain, inner_name = _unpack(data, filename, source)
    found = detect_format(plain, inner_name)
    try:
        frame = _READERS[found](plain)
    except (pl.exceptions.PolarsError, pa.ArrowException, csv.Error, OSError, ValueError) as error:
        raise InvalidInput(
            f"{source} cannot be read as {found}: {_why(error, found, plain)}.",
            next_step="Correct the file; CSV, Parquet, JSON lines and Arrow are read.",
        ) from error
    if not frame.height:
        raise InvalidInput(f"{source} holds no rows.", next_step="Deliver at least one row.")
    return Delivery(frame, digest_of(data), found)


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


def _unpack(data: bytes, filename: str, source: str) -> tuple[bytes, str]:
    try:
        if data.startswith(_GZIP):
            return gzip.decompress(data), filename.removesuffix(".gz")
        if data.startswith(_ZIP):
            return _unzip(data, source)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise InvalidInput(
            f"{source} cannot be unpacked: {error}.", next_step="Pack and deliver it again."
        ) from error
    return data, filename


def _unzip(data: bytes, source: str) -> tuple[bytes, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [
            info.filename
            for info in archive.infolist()
            if not info.is_dir() and not info.filename.startswith("__MACOSX/")
        ]
        if len(names) != 1:
            raise InvalidInput(
                f"{source} holds {len(names)} files: {', '.join(names[:5])}.",
                next_step="Deliver one file at a time.",
            )
        return archive.read(names[0]), PurePath(names[0]).name


def _read_separated(data: bytes, delimiter: str) -> pl.DataFrame:
    """Every value a string; no value becomes null. Lines with too few or many fields are errors."""
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    names = next(csv.reader(text, delimiter=delimiter, strict=True), [])
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"its column names are not one each: {names}")
    if data.count(b'"') % 2:
        raise ValueError("a double quote is never closed")
    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=False,
            quoted_strings_can_be_null=False,
        ),
    )
    return pl.DataFrame(table)


def _read_json_lines(data: bytes) -> pl.DataFrame:
    return pl.read_ndjson(data, infer_schema_length=None)


_READERS: Mapping[Format, Callable[[bytes], pl.DataFrame]] = {
    Format.CSV: lambda data: _read_separated(data, ","),
    Format.TSV: lambda data: _read_separated(data, "\t"),
    Format.PARQUET: lambda data: pl.read_parquet(io.BytesIO(data)),
    Format.JSON_LINES: _read_json_lines,
    Format.ARROW: lambda data: pl.read_ipc(io.BytesIO(data)),
    Format.ARROW_STREAM: lambda data: pl.read_ipc_stream(io.BytesIO(data)),
}


def _why(error: Exception, found: Format, data: bytes) -> str:
    """One line; for JSON lines the first line that is no object."""
    if found is Format.JSON_LINES:
        for number, line in enumerate(data.splitlines(), 1):
            try:
                if not line.strip() or isinstance(json.loads(line), dict):
                    continue
            except ValueError:
                pass
            return f"line {number} is not a JSON object: {line[:60].decode(errors='replace')!r}"
    return " ".join(str(error).split()).rstrip(".")[:300]
