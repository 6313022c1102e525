"""Estimates as sentences."""

from __future__ import annotations

import math
import re

from seamline.measure.blocks import MIN_BLOCKS, Estimate
from seamline.measure.scorecard import Scorecard

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def say_value(estimate: Estimate, *, signed: bool = False) -> str:
    """The value with its interval, to the digit that the interval can tell.

    >>> say_value(Estimate(0.7132, 0.6911, 0.7304, 29327, 31))
    '0.71 [0.69, 0.73]'
    >>> say_value(Estimate(2.81, 2.2, 3.43, 26971, 30), signed=True)
    '+2.8 [+2.2, +3.4]'
    >>> say_value(Estimate(0.7132, None, None, 900, 4))
    '0.713, no interval'
    """
    sign = "+" if signed else ""
    if estimate.value is None:
        return "not defined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{sign}.3g}, no interval"
    shown = (estimate.value, estimate.low, estimate.high)
    digits = digits_of(estimate.low, estimate.high)
    # Adding zero turns a rounded -0.0 into 0.0.
    value, low, high = (f"{round(x, digits) + 0.0:{sign}.{digits}f}" for x in shown)
    return f"{value} [{low}, {high}]"


def digits_of(low: float, high: float) -> int:
    """Decimals that show the first digit of half an interval's width, and on which side of zero
    each bound lies.

    >>> digits_of(0.69, 0.73), digits_of(2.2, 3.4), digits_of(0.2, 3.0), digits_of(5.0, 5.0)
    (2, 1, 1, 3)
    """
    digits = max(0, -math.floor(math.log10((high - low) / 2))) if high > low else 3
    while digits < 6 and any(bound and not round(bound, digits) for bound in (low, high)):
        digits += 1
    return digits


def block_word(card: Scorecard) -> str:
    """What the blocks are: days where they are named like days."""
    return "days" if _DATE.fullmatch(card.first_block) else "blocks"


def say_metric(metric: str, estimate: Estimate, unit: str) -> str:
    """
    >>> say_metric("auc", Estimate(0.7132, 0.6911, 0.7304, 29327, 31), "days")
    'auc 0.71 [0.69, 0.73] (29,327 rows, 31 days)'
    """
    few = f" ({MIN_BLOCKS} are needed)" if estimate.n_blocks < MIN_BLOCKS else ""
    n = f"({estimate.n_rows:,} rows, {estimate.n_blocks} {unit}{few})"
    return f"{metric} {say_value(estimate)} {n}"


def say_difference(metric: str, estimate: Estimate, rival: str) -> str:
    """
    >>> say_difference("mae", Estimate(-1.21, -1.4, -1.0, 900, 31), "baseline")
    'mae -1.2 [-1.4, -1.0] against the baseline'
    """
    return f"{metric} {say_value(estimate, signed=True)} against the {rival}"
