"""Sketches: the different values of a column in bounded space, additive in any order.

A sketch holds the values with the least hashes: all of them while they are few, else a sample of
them that does not depend on how the rows were split. What is among the least of the whole is among
the least of every part that holds it, so the whole's counts are the sums of its parts' and exact.
How dense the least hashes lie tells how many different values there are (KMV: Bar-Yossef et al.
2002; the estimate (k - 1) / h_k has a relative standard error below 1 / sqrt(k - 2)).
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from seamline.measure.exact import Counts, Floats
from seamline.measure.hashing import (
    HASH_BITS,
    Hashes,
    hash_numbers,
    hash_numbers_below,
    hash_texts,
)

#: So many hashes are kept, and so many values by name.
K_HASHES = 256
K_VALUES = 64
#: Of the number of different values, from `K_HASHES` of them on.
DISTINCT_ERROR = 1 / math.sqrt(K_HASHES - 2)
LONG_TEXT = 64
_PREFIX = 32
_BYTES = HASH_BITS // 8


@dataclass(frozen=True)
class Sketch:
    """`hashes`: the least ones, ascending, six bytes each. `values` are those of the first hashes,
    and how often each occurs; a sketch of hashes alone has none."""

    hashes: bytes = b""
    values: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def n_hashes(self) -> int:
        return len(self.hashes) // _BYTES

    @property
    def is_exact(self) -> bool:
        """Whether `distinct` is the number itself."""
        return self.n_hashes < K_HASHES

    @property
    def is_complete(self) -> bool:
        """Whether every value is named."""
        return len(self.values) == self.n_hashes

    @property
    def distinct(self) -> int:
        """
        >>> sketch_texts(pl.Series(["a", "b"]), np.array([3, 1])).distinct
        2
        >>> abs(sketch_numbers(np.arange(1e5)).distinct / 1e5 - 1) < 3 * DISTINCT_ERROR
        True
        """
        if self.is_exact:
            return self.n_hashes
        last = int.from_bytes(self.hashes[-_BYTES:], "big")
        return round((K_HASHES - 1) * (1 << HASH_BITS) / max(last, 1))

    def top(self, n: int) -> list[tuple[str, int]]:
        """The most frequent of the named values; each count is exact.

        >>> sketch_texts(pl.Series(["a", "b", "c"]), np.array([1, 5, 1])).top(2)
        [('b', 5), ('a', 1)]
        """
        named = zip(self.values, self.counts, strict=True)
        return sorted(named, key=lambda pair: (-pair[1], pair[0]))[:n]

    def count_of(self, value: str | float) -> int | None:
        """How often a text (or a number) occurs; None where that cannot be told.

        >>> sketch_texts(pl.Series(["a"]), np.array([3])).count_of("b")
        0
        """
        is_text = isinstance(value, str)
        hashed = hash_texts(pl.Series([value])) if is_text else hash_numbers(np.array([value]))
        return self.count_at(int(hashed[0]).to_bytes(_BYTES, "big"))

    def count_at(self, hashed: bytes) -> int | None:
        """The same, by the six bytes of the hash."""
        named = self.named()
        if hashed in named:
            return named[hashed][1]
        return 0 if self.is_complete or hashed < max(named, default=b"") else None

    def holds(self, numbers: Floats) -> bool:
        """Whether all of them are among the values with the least hashes.

        >>> sketch_numbers(np.array([1.0, 2.0])).holds(np.array([2.0]))
        True
        """
        return bool(np.isin(hash_numbers(numbers), _unpack(self.hashes)).all())

    def named(self) -> dict[bytes, tuple[str, int]]:
        pairs = zip(self.values, self.counts, strict=True)
        return {self.hashes[i * _BYTES : (i + 1) * _BYTES]: p for i, p in enumerate(pairs)}

    def to_json(self) -> dict[str, Any]:
        hashes = base64.b64encode(self.hashes).decode() if self.hashes else ""
        if not self.values:
            return {"hashes": hashes}
        return {"hashes": hashes, "values": list(self.values), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sketch:
        hashes = base64.b64decode(data["hashes"])
        return cls(hashes, tuple(data.get("values", ())), tuple(data.get("counts", ())))


def add_sketches(parts: Iterable[Sketch]) -> Sketch:
    """The sketch of all parts' values: associative and commutative.

    >>> a = sketch_texts(pl.Series(["n/a", "?"]), np.array([20, 1]))
    >>> add_sketches([a, sketch_texts(pl.Series(["n/a"]), np.array([1]))]).top(2)
    [('n/a', 21), ('?', 1)]
    """
    held = [part for part in parts if part.hashes]
    if len(held) < 2:
        return held[0] if held else Sketch()
    together = _unpack(b"".join(part.hashes for part in held))
    hashes = _pack(_sorted_unique(together)[:K_HASHES])
    if not any(part.values for part in held):
        return Sketch(hashes)
    summed: dict[bytes, tuple[str, int]] = {}
    for part in held:
        for hashed, (value, count) in part.named().items():
            before = summed.get(hashed)
            summed[hashed] = (value, count if before is None else before[1] + count)
    least = [summed[hashed] for hashed in sorted(summed)[:K_VALUES]]
    return Sketch(hashes, tuple(value for value, _ in least), tuple(count for _, count in least))


def sketch_texts(texts: pl.Series, counts: Counts) -> Sketch:
    """Of different strings without nulls and how often each occurs."""
    everything = np.array([0, len(texts)])
    return sketch_text_parts(texts, np.arange(len(texts)), counts, everything)[0]


def sketch_text_parts(
    texts: pl.Series, which: Counts, counts: Counts, bounds: Counts
) -> list[Sketch]:
    """One sketch for each partition: from bounds[i] to bounds[i + 1], `which` of the texts it has
    and how often."""
    hashes, least, named = hash_texts(texts), [], []
    for start, end in pairwise(bounds.tolist()):
        least.append(start + _least(hashes[which[start:end]]))
        named.append(least[-1][:K_VALUES])
    rows = np.concatenate(named)
    # One look at the texts for all: each costs more than a sketch.
    values = iter(texts.gather(which[rows]).to_list())
    return [
        Sketch(
            _pack(hashes[which[own]]),
            tuple(map(shorten, islice(values, len(kept)))),
            tuple(counts[kept].tolist()),
        )
        for own, kept in zip(least, named, strict=True)
    ]


def sketch_numbers(ordered: Floats) -> Sketch:
    """Of sorted finite numbers: their hashes alone.

    >>> sketch_numbers(np.array([1.0, 1.0, 2.0])).distinct
    2
    """
    return Sketch(_pack(_least_hashes(ordered)))


def sketch_number_parts(values: Floats, bounds: Counts) -> list[Sketch]:
    """The same for each partition, from bounds[i] to bounds[i + 1]; fast where they are small."""
    hashes = hash_numbers(values)
    for start, end in pairwise(bounds.tolist()):
        hashes[start:end].sort()
    firsts = np.flatnonzero(find_firsts(hashes, bounds))
    starts = firsts.searchsorted(bounds)
    n_kept = np.minimum(np.diff(starts), K_HASHES)
    ends = np.append(0, np.cumsum(n_kept))
    kept = np.arange(ends[-1]) + np.repeat(starts[:-1] - ends[:-1], n_kept)
    packed = _pack(hashes[firsts[kept]])
    return [Sketch(packed[start:end]) for start, end in pairwise((ends * _BYTES).tolist())]


def find_firsts(ordered: Floats | Hashes, bounds: Counts) -> npt.NDArray[np.bool_]:
    """Which values differ from the one before them in their partition, from bounds[i] to
    bounds[i + 1]; those of each are sorted.

    >>> find_firsts(np.array([1.0, 1.0, 1.0, 2.0]), np.array([0, 2, 2, 4])).tolist()
    [True, False, True, True]
    """
    is_first = np.empty(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    is_first[bounds[:-1][np.diff(bounds) > 0]] = True
    return is_first


def name_numbers(ordered: Floats) -> Sketch:
    """Of sorted finite numbers, by name.

    >>> name_numbers(np.array([-9999.0, -9999.0, 2.5])).top(2)
    [('-9999', 2), ('2.5', 1)]
    """
    if not len(ordered):
        return Sketch()
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    values, counts = ordered[starts], np.diff(np.append(starts, len(ordered)))
    hashes = hash_numbers(values)
    order = _least(hashes)
    kept = order[:K_VALUES]
    names = tuple(name_number(value) for value in values[kept].tolist())
    return Sketch(_pack(hashes[order]), names, tuple(counts[kept].tolist()))


def name_number(value: float) -> str:
    """
    >>> name_number(-9999.0), name_number(-0.0), name_number(0.1), name_number(1e300)
    ('-9999', '0', '0.1', '1e+300')
    """
    is_short = abs(value) < 2**53 and value.is_integer()
    return str(int(value)) if is_short else repr(value)


def shorten(text: str) -> str:
    """
    >>> shorten("12,50")
    '12,50'
    >>> shorten("a" * 10_000_000)
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa… (10,000,000 characters, sha256:01f4a87c)'
    """
    if len(text) <= LONG_TEXT:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[:_PREFIX]}… ({len(text):,} characters, sha256:{digest})"


def _least(hashes: Hashes) -> Counts:
    """Where the least `K_HASHES` stand, in their order."""
    if len(hashes) <= 8 * K_HASHES:
        return np.argsort(hashes, kind="stable")[:K_HASHES]
    least = np.argpartition(hashes, K_HASHES)[:K_HASHES]
    return least[np.argsort(hashes[least], kind="stable")]


def _least_hashes(ordered: Floats) -> Hashes:
    """The least different hashes. Only those below a bound are looked at: about four times as many
    as are wanted lie there."""
    if len(ordered) > 16 * K_HASHES:
        n_distinct = 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
        bound = min((4 * K_HASHES << HASH_BITS) // n_distinct, 1 << HASH_BITS)
        found = _sorted_unique(hash_numbers_below(ordered, bound))
        if len(found) >= K_HASHES:
            return found[:K_HASHES]
    return _sorted_unique(hash_numbers(ordered))[:K_HASHES]


def _sorted_unique(hashes: Hashes) -> Hashes:
    """np.unique, by sorting: for so few that is faster than its table."""
    ordered = np.sort(hashes)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def _pack(hashes: Hashes) -> bytes:
    wide = hashes.astype(">u8").view(np.uint8).reshape(len(hashes), 8)
    return wide[:, 8 - _BYTES :].tobytes()


def _unpack(hashes: bytes) -> Hashes:
    wide = np.zeros((len(hashes) // _BYTES, 8), np.uint8)
    wide[:, 8 - _BYTES :] = np.frombuffer(hashes, np.uint8).reshape(-1, _BYTES)
    return wide.view(">u8").astype(np.uint64).reshape(-1)
