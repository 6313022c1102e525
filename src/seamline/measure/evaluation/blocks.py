"""Sums per block: rows of one day are not independent, days nearly are.

Everything is measured from statistics that add up over rows, so a slice, a window or all days but
one are sums of the same table, and no row is read twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from seamline.measure.exact import Floats

Ints = npt.NDArray[np.int64]
_Number = TypeVar("_Number", np.int64, np.float64)

#: More blocks than these are joined at random: sums of independent blocks are independent, and
#: beyond this many the interval gains nothing.
MAX_BLOCKS = 1000


class Part(NamedTuple):
    """What a row adds: `weights` (one if None) to the column `cells` (the only one if None)."""

    n_cells: int = 1
    cells: Ints | None = None
    weights: Floats | None = None


@dataclass(frozen=True)
class RowStatistics:
    """What each row adds to its block, part by part; the columns of all parts stand in a row.

    >>> counts = Part(2, np.array([0, 1, 1]))
    >>> rows = RowStatistics((counts, Part(weights=np.array([0.5, 1.0, 2.0]))))
    >>> rows.tabulate(np.array([0, 0, 1]), 2).tolist()
    [[1.0, 1.0, 1.5], [0.0, 1.0, 2.0]]
    """

    parts: tuple[Part, ...]

    @property
    def width(self) -> int:
        return sum(part.n_cells for part in self.parts)

    def tabulate(self, keys: Ints, n_keys: int, rows: Ints | None = None) -> Floats:
        """(n_keys x width) sums of all rows, or of those with the given indices; `keys` numbers
        what each row (of those) belongs to: a block, a slice and a block."""
        table = np.empty((n_keys, self.width))
        at = 0
        for n_cells, cells, weights in self.parts:
            flat = keys if cells is None else keys * n_cells + _pick(cells, rows)
            weighed = None if weights is None else _pick(weights, rows)
            sums = np.bincount(flat, weighed, minlength=n_keys * n_cells)
            table[:, at : at + n_cells] = sums.reshape(n_keys, n_cells)
            at += n_cells
        return table


def _pick(values: npt.NDArray[_Number], rows: Ints | None) -> npt.NDArray[_Number]:
    return values if rows is None else values[rows]


@dataclass(frozen=True)
class Blocks:
    """Each row's block as a number below `n`, with its name; `n_declared` blocks were there before
    joining, from `first` to `last`."""

    codes: Ints
    names: tuple[str, ...]
    n_declared: int
    first: str
    last: str

    @property
    def n(self) -> int:
        return len(self.names)


def join_blocks(codes: Ints, names: tuple[str, ...], seed: int = 0) -> Blocks:
    """
    >>> join_blocks(np.array([0, 1, 1]), ("d1", "d2")).n
    2
    >>> many = join_blocks(np.arange(5000), tuple(map(str, range(5000))))
    >>> many.n, many.n_declared, int(np.bincount(many.codes).max())
    (1000, 5000, 5)
    """
    n = len(names)
    if n <= MAX_BLOCKS:
        return Blocks(codes, names, n, names[0], names[-1])
    joined = np.random.default_rng(seed).permutation(n)[codes] % MAX_BLOCKS
    return Blocks(joined, _numbered(MAX_BLOCKS), n, names[0], names[-1])


def independent_rows(n_rows: int, seed: int = 0) -> Blocks:
    """Each row is a block of its own."""
    order = np.random.default_rng(seed).permutation(n_rows)
    return Blocks(order % MAX_BLOCKS, _numbered(min(n_rows, MAX_BLOCKS)), n_rows, "", "")


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(f"joined {i}" for i in range(n))
