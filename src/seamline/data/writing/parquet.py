"""Parquet files: written, hashed as they were written, and described for the table's log."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl

from seamline.data.declaration import DAY
from seamline.data.versions import VersionFile

#: Readers of a table skip files by these; more columns would make its log large.
_MOST_DESCRIBED = 32
#: Columns of ours among the delivery's: which part a row is of, and what is told of it.
_PART, _LOW, _HIGH, _MISSING = "\0part", "\0low ", "\0high ", "\0missing "


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


@dataclass(frozen=True)
class Part:
    """So many rows of one day; in the table its file will lie below that."""

    day: str
    name: str
    rows: int


def write_file(frame: pl.DataFrame, folder: Path, day: str, name: str) -> WrittenFile:
    """The rows of one day, without `ds`, to `folder/name`.

    `frame` is one chunk: the file's bytes then depend on its rows alone.
    """
    return write_files(frame, [Part(day, name, frame.height)], folder)[0]


def write_files(frame: pl.DataFrame, parts: Sequence[Part], folder: Path) -> list[WrittenFile]:
    """The same for many days, whose rows follow one another in one frame."""
    written, at = [], 0
    for part, stats in zip(parts, describe(frame, [part.rows for part in parts]), strict=True):
        buffer = io.BytesIO()
        rows = frame.slice(at, part.rows)
        rows.write_parquet(buffer, compression="zstd", compression_level=1)
        data = buffer.getbuffer()
        (folder / part.name).write_bytes(data)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        place = f"{DAY}={part.day}/{part.name}"
        written.append(
            WrittenFile(VersionFile(place, part.day, digest, part.rows, len(data)), stats)
        )
        at += part.rows
    return written


def describe(frame: pl.DataFrame, heights: Sequence[int]) -> list[str]:
    """Of each part of the frame, so many rows one after another: how many there are, and of each
    column the missing ones; the least and the most, where they are exact.

    >>> frame = pl.DataFrame({"n": [3, None, 1, 7], "s": ["a", "b", "c", None]})
    >>> for stats in describe(frame, [3, 1]):
    ...     print(stats)
    {"numRecords":3,"minValues":{"n":1},"maxValues":{"n":3},"nullCount":{"n":1,"s":0}}
    {"numRecords":1,"minValues":{"n":7},"maxValues":{"n":7},"nullCount":{"n":0,"s":1}}
    """
    columns = frame.columns[:_MOST_DESCRIBED]
    ordered = [name for name in columns if frame.schema[name] in (pl.Int64, pl.Date)]
    part = pl.Series(_PART, np.repeat(np.arange(len(heights)), heights))
    # All parts in one query: a few for each of a year's days take longer than writing the files.
    told = (
        frame.lazy()
        .with_columns(part)
        .group_by(_PART)
        .agg(
            pl.col(ordered).min().name.prefix(_LOW),
            pl.col(ordered).max().name.prefix(_HIGH),
            pl.col(columns).null_count().name.prefix(_MISSING),
        )
        .collect()
    )
    nothing = dict.fromkeys(columns, 0)
    stats = [_stats(rows, {}, {}, nothing) for rows in heights]
    lows, highs, missing = (
        told.select(f"{prefix}{name}" for name in names).rows()
        for prefix, names in ((_LOW, ordered), (_HIGH, ordered), (_MISSING, columns))
    )
    for row, place in enumerate(told[_PART].to_list()):
        stats[place] = _stats(
            heights[place],
            dict(zip(ordered, lows[row] if ordered else (), strict=True)),
            dict(zip(ordered, highs[row] if ordered else (), strict=True)),
            dict(zip(columns, missing[row], strict=True)),
        )
    return stats


def _stats(
    rows: int, low: Mapping[str, Any], high: Mapping[str, Any], missing: Mapping[str, int]
) -> str:
    told = {
        "numRecords": rows,
        "minValues": _shown(low),
        "maxValues": _shown(high),
        "nullCount": missing,
    }
    return json.dumps(told, separators=(",", ":"))


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in values.items()
        if value is not None
    }
