"""What a delivery is: rows from outside, in batches that can be read more than once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa

from seamline.domain.digests import Digest
from seamline.domain.errors import InvalidInput

#: Rows of a spooled batch, and the bytes after which it ends sooner.
SPOOL_ROWS = 16_384
SPOOL_BYTES = 32 << 20
_PIECE_ROWS = 1_024
_SHOWN = 6


@dataclass(frozen=True)
class Delivery:
    """`batches()` starts anew at each call, gives every row once, in order, and always the same;
    every batch has `schema`. It raises InvalidInput, naming the delivery, where it cannot be read.
    """

    #: What people call it, in messages and in the version's row; it holds no secret.
    name: str
    #: Of the bytes as delivered (files), or of what was asked and the rows that came (SQL).
    digest: Digest
    schema: pl.Schema
    batches: Callable[[], Iterator[pl.DataFrame]]
    #: Every column is strings, as written: nothing was cast yet, so nothing was lost.
    is_text: bool = False
    #: Rows in all, where the source tells before it is read.
    rows: int | None = None
    #: How far the source has been read with it: kept with the version, and handed to the source
    #: the next time.
    watermark: str | None = None
    #: The watermark that it was read from. When another delivery has moved it meanwhile, this one
    #: is refused with a Conflict, and has to be read again. No new rows are then no error.
    follows: str | None = None
    #: The rows of a day come one after another: none of them has to wait for the rest.
    in_days: bool = False


def frame_of(batch: pa.RecordBatch | pa.Table) -> pl.DataFrame:
    """As Polars has it, with categories as plain strings: batches then share one schema.

    >>> frame_of(pa.record_batch({"a": pa.array(["x", "x"]).dictionary_encode()})).schema["a"]
    String
    """
    frame = pl.DataFrame(batch)
    coded = [name for name, kind in frame.schema.items() if kind in (pl.Categorical, pl.Enum)]
    return frame.cast(dict.fromkeys(coded, pl.String)) if coded else frame


def arrow_of(frame: pl.DataFrame) -> pa.Table:
    """As Arrow has it, with text that holds no more than its own rows' bytes (a view of a slice
    would take all that was ever read with it)."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def check_columns(name: str, columns: Iterable[str]) -> None:
    """Raises InvalidInput unless each column has a name, and a name of its own: Delta tells no
    names apart that differ in upper and lower case alone.
    """
    names = list(columns)
    times = Counter(one.lower() for one in names)
    odd = dict.fromkeys(one for one in names if not one or "\0" in one or times[one.lower()] > 1)
    if not names or odd:
        shown = ", ".join(repr(one) for one in [*odd][:_SHOWN])
        what = f"has column names that are not one each: {shown}" if names else "has no columns"
        raise InvalidInput(f"{name} {what}.", next_step="Give every column a name of its own.")


def spool(
    frames: Iterable[pl.DataFrame],
    path: Path,
    *,
    name: str,
    asked: str,
    watermark: str | None = None,
    follows: str | None = None,
) -> Delivery:
    """A delivery of rows that can be read from their source only once: they are kept at `path`.

    `asked` is what was asked of the source (a query, a table at a version), without secrets; with
    the rows it makes the digest, which does not depend on how they came in batches. Every frame
    needs the schema of the first; without any frame the delivery has no columns.
    """
    hasher = hashlib.sha256(asked.encode() + b"\0")
    schema, rows = pl.Schema(), 0
    with path.open("wb") as file:
        writer: pa.RecordBatchStreamWriter | None = None
        sink = pa.PythonFile(_Hashed(file, hasher), "w")
        for frame in rebatch(frames):
            if writer is None:
                schema = frame.schema
                check_columns(name, schema)
                writer = pa.ipc.new_stream(sink, arrow_of(frame).schema)
            if frame.schema != schema:
                raise InvalidInput(
                    f"{name} changes its columns on the way: {dict(schema)}, "
                    f"then {dict(frame.schema)}.",
                    next_step="Deliver rows of one schema at a time.",
                )
            writer.write_table(arrow_of(frame))
            rows += frame.height
        if writer is not None:
            writer.close()
    return Delivery(
        name=name,
        digest=Digest(f"sha256:{hasher.hexdigest()}"),
        schema=schema,
        batches=lambda: read_spool(path),
        rows=rows,
        watermark=watermark,
        follows=follows,
    )


def read_spool(path: Path) -> Iterator[pl.DataFrame]:
    if path.stat().st_size:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield frame_of(batch)


def rebatch(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in batches that do not depend on how they came; one of no rows, if none came.

    >>> frames = [pl.DataFrame({"n": range(at, at + 1_500)}) for at in (0, 1_500, 3_000)]
    >>> [frame.height for frame in rebatch(frames)]
    [4500]
    """
    kept: list[pl.DataFrame] = []
    rows = size = 0
    given = False
    for piece in _pieces(frames):
        if kept and kept[0].schema != piece.schema:
            yield _joined(kept)
            kept, rows, size, given = [], 0, 0, True
        kept.append(piece)
        rows, size = rows + piece.height, size + int(piece.estimated_size())
        if rows >= SPOOL_ROWS or size >= SPOOL_BYTES:
            yield _joined(kept)
            kept, rows, size, given = [], 0, 0, True
    if kept and (rows or not given):
        yield _joined(kept)


def _pieces(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Each of exactly 1,024 rows, but the last."""
    rest: pl.DataFrame | None = None
    for frame in frames:
        whole = frame if rest is None or rest.schema != frame.schema else pl.concat([rest, frame])
        if rest is not None and rest.height and whole is frame:
            yield rest
        full = whole.height - whole.height % _PIECE_ROWS
        yield from whole.head(full).iter_slices(_PIECE_ROWS) if full else ()
        rest = whole.tail(whole.height - full)
    if rest is not None:
        yield rest


def _joined(pieces: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(pieces, rechunk=True)


class _Hashed(RawIOBase):
    """Hashes what is written through it."""

    def __init__(self, file: IO[bytes], hasher: hashlib._Hash) -> None:
        self._file, self._hasher = file, hasher

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # what is a buffer has no name before Python 3.12
        self._hasher.update(data)
        return self._file.write(data)
