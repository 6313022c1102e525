"""Rows sorted into days and written as files, each file as soon as it is full.

Which rows a file holds depends on their order and their day, never on how they came in batches:
a file is full at so many rows, or at so many bytes of text. What waits in memory is bounded; the
rest waits on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from seamline.data.declaration import DAY
from seamline.data.writing.parquet import Part, WrittenFile, write_files
from seamline.data.writing.spill import Spill
from seamline.measure.basis import Basis
from seamline.measure.profiles import Profile, add_profiles, profile_runs

Counts: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class Limits:
    """`file_*`: what a file holds at the most; `waiting_bytes`: what waits in memory."""

    file_cells: int = 6_000_000
    file_text_bytes: int = 64 << 20
    waiting_bytes: int = 96 << 20


@dataclass
class _Waiting:
    """The rows of a day's next file, in order; those on disk come first."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    rows: int = 0
    text_bytes: int = 0


class DayFiles:
    """Add every batch, then finish; leave the block to give up what is being written."""

    def __init__(
        self,
        folder: Path,
        basis: Basis,
        name: str,
        limits: Limits | None = None,
        *,
        in_days: bool = False,
    ) -> None:
        """Files go to `folder/NAME-….parquet`; it is the caller's to sweep.

        `in_days`: a day's rows come one after another, so that it waits for none once there are
        later ones; what comes all the same is a file more.
        """
        self._folder = folder
        self._basis = basis
        self._name = name
        self._limits = limits or Limits()
        self._in_days = in_days
        self._days: dict[str, _Waiting] = {}
        self._spill = Spill(folder / "spill")
        self._in_memory = 0
        self._rows_per_file = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._pending: Future[list[WrittenFile]] | None = None
        self._named = 0
        self.files: list[WrittenFile] = []
        self.profiles: dict[str, Profile] = {}

    def __enter__(self) -> DayFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, frame: pl.DataFrame) -> None:
        """`frame` is typed and has `ds`."""
        if not self._rows_per_file:
            self._rows_per_file = max(1, self._limits.file_cells // max(1, frame.width))
        newest = ""
        for newest, part, text_bytes in _by_day(frame):
            self._add_to(newest, part, np.cumsum(text_bytes))
        if self._in_days:
            self._write_all([day for day in self._days if day < newest])
        if self._in_memory > self._limits.waiting_bytes:
            self._make_room()

    def finish(self) -> None:
        """Then `files` and `profiles` are complete, by day."""
        self._write_all(self._days)
        self._settle()
        self.profiles = dict(sorted(self.profiles.items()))
        self.files.sort(key=lambda one: (one.file.partition, one.file.relative))

    def _write_all(self, days: Iterable[str]) -> None:
        """As many of them together as a file may have rows."""
        group: list[str] = []
        rows = text_bytes = 0
        for day in sorted(day for day in days if self._days[day].rows):
            one = self._days[day]
            rows, text_bytes = rows + one.rows, text_bytes + one.text_bytes
            if group and (rows > self._rows_per_file or text_bytes > self._limits.file_text_bytes):
                self._write(group)
                group, rows, text_bytes = [], one.rows, one.text_bytes
            group.append(day)
        if group:
            self._write(group)

    def _add_to(self, day: str, frame: pl.DataFrame, text_upto: Counts) -> None:
        """`text_upto`: the bytes of text up to and with each row."""
        at = 0
        while at < frame.height:
            waiting = self._days.setdefault(day, _Waiting())
            text_before = int(text_upto[at - 1]) if at else 0
            most = min(self._rows_per_file - waiting.rows, frame.height - at)
            room = text_before + self._limits.file_text_bytes - waiting.text_bytes
            fitting = int(np.searchsorted(text_upto[at : at + most], room, side="right"))
            # Every file holds at least one row.
            fitting = max(fitting, 0 if waiting.rows else 1)
            is_full = fitting < most or waiting.rows + fitting >= self._rows_per_file
            if fitting:
                part = frame.slice(at, fitting)
                waiting.frames.append(part)
                waiting.rows += fitting
                waiting.text_bytes += int(text_upto[at + fitting - 1]) - text_before
                self._in_memory += int(part.estimated_size())
                at += fitting
            if is_full:
                self._write([day])

    def _make_room(self) -> None:
        """Everything that waits goes to disk: a part would keep alive what it was cut from."""
        days = {day: pl.concat(one.frames) for day, one in self._days.items() if one.frames}
        self._spill.put(days)
        for day in days:
            self._days[day].frames = []
        self._in_memory = 0

    def _write(self, days: list[str]) -> None:
        """A file for each day. They are encoded and hashed while their rows are counted, and while
        the rows of the next ones come in."""
        parts: list[tuple[str, pl.DataFrame]] = []
        for day in days:
            waiting = self._days.pop(day)
            self._in_memory -= sum(int(part.estimated_size()) for part in waiting.frames)
            parts.append((day, pl.concat([*self._spill.take(day), *waiting.frames])))
        frame = pl.concat([part for _, part in parts], rechunk=True)
        self._settle()
        runs = {day: part.height for day, part in parts}
        self._pending = self._pool.submit(self._encode, frame, runs)
        for day, profile in profile_runs(frame, self._basis, runs).items():
            before = self.profiles.get(day)
            self.profiles[day] = profile if before is None else add_profiles(before, profile)

    def _encode(self, frame: pl.DataFrame, runs: Mapping[str, int]) -> list[WrittenFile]:
        named = range(self._named, self._named + len(runs))
        self._named = named.stop
        parts = [
            Part(day, f"{self._name}-{number:05}.parquet", rows)
            for number, (day, rows) in zip(named, runs.items(), strict=True)
        ]
        return write_files(frame, parts, self._folder)

    def _settle(self) -> None:
        if self._pending is not None:
            self.files += self._pending.result()
            self._pending = None


def _by_day(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame, Counts]]:
    """The rows of each day, without `ds`, in the order in which they came, and the bytes of text
    in each row."""
    if not frame[DAY].is_sorted():
        frame = frame.sort(DAY, maintain_order=True)
    rows, at = frame.drop(DAY), 0
    text_bytes = _text_bytes(rows)
    for length, day in frame[DAY].rle().struct.unnest().iter_rows():
        yield day.isoformat(), rows.slice(at, length), text_bytes[at : at + length]
        at += length


def _text_bytes(frame: pl.DataFrame) -> Counts:
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    if not texts:
        return np.zeros(frame.height, np.int64)
    length = pl.sum_horizontal(pl.col(texts).str.len_bytes().cast(pl.Int64))
    return frame.select(length).to_series().to_numpy()
