"""Estimates as sentences."""

from __future__ import annotations

from seamline.measure.evaluation.estimates import MIN_BLOCKS, Estimate
from seamline.measure.wording import say_interval


def say_value(estimate: Estimate, *, signed: bool = False) -> str:
    """The value with its interval, to the digit that the interval can tell.

    >>> say_value(Estimate(0.7132, 0.6911, 0.7304, 29327, 31))
    '0.713 [0.691, 0.730]'
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
    return say_interval(estimate.value, estimate.low, estimate.high, signed=signed)


def say_metric(metric: str, estimate: Estimate, unit: str) -> str:
    """
    >>> say_metric("auc", Estimate(0.7132, 0.6911, 0.7304, 29327, 31), "days")
    'auc 0.713 [0.691, 0.730] (29,327 rows, 31 days)'
    """
    few = f" ({MIN_BLOCKS} are needed)" if estimate.n_blocks < MIN_BLOCKS else ""
    n = f"({estimate.n_rows:,} rows, {estimate.n_blocks} {unit}{few})"
    return f"{metric} {say_value(estimate)} {n}"


def say_difference(metric: str, estimate: Estimate, rival: str) -> str:
    """
    >>> say_difference("mae", Estimate(-1.21, -1.4, -1.0, 900, 31), "baseline")
    'mae -1.21 [-1.40, -1.00] against the baseline'
    """
    return f"{metric} {say_value(estimate, signed=True)} against the {rival}"
