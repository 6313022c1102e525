"""Kubernetes quantities, as tasks ask for them: "500m" of a core, "4Gi" of memory."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from seamline.domain.errors import InvalidInput

_QUANTITY = re.compile(
    r"(?P<number>\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})"
    r"(?:[eE](?P<exponent>[+-]?\d{1,2})|(?P<suffix>[numkKMGTPE]|[KMGTPE]i))?",
    re.ASCII,
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_cores(text: str, what: str = "The CPU quantity") -> float:
    """
    >>> parse_cores("500m"), parse_cores("2"), parse_cores("0.5")
    (0.5, 2.0, 0.5)
    """
    return float(_parse(text, what, "a number of cores (2, 0.5 or 500m)"))


def parse_bytes(text: str, what: str = "The memory quantity") -> int:
    """Whole bytes, rounded up.

    >>> parse_bytes("4G"), parse_bytes("4Gi"), parse_bytes("1e3"), parse_bytes("0.5")
    (4000000000, 4294967296, 1000, 1)
    """
    return math.ceil(_parse(text, what, "an amount of memory (4G, 512Mi or bytes)"))


def parse_count(text: str, what: str = "The count") -> int:
    """
    >>> parse_count("2")
    2
    """
    number = _parse(text, what, "a whole number")
    if number.denominator != 1:
        raise _wrong(text, what, "a whole number")
    return int(number)


def _parse(text: str, what: str, wanted: str) -> Fraction:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise _wrong(text, what, wanted)
    number = Fraction(found["number"])
    suffix = found["suffix"] or ""
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    exponent = int(found["exponent"] or _DECIMAL.get(suffix, 0))
    factor = Fraction(10 ** abs(exponent))
    return number * factor if exponent >= 0 else number / factor


def _wrong(text: str, what: str, wanted: str) -> InvalidInput:
    return InvalidInput(
        f"{what} has to be {wanted}; {text[:80]!r} came.",
        next_step="Write it as a Kubernetes quantity.",
    )
