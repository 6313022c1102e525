"""JSON lines, read in blocks: one object a line; what does not fit one type becomes text."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from seamline.domain.errors import InvalidInput

BLOCK_BYTES = 8 << 20
#: The longest line that is read.
MAX_LINE_BYTES = 128 << 20


@dataclass(frozen=True)
class JsonLines:
    path: Path
    name: str
    block_bytes: int = BLOCK_BYTES

    def schema(self) -> pl.Schema:
        """The narrowest types that hold every line; it takes a pass over the file.

        Raises InvalidInput that names the first line that is no JSON object.
        """
        found: dict[str, pl.DataType] = {}
        for first_line, block in self._blocks():
            for column, kind in self._schema_of(block, first_line).items():
                found[column] = widest(found[column], kind) if column in found else kind
        return pl.Schema((column, _kept(kind)) for column, kind in found.items())

    def batches(self, schema: pl.Schema) -> Iterator[pl.DataFrame]:
        """With `schema` this file's own: then every value reads."""
        for first_line, block in self._blocks():
            try:
                frame = pl.read_ndjson(block, schema=schema)
            except pl.exceptions.PolarsError as error:
                raise self._fault(block, first_line, error) from error
            yield frame

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """Whole lines with something on them, and the number of the first of them."""
        line = 1
        with self.path.open("rb") as file:
            while block := file.read(self.block_bytes):
                if file.tell() == len(block):
                    block = block.removeprefix(BOM_UTF8)
                rest = file.readline(MAX_LINE_BYTES)
                if len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
                    raise self._too_long(line + block.count(b"\n"))
                block += rest
                if block.strip():
                    yield line, block
                line += block.count(b"\n")

    def _too_long(self, line: int) -> InvalidInput:
        return InvalidInput(
            f"{self.name} cannot be read as JSON lines: line {line} is longer than "
            f"{MAX_LINE_BYTES:,} bytes.",
            next_step="Write one object a line; a list of objects is no JSON lines.",
        )

    def _schema_of(self, block: bytes, first_line: int) -> Mapping[str, pl.DataType]:
        try:
            return pl.read_ndjson(block, infer_schema_length=None).schema
        except pl.exceptions.PolarsError as error:
            fault = self._fault(block, first_line, error)
            if "is not a JSON object" in fault.message:
                raise fault from error
        return _schema_by_line(block)

    def _fault(self, block: bytes, first_line: int, error: Exception) -> InvalidInput:
        found = find_line(block, first_line)
        why = " ".join(str(error).split()).rstrip(".")[:300] if found is None else found
        return InvalidInput(
            f"{self.name} cannot be read as JSON lines: {why}.",
            next_step="Correct the line and deliver the file again; the dataset is as it was.",
        )


def _kept(kind: pl.DataType) -> pl.DataType:
    """Structures stay JSON, since what is in them may differ from line to line; and so do whole
    numbers that no column of numbers holds."""
    return pl.String() if kind.is_nested() or kind == pl.Int128 else kind


def widest(one: pl.DataType, other: pl.DataType) -> pl.DataType:
    """The type that holds the values of both; text, where no number or structure does.

    >>> widest(pl.Int64(), pl.Float64()), widest(pl.Null(), pl.Boolean())
    (Float64, Boolean)
    >>> widest(pl.Boolean(), pl.Int64()), widest(pl.String(), pl.Float64())
    (String, String)
    """
    if one == other or other == pl.Null:
        return one
    if one == pl.Null:
        return other
    if one.is_numeric() != other.is_numeric() or one.is_nested() != other.is_nested():
        return pl.String()
    if not one.is_numeric() and not one.is_nested():
        return pl.String()
    empty = [pl.DataFrame(schema={"value": kind}) for kind in (one, other)]
    try:
        return pl.concat(empty, how="vertical_relaxed").schema["value"]
    except pl.exceptions.PolarsError:
        return pl.String()


def find_line(block: bytes, first_line: int) -> str | None:
    r"""The first line that is no JSON object.

    >>> find_line(b'{"a": 1}\n\nnonsense\n', 7)
    "line 9 is not a JSON object: 'nonsense'"
    """
    for number, line in enumerate(block.split(b"\n"), first_line):
        try:
            if not line.strip() or isinstance(json.loads(line, parse_constant=_refuse), dict):
                continue
        except ValueError:
            pass
        return f"line {number} is not a JSON object: {line.strip()[:60].decode(errors='replace')!r}"
    return None


def _refuse(constant: str) -> None:
    """NaN and Infinity: Python writes and reads them, JSON has none."""
    raise ValueError(constant)


def _schema_by_line(block: bytes) -> dict[str, pl.DataType]:
    """For a block whose lines disagree in a way that Polars gives up on (true, then 1)."""
    found: dict[str, pl.DataType] = {}
    for line in block.split(b"\n"):
        document: Mapping[str, Any] = json.loads(line) if line.strip() else {}
        for column, value in document.items():
            kind = _kind_of(value)
            found[column] = widest(found[column], kind) if column in found else kind
    return found


def _kind_of(value: Any) -> pl.DataType:
    """A structure by itself becomes text here: what is in it may disagree, too."""
    match value:
        case None:
            return pl.Null()
        case bool():
            return pl.Boolean()
        case int():
            return pl.Int64() if -(2**63) <= value < 2**63 else pl.Float64()
        case float():
            return pl.Float64()
    return pl.String()
