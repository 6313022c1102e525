"""Keys that come more than once within a delivery, found in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from seamline.measure.contracts import Violation, ViolationKind

Hashes: TypeAlias = np.ndarray[tuple[int], np.dtype[np.uint64]]

#: Hashes that are looked at together; more are looked at in passes over the file that holds them.
MOST_HASHES = 4_000_000
#: How many keys a message about them looks at.
_MOST_SUSPECTS = 10_000
_SEED = 0x51A6
#: Beside the keys: no column of a delivery is called so.
_DAY = "\0day"


class KeyCheck:
    """Keeps eight bytes of each key, in a file once they are many.

    >>> from tempfile import TemporaryDirectory
    >>> frame = pl.DataFrame({"id": [1, 2, 2, 3, 2], "ds": ["2013-01-01"] * 5})
    >>> with TemporaryDirectory() as folder:
    ...     check = KeyCheck(("id",), Path(folder) / "keys")
    ...     check.add(frame)
    ...     print(check.violation(lambda: [frame], frame["ds"].name, 5).sentence())
    id: 3 of 5 rows share their key with another, e.g. '2'; first bad day 2013-01-01.
    """

    def __init__(self, keys: Sequence[str], path: Path) -> None:
        self._keys = list(keys)
        self._path = path
        self._hashes: list[Hashes] = []
        self._kept = self._filed = 0

    def add(self, frame: pl.DataFrame) -> None:
        """`frame` is typed: keys that are written differently may be the same."""
        self._hashes.append(self._hash(frame))
        self._kept += frame.height
        if self._kept > MOST_HASHES:
            with self._path.open("ab") as file:
                for hashes in self._hashes:
                    file.write(hashes.data)
            self._filed += self._kept
            self._hashes, self._kept = [], 0

    def violation(
        self, batches: Callable[[], Iterable[pl.DataFrame]], day: str, rows: int
    ) -> Violation | None:
        """`batches` gives the typed rows once more: they are only asked for when hashes agree.

        Of very many such keys the first 10,000 are counted.
        """
        suspects = self._suspects()
        if not len(suspects):
            return None
        found = self._with_day(batches, suspects, day)
        found = found.filter(found.select(self._keys).is_duplicated())
        return self._told(ViolationKind.DUPLICATE_KEYS, "each key once", found, rows)

    def known(
        self,
        table: Callable[[], Iterable[pl.DataFrame]],
        batches: Callable[[], Iterable[pl.DataFrame]],
        day: str,
        rows: int,
    ) -> Violation | None:
        """Rows whose key the table has already; `table` gives its keys, once for each pass."""
        suspects = self._shared(table)
        if not len(suspects):
            return None
        theirs = pl.concat(
            frame.select(self._keys).filter(pl.Series(np.isin(self._hash(frame), suspects)))
            for frame in table()
        )
        found = self._with_day(batches, suspects, day)
        found = found.join(theirs, on=self._keys, how="semi", nulls_equal=True)
        expected = "keys that the table does not have"
        return self._told(ViolationKind.KNOWN_KEYS, expected, found, rows)

    def _with_day(
        self, batches: Callable[[], Iterable[pl.DataFrame]], suspects: Hashes, day: str
    ) -> pl.DataFrame:
        """The keys of those hashes, each with its row's day."""
        return pl.concat(
            frame.filter(pl.Series(np.isin(self._hash(frame), suspects))).select(
                *self._keys, pl.col(day).cast(pl.String).alias(_DAY)
            )
            for frame in batches()
        )

    def _told(
        self, kind: ViolationKind, expected: str, found: pl.DataFrame, rows: int
    ) -> Violation | None:
        """None where it was only two keys of one hash."""
        if not found.height:
            return None
        shown = found.unique(self._keys, keep="first", maintain_order=True).head(3)
        first = found[_DAY].min()
        return Violation(
            kind,
            ", ".join(self._keys),
            expected,
            count=found.height,
            rows=rows,
            examples=tuple("/".join(map(str, key)) for key in shown.select(self._keys).rows()),
            first_bad_day=None if first is None else str(first),
        )

    def _shared(self, table: Callable[[], Iterable[pl.DataFrame]]) -> Hashes:
        """Hashes that both have; the first of them, where they are too many."""
        passes = 1 + (self._filed + self._kept) // MOST_HASHES
        found: list[Hashes] = [np.empty(0, np.uint64)]
        for at in range(passes):
            mine = [hashes[hashes % np.uint64(passes) == at] for hashes in self._all()]
            ours = np.unique(np.concatenate([np.empty(0, np.uint64), *mine]))
            for frame in table():
                theirs = self._hash(frame)
                found.append(np.unique(theirs[np.isin(theirs, ours)]))
        return np.unique(np.concatenate(found))[:_MOST_SUSPECTS]

    def _hash(self, frame: pl.DataFrame) -> Hashes:
        return frame.select(self._keys).hash_rows(_SEED).to_numpy()

    def _suspects(self) -> Hashes:
        """Hashes that come more than once; the first of them, where they are too many."""
        passes = 1 + (self._filed + self._kept) // MOST_HASHES
        found: list[Hashes] = []
        for at in range(passes):
            mine = [hashes[hashes % np.uint64(passes) == at] for hashes in self._all()]
            ordered = np.sort(np.concatenate(mine)) if mine else np.empty(0, np.uint64)
            found.append(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
        return np.concatenate(found)[:_MOST_SUSPECTS]

    def _all(self) -> Iterator[Hashes]:
        if self._filed:
            with self._path.open("rb") as file:
                while len(block := np.fromfile(file, np.uint64, MOST_HASHES // 8)):
                    yield block
        yield from self._hashes
