"""Values separated by commas or tabs, read in blocks: every value stays the text it was."""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv

from seamline.data.sources.batches import check_columns, frame_of
from seamline.domain.errors import InvalidInput

BLOCK_BYTES = 8 << 20
#: The longest record that is read.
MAX_RECORD_BYTES = 128 << 20

_QUOTE = b'"'
_SHOWN = 60
#: What separates values elsewhere.
_OTHERS = (";", "\t", "|", ",")


@dataclass(frozen=True)
class Separated:
    """`batches` raises InvalidInput that names the first bad line."""

    path: Path
    name: str
    delimiter: str
    block_bytes: int = BLOCK_BYTES

    def columns(self) -> list[str]:
        with self.path.open("rb") as file:
            _, head = next(self._blocks(file))
        found = self._names(head)
        check_columns(self.name, found)
        other = next((one for one in _OTHERS if one in found[0] and one != self.delimiter), None)
        if other is not None and len(found) == 1 and _QUOTE not in head:
            raise InvalidInput(
                f"{self.name} has one column, {found[0][:_SHOWN]!r}: its values seem to be "
                f"separated by {other!r}.",
                next_step="Separate them by commas, or by tabs in a file called .tsv.",
            )
        return found

    def batches(self) -> Iterator[pl.DataFrame]:
        names = self.columns()
        with self.path.open("rb") as file:
            blocks = self._blocks(file)
            next(blocks)
            for first_line, block in blocks:
                try:
                    if block.count(_QUOTE) % 2:
                        raise ValueError("a double quote is never closed")
                    frame = self._parse(names, block)
                except (pa.ArrowException, ValueError) as error:
                    raise self._fault(names, block, first_line, error) from error
                if frame.height:
                    yield frame

    def _parse(self, names: list[str], block: bytes) -> pl.DataFrame:
        read = arrow_csv.read_csv(
            pa.BufferReader(block),
            # In one piece: Arrow cuts where lines end, whether in quotes or not.
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=len(block) + 1),
            parse_options=arrow_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()),
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )
        return frame_of(read)

    def _blocks(self, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        """Whole records and the number of their first line; the header alone comes first."""
        end = _start(file, self.name)
        line, rest, header = 1, b"", True
        while data := file.read(max(self.block_bytes, len(rest))):
            data = rest + data
            cut = _first_end(data, end) if header else _last_end(data, end)
            while cut and header:
                yield line, data[:cut]
                line, data, header = line + data.count(end, 0, cut), data[cut:], False
                cut = _last_end(data, end)
            if cut:
                yield line, data[:cut]
                line += data.count(end, 0, cut)
            rest = data[cut:]
            if len(rest) > MAX_RECORD_BYTES:
                raise InvalidInput(
                    f"{self.name} cannot be read: the record that begins on line {line} is longer "
                    f"than {MAX_RECORD_BYTES:,} bytes.",
                    next_step="Look for a double quote that is never closed.",
                )
        if rest or header:
            yield line, rest

    def _names(self, head: bytes) -> list[str]:
        try:
            text = io.StringIO(head.decode(), newline="")
            return next(csv.reader(text, delimiter=self.delimiter, strict=True), [])
        except (csv.Error, UnicodeDecodeError) as error:
            raise self._fault([], head, 1, error) from error

    def _fault(
        self, names: list[str], block: bytes, first_line: int, error: Exception
    ) -> InvalidInput:
        found = find_fault(block, self.delimiter.encode(), len(names), first_line)
        why = found or " ".join(str(error).split()).rstrip(".")[:300]
        return InvalidInput(
            f"{self.name} cannot be read: {why}.",
            next_step="Correct the line and deliver the file again; the dataset is as it was.",
        )


def find_fault(block: bytes, delimiter: bytes, columns: int, first_line: int = 1) -> str | None:
    r"""What is wrong with the first line that cannot be read; lines count from 1, as editors do.

    A value in quotes may go over several lines. `columns` is 0 where none are known yet.

    >>> find_fault(b"1,2\n3\n", b",", 2, first_line=2)
    "line 3 has 1 value and the header 2: '3'"
    >>> find_fault(b"Oslo\nZ\xfcrich\n", b",", 1)
    "line 2 is not UTF-8 (byte 0xfc after 'Z'); it may be Latin-1 or Windows-1252"
    >>> find_fault(b'a\n"x\ny\n', b",", 1)
    "a double quote is never closed: the value that begins on line 2 ('x')"
    """
    values, began, opening, open_quote = 0, first_line, b"", False
    for number, line in enumerate(block.splitlines(), first_line):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            before = line[max(0, error.start - _SHOWN) : error.start].decode(errors="replace")
            return (
                f"line {number} is not UTF-8 (byte 0x{line[error.start]:02x} after {before!r}); "
                "it may be Latin-1 or Windows-1252"
            )
        if not open_quote:
            values, began, opening = 1, number, line
        for place, part in enumerate(line.split(_QUOTE)):
            open_quote ^= place > 0
            if not open_quote:
                values += part.count(delimiter)
        shown = opening.strip()[:_SHOWN].decode(errors="replace")
        if not open_quote and opening and columns and values != columns:
            noun = "value" if values == 1 else "values"
            return f"line {began} has {values} {noun} and the header {columns}: {shown!r}"
    if not open_quote:
        return None
    value = opening.rpartition(_QUOTE)[2].strip()[:_SHOWN].decode(errors="replace")
    return f"a double quote is never closed: the value that begins on line {began} ({value!r})"


def _start(file: IO[bytes], name: str) -> bytes:
    """What lines end with; the file is then at its first line, behind a byte order mark."""
    start = file.read(1 << 20)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidInput(
            f"{name} is UTF-16, not UTF-8.", next_step="Save it as UTF-8 and deliver it again."
        )
    file.seek(len(BOM_UTF8) if start.startswith(BOM_UTF8) else 0)
    return b"\r" if b"\r" in start and b"\n" not in start else b"\n"


def _first_end(data: bytes, end: bytes) -> int:
    """Where the first record ends; 0 where none does."""
    at = quotes = 0
    while (found := data.find(end, at)) >= 0:
        quotes += data.count(_QUOTE, at, found)
        if quotes % 2 == 0:
            return found + 1
        at = found + 1
    return 0


def _last_end(data: bytes, end: bytes) -> int:
    """Where the last whole record ends; 0 where none does. An end within quotes is none."""
    quotes, at = data.count(_QUOTE), len(data)
    while (found := data.rfind(end, 0, at)) >= 0:
        quotes -= data.count(_QUOTE, found, at)
        if quotes % 2 == 0:
            return found + 1
        at = found
    return 0
