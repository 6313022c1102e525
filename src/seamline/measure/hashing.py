"""Hashes of values that are the same everywhere and for ever: profiles store them and add by them.

SplitMix64's finaliser (Steele, Lea, Flood 2014) over the 64 bits of a number, or over a text's
length and then its UTF-8 bytes, eight at a time, little end first; of texts over 1,024 bytes
BLAKE2b. Of either the upper 48 bits are kept: in JSON they are exact integers.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from seamline.measure.exact import CHUNK, Counts, Floats

Hashes = npt.NDArray[np.uint64]

HASH_BITS = 48
LONG_BYTES = 1024
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_KEPT = np.uint64(64 - HASH_BITS)
#: The lowest bit of a hash that is known before the last step.
_TOLD = HASH_BITS - 31


def _mix(state: Hashes, spare: Hashes) -> Hashes:
    """SplitMix64's finaliser, in place; `spare` is as long and is overwritten."""
    _stir(state, spare)
    np.right_shift(state, 31, out=spare)
    return np.bitwise_xor(state, spare, out=state)


def _stir(state: Hashes, spare: Hashes) -> None:
    """All but its last step, which leaves the upper 31 bits as they are."""
    np.right_shift(state, 30, out=spare)
    np.bitwise_xor(state, spare, out=state)
    np.multiply(state, _FIRST, out=state)
    np.right_shift(state, 27, out=spare)
    np.bitwise_xor(state, spare, out=state)
    np.multiply(state, _SECOND, out=state)


def hash_numbers(values: Floats) -> Hashes:
    """Both zeros hash alike.

    >>> hash_numbers(np.array([0.0, -0.0, 1.0])).tolist()
    [248629889170205, 248629889170205, 150460276915187]
    """
    return hash_numbers_below(values, 1 << HASH_BITS)


def hash_numbers_below(values: Floats, bound: int) -> Hashes:
    """The hashes below the bound, or below the next one of which the upper 31 bits tell."""
    limit = np.uint64((min((bound >> _TOLD) + 1 << _TOLD, 1 << HASH_BITS) << int(_KEPT)) - 1)
    state, spare = (np.empty(min(CHUNK, len(values)), np.uint64) for _ in range(2))
    found = [np.empty(0, np.uint64)]
    for start in range(0, len(values), CHUNK):
        piece = values[start : start + CHUNK]
        part, rest = state[: len(piece)], spare[: len(piece)]
        np.add(piece, 0.0, out=part.view(np.float64))
        np.add(part, _STEP, out=part)
        _stir(part, rest)
        low = part[part <= limit] if bound < 1 << HASH_BITS else part.copy()
        found.append(low ^ low >> np.uint64(31))
    return np.concatenate(found) >> _KEPT


def hash_texts(texts: pl.Series) -> Hashes:
    """Of strings without nulls.

    >>> hash_texts(pl.Series(["UA", "DL", ""])).tolist()
    [12143500238886, 50914767195007, 248629889170205]
    """
    sizes = texts.str.len_bytes()
    if not len(texts) or int(sizes.max()) <= LONG_BYTES:  # type: ignore[arg-type]
        return _hash_short(texts)
    is_long = sizes > LONG_BYTES
    hashes = np.empty(len(texts), np.uint64)
    hashes[~is_long.to_numpy()] = _hash_short(texts.filter(~is_long))
    for i in is_long.arg_true().to_list():
        digest = hashlib.blake2b(texts[i].encode(), digest_size=8).digest()
        hashes[i] = int.from_bytes(digest, "big") >> int(_KEPT)
    return hashes


def _hash_short(texts: pl.Series) -> Hashes:
    lengths, starts, words = _words(texts)
    state = lengths.astype(np.uint64) + _STEP
    spare = np.empty(len(state), np.uint64)
    _mix(state, spare)
    at, step = np.flatnonzero(lengths), 0
    while len(at):
        left = lengths[at] - step
        word = words[starts[at] + step]
        last = left < 8
        word[last] &= (np.uint64(1) << (8 * left[last]).astype(np.uint64)) - np.uint64(1)
        state[at] = _mix((state[at] ^ word) + _STEP, spare[: len(at)])
        step += 8
        at = at[left > 8]
    return state >> _KEPT


def _words(texts: pl.Series) -> tuple[Counts, Counts, Hashes]:
    """Lengths, starts, and the eight bytes at each place of all texts' bytes, one after another."""
    arrow = texts.to_arrow().cast(pa.large_string())
    _, ends, data = arrow.buffers()
    bounds = np.frombuffer(ends, np.int64)[arrow.offset : arrow.offset + len(arrow) + 1]
    size = int(bounds[-1])
    padded = np.zeros(size + 8, np.uint8)
    if size:
        padded[:size] = np.frombuffer(data, np.uint8)[:size]
    words = np.ndarray((size + 1,), "<u8", padded.data, strides=(1,))
    return np.diff(bounds), bounds[:-1], words
