"""Rows that wait on disk for the rest of their day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa

from seamline.data.sources.batches import arrow_of, frame_of

#: So much is kept as it is, and what is more than that compressed: LZ4 takes three times as long as
#: all else that is done here, and a half to two thirds of the room.
_PLAIN_BYTES = 256 << 20


class Spill:
    """Each `put` is one Arrow file that holds the rows of many days; `take` gives back one day's.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     spill = Spill(Path(folder))
    ...     for n in (1, 2):
    ...         spill.put({"mon": pl.DataFrame({"n": [n]}), "tue": pl.DataFrame({"n": [9]})})
    ...     [frame["n"].item() for frame in spill.take("mon")]
    [1, 2]
    """

    def __init__(self, folder: Path, plain_bytes: int = _PLAIN_BYTES) -> None:
        self._folder = folder
        self._plain_bytes = plain_bytes
        self._puts = self._bytes = 0
        #: For each day, in order: the file, and which of its batches.
        self._places: dict[str, list[tuple[Path, int]]] = {}

    def put(self, days: Mapping[str, pl.DataFrame]) -> None:
        if not days:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._puts}.arrow"
        self._puts += 1
        schema = arrow_of(next(iter(days.values())).head(0)).schema
        options = pa.ipc.IpcWriteOptions(compression=self._compression)
        at = 0
        with (
            pa.OSFile(str(path), "wb") as file,
            pa.ipc.new_file(file, schema, options=options) as w,
        ):
            for day, frame in days.items():
                for batch in arrow_of(frame).to_batches():
                    w.write_batch(batch)
                    self._places.setdefault(day, []).append((path, at))
                    at += 1
        self._bytes += path.stat().st_size

    @property
    def _compression(self) -> str | None:
        return None if self._bytes < self._plain_bytes else "lz4"

    def take(self, day: str) -> Iterator[pl.DataFrame]:
        for path, at in self._places.pop(day, []):
            with pa.OSFile(str(path)) as file:
                yield frame_of(pa.ipc.open_file(file).get_batch(at))
