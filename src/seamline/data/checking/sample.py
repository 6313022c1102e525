"""A bounded sample of rows, the same however the rows came in batches."""

from __future__ import annotations

import numpy as np
import polars as pl

from seamline.data.sources.batches import arrow_of, frame_of

#: What a sample may hold; a smaller delivery is kept whole.
SAMPLE_ROWS = 500_000
SAMPLE_CELLS = 10_000_000
SAMPLE_BYTES = 128 << 20

_ALL = 2**64


class Sample:
    """Each row has a number made from its position; kept are those with a number below 2^64, or
    below half of that, a quarter and so on: the largest share that stays within the limits.

    >>> frame = pl.DataFrame({"n": range(10)})
    >>> parts = Sample(most_rows=4), Sample(most_rows=4)
    >>> parts[0].add(frame)
    >>> for at in (0, 5):
    ...     parts[1].add(frame.slice(at, 5))
    >>> parts[0].frame().equals(parts[1].frame()), 0 < parts[0].frame().height <= 4
    (True, True)
    """

    def __init__(self, most_rows: int = SAMPLE_ROWS) -> None:
        self._most_rows = most_rows
        self._seen = 0
        self._halvings = 0
        self._kept: list[pl.DataFrame] = []
        self._numbers: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = []
        self._rows = self._bytes = 0

    def add(self, frame: pl.DataFrame) -> None:
        numbers = _mixed(np.arange(self._seen, self._seen + frame.height, dtype=np.uint64))
        self._seen += frame.height
        self._keep(frame, numbers)
        while self._is_over(frame.width):
            self._halvings += 1
            kept, numbers_kept = self._kept, self._numbers
            self._kept, self._numbers, self._rows, self._bytes = [], [], 0, 0
            for part, part_numbers in zip(kept, numbers_kept, strict=True):
                self._keep(part, part_numbers)

    @property
    def is_whole(self) -> bool:
        """Whether every row is in it."""
        return not self._halvings

    def forget(self) -> None:
        """Frees its rows."""
        self._kept, self._numbers = [], []

    def parts(self) -> list[pl.DataFrame]:
        return self._kept

    def frame(self) -> pl.DataFrame:
        return pl.concat(self._kept)

    def _keep(
        self, frame: pl.DataFrame, numbers: np.ndarray[tuple[int], np.dtype[np.uint64]]
    ) -> None:
        if self._halvings:
            chosen = numbers < np.uint64(_ALL >> self._halvings)
            frame, numbers = _copied(frame.filter(pl.Series(chosen))), numbers[chosen]
        self._kept.append(frame)
        self._numbers.append(numbers)
        self._rows += frame.height
        self._bytes += text_bytes(frame)

    def _is_over(self, width: int) -> bool:
        most = min(self._most_rows, SAMPLE_CELLS // max(1, width))
        return self._rows > max(1, most) or (self._bytes > SAMPLE_BYTES and self._rows > 1)


def text_bytes(frame: pl.DataFrame) -> int:
    """How long the texts in it are together."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    if not texts or not frame.height:
        return 0
    return int(frame.select(pl.sum_horizontal(pl.col(texts).str.len_bytes().sum())).item() or 0)


def _copied(frame: pl.DataFrame) -> pl.DataFrame:
    """Without what else was read with it: a few rows' texts would keep all of a block alive."""
    return frame_of(arrow_of(frame))


def _mixed(
    at: np.ndarray[tuple[int], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """SplitMix64 (Steele, Lea, Flood 2014): positions as numbers without a pattern in them."""
    z = (at + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
