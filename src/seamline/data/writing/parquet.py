"""One Parquet file: written, hashed as it was written, and described for the table's log."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from seamline.data.declaration import DAY
from seamline.data.versions import VersionFile

#: Readers of a table skip files by these; more columns would make its log large.
_MOST_DESCRIBED = 32


@dataclass(frozen=True)
class WrittenFile:
    file: VersionFile
    #: JSON, as the Delta protocol has it.
    stats: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.file.relative).name

    def to_json(self) -> dict[str, Any]:
        return {"file": dict(self.file.__dict__), "stats": self.stats}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WrittenFile:
        return cls(VersionFile(**data["file"]), data["stats"])


def write_file(frame: pl.DataFrame, folder: Path, day: str, name: str) -> WrittenFile:
    """The rows of one day, without `ds`, to `folder/name`; in the table it will lie below its day.

    `frame` is one chunk: the file's bytes then depend on its rows alone.
    """
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1)
    data = buffer.getbuffer()
    (folder / name).write_bytes(data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    file = VersionFile(f"{DAY}={day}/{name}", day, digest, frame.height, len(data))
    return WrittenFile(file, describe(frame))


def describe(frame: pl.DataFrame) -> str:
    """Rows, and of each column the missing ones; the least and the most, where they are exact.

    >>> describe(pl.DataFrame({"n": [3, None, 1], "s": ["a", "b", "c"]}))
    '{"numRecords":3,"minValues":{"n":1},"maxValues":{"n":3},"nullCount":{"n":1,"s":0}}'
    """
    columns = frame.columns[:_MOST_DESCRIBED]
    ordered = [
        name for name in columns if frame.schema[name] in (pl.Int64, pl.Date) and frame.height
    ]
    lows, highs = (
        frame.select(getattr(pl.col(ordered), which)()).row(0, named=True) if ordered else {}
        for which in ("min", "max")
    )
    stats = {
        "numRecords": frame.height,
        "minValues": _shown(lows),
        "maxValues": _shown(highs),
        "nullCount": {name: frame[name].null_count() for name in columns},
    }
    return json.dumps(stats, separators=(",", ":"))


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in values.items()
        if value is not None
    }
