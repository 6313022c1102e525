"""Sums of floats without rounding, so that profiles add exactly, in any order and any partition."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Values are clipped here before they are squared, so that a square (and n of them) stays finite.
MOMENT_LIMIT = 1e140
_CHUNK = 16_384


def exact_sum(values: Floats) -> Fraction:
    """The exact sum of finite floats with magnitude at most `MOMENT_LIMIT` squared.

    Rump's ExtractVector: adding and taking away a power of two large enough for n values splits
    off the high bits, which add without rounding in any order; the rest goes round again.

    >>> exact_sum(np.array([1e100, 1.0, -1e100]))
    Fraction(1, 1)
    >>> exact_sum(np.array([0.1] * 10)) == 10 * Fraction(0.1)
    True
    """
    total = Fraction(0)
    for start in range(0, len(values), _CHUNK):
        rest = values[start : start + _CHUNK]
        margin = len(rest).bit_length() + 1
        while (top := float(np.abs(rest).max(initial=0.0))) > 0.0:
            sigma = float(np.ldexp(1.0, int(np.frexp(top)[1]) + margin))
            high = (rest + sigma) - sigma
            total += Fraction(float(high.sum()))
            rest = rest - high
    return total


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
    return Fraction(text)
