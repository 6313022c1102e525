"""Sums of floats without rounding, so that profiles add exactly, in any order and any partition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

#: Values are clipped here before they are squared, so that a square (and n of them) stays finite.
MOMENT_LIMIT = 1e140
#: So many at a time stay in a processor's cache.
CHUNK = 32_768


def exact_sum(values: Floats, weights: Counts | None = None) -> Fraction:
    """The exact sum of finite floats with magnitude at most `MOMENT_LIMIT` squared, each taken as
    often as its weight says.

    Rump's ExtractVector: adding and taking away a power of two large enough for n values splits
    off the high bits, which add (and multiply) without rounding in any order; the rest goes round
    again.

    >>> exact_sum(np.array([1e100, 1.0, -1e100]))
    Fraction(1, 1)
    >>> exact_sum(np.array([0.1, 7.0]), np.array([10, 1])) == 10 * Fraction(0.1) + 7
    True
    """
    total = Fraction(0)
    for start in range(0, len(values), CHUNK):
        piece = values[start : start + CHUNK].copy()
        times = None if weights is None else weights[start : start + CHUNK]
        total += _drain(piece, np.empty_like(piece), times, _largest(piece))
    return total


def exact_moments(
    values: Floats, centre: float, weights: Counts | None = None
) -> tuple[Fraction, Fraction]:
    """The exact sums of sorted finite values' distances from `centre`, and of their squares.

    >>> exact_moments(np.array([1.0, 2.0, 4.0]), 2.0)
    (Fraction(1, 1), Fraction(5, 1))
    """
    total = squares = Fraction(0)
    spare, squared = (np.empty(min(len(values), CHUNK)) for _ in range(2))
    for start in range(0, len(values), CHUNK):
        with np.errstate(over="ignore"):
            distances = values[start : start + CHUNK] - centre
        if not -MOMENT_LIMIT <= distances[0] <= distances[-1] <= MOMENT_LIMIT:
            np.clip(distances, -MOMENT_LIMIT, MOMENT_LIMIT, out=distances)
        times = None if weights is None else weights[start : start + CHUNK]
        n = len(distances)
        np.multiply(distances, distances, out=squared[:n])
        top = max(-float(distances[0]), float(distances[-1]))
        total += _drain(distances, spare[:n], times, top)
        squares += _drain(squared[:n], spare[:n], times, top * top)
    return total, squares


def exact_moments_of_parts(
    values: Floats, bounds: Counts, centre: float, weights: Counts | None = None
) -> list[tuple[Fraction, Fraction]]:
    """The moments of each partition, from bounds[i] to bounds[i + 1]: fast where they are small.

    >>> exact_moments_of_parts(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 1, 3]), 2.0)[2]
    (Fraction(2, 1), Fraction(4, 1))
    """
    with np.errstate(over="ignore"):
        distances = np.clip(values - centre, -MOMENT_LIMIT, MOMENT_LIMIT)
    squares = _drain_parts(distances * distances, bounds, weights)
    return list(zip(_drain_parts(distances, bounds, weights), squares, strict=True))


def _drain_parts(rest: Floats, bounds: Counts, times: Counts | None) -> list[Fraction]:
    """`_drain` with one power of two for all partitions; the sums are whole numbers of 2^unit."""
    held = np.flatnonzero(np.diff(bounds))
    starts = bounds[:-1][held]
    rows = np.diff(bounds) if times is None else np.add.reduceat(times, starts)
    totals, unit = [0] * len(held), 0
    margin = int(rows.max(initial=0)).bit_length() + 1
    top = max(float(rest.max(initial=0.0)), -float(rest.min(initial=0.0)))
    while rest.any():
        power = math.frexp(top)[1] + margin
        sigma = math.ldexp(1.0, power)
        high = (rest + sigma) - sigma
        rest -= high
        if times is not None:
            high *= times
        finer = max(power - 53, -1074)  # what doubles just below sigma are apart
        sums = np.ldexp(np.add.reduceat(high, starts), -finer).tolist()
        shift = unit - finer if any(totals) else 0
        totals = [(total << shift) + int(one) for total, one in zip(totals, sums, strict=True)]
        unit = finer
        top = sigma * 2.0**-53
    found = [Fraction(0)] * (len(bounds) - 1)
    for place, total in zip(held.tolist(), totals, strict=True):
        found[place] = _scaled(total, unit)
    return found


def _scaled(total: int, unit: int) -> Fraction:
    """total * 2^unit: cheap where it is whole, as sums of whole numbers are.

    >>> _scaled(12, -2), _scaled(6, -2), _scaled(3, 1), _scaled(0, -9)
    (Fraction(3, 1), Fraction(3, 2), Fraction(6, 1), Fraction(0, 1))
    """
    whole = total << unit if unit >= 0 else total >> -unit
    if unit >= 0 or whole << -unit == total:
        return Fraction(whole)
    return Fraction(total, 1 << -unit)


def _drain(rest: Floats, high: Floats, times: Counts | None, top: float) -> Fraction:
    """The exact sum of `rest`, which is used up and nowhere larger than `top`; `high` is as long
    and is overwritten."""
    margin = (len(rest) if times is None else int(times.sum())).bit_length() + 1
    total = Fraction(0)
    while top > 0.0:
        sigma = math.ldexp(1.0, math.frexp(top)[1] + margin)
        np.add(rest, sigma, out=high)
        np.subtract(high, sigma, out=high)
        np.subtract(rest, high, out=rest)
        if times is not None:
            np.multiply(high, times, out=high)
        total += Fraction(float(high.sum()))
        top = _largest(rest)
    return total


def _largest(values: Floats) -> float:
    return max(float(values.max()), -float(values.min()))


def add_fractions(parts: Sequence[Fraction]) -> Fraction:
    """As `sum`, faster where all denominators are powers of two, as those of floats are.

    >>> add_fractions([Fraction(1, 4), Fraction(1, 2), Fraction(3)])
    Fraction(15, 4)
    """
    finest = max((part.denominator for part in parts), default=1)
    if any(finest % part.denominator for part in parts):
        return sum(parts, Fraction(0))
    return Fraction(sum(part.numerator * (finest // part.denominator) for part in parts), finest)


def fraction_to_text(value: Fraction) -> str:
    """
    >>> fraction_to_text(Fraction(3, 4)), fraction_to_text(Fraction(5))
    ('3/4', '5')
    """
    return str(value)


def fraction_from_text(text: str) -> Fraction:
    """
    >>> fraction_from_text("3/4")
    Fraction(3, 4)
    """
    top, _, bottom = text.partition("/")
    return Fraction(int(top), int(bottom or 1))
