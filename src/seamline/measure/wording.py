"""Estimates in words: to the digit that their interval can tell."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence


def write_apart(numbers: Sequence[float]) -> list[str]:
    """Different numbers, with six digits where these tell them apart, else with all.

    >>> write_apart([0.5, 12.0]), write_apart([1700000000.0, 1700000060.0])
    (['0.5', '12'], ['1700000000', '1700000060'])
    """
    written = [f"{one:g}" for one in numbers]
    if len(set(written)) == len(set(numbers)):
        return written
    return [repr(one).removesuffix(".0") for one in numbers]


def digits_of(low: float, high: float) -> int:
    """How many decimals an interval is shown with.

    The rule of the Particle Data Group (Review of Particle Physics, introduction, "rounding"):
    half the width keeps two digits when it begins with less than 355, else one. Further decimals
    are added until each bound shows on which side of zero it lies.

    >>> digits_of(0.691, 0.73), digits_of(6.5, 9.0), digits_of(-4.5, -3.5), digits_of(5.0, 5.0)
    (3, 1, 1, 3)
    """
    digits = _decimals((high - low) / 2) if high > low else 3
    while digits < 6 and any(bound and not round(bound, digits) for bound in (low, high)):
        digits += 1
    return digits


def _decimals(half_width: float) -> int:
    exponent = math.floor(math.log10(half_width))
    two_digits = half_width / 10**exponent < 3.55
    return max(0, -exponent + int(two_digits))


def say_interval(
    value: float, low: float, high: float, *, signed: bool = False, unit: str = ""
) -> str:
    """
    >>> say_interval(0.7132, 0.6911, 0.7304)
    '0.713 [0.691, 0.730]'
    >>> say_interval(-4.05, -4.52, -3.53, signed=True, unit="min")
    '-4.0 min [-4.5, -3.5]'
    """
    digits, sign = digits_of(low, high), "+" if signed else ""
    # Adding zero turns a rounded -0.0 into 0.0.
    shown = [f"{round(one, digits) + 0.0:{sign}.{digits}f}" for one in (value, low, high)]
    return f"{shown[0]}{' ' if unit else ''}{unit} [{shown[1]}, {shown[2]}]"


def block_word(label: str) -> str:
    """What blocks are called: days where they are named like days.

    >>> block_word("2013-07-01"), block_word("store 7")
    ('days', 'blocks')
    """
    return "days" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", label) else "blocks"
