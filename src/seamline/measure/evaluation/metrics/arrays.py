"""What all metrics share: every function works on the last axis of its array, so that one call
measures one table or a thousand. NaN where a metric is not defined."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from seamline.domain.errors import InvalidInput
from seamline.measure.exact import Floats


def divide(top: npt.ArrayLike, bottom: npt.ArrayLike) -> Floats:
    """
    >>> divide([1.0, 1.0], [2.0, 0.0]).tolist()
    [0.5, nan]
    """
    above, below = np.broadcast_arrays(np.asarray(top, np.float64), np.asarray(bottom, np.float64))
    out = np.full(below.shape, np.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out[()]


def f_score(hits: Floats, called: Floats, are: Floats) -> Floats:
    """The harmonic mean of precision and recall.

    >>> float(f_score(np.array(3.0), np.array(4.0), np.array(4.0)))
    0.75
    """
    return divide(2 * hits, called + are)


def plain(metrics: Mapping[str, Floats]) -> dict[str, float | None]:
    return {name: number_or_none(value) for name, value in metrics.items()}


def number_or_none(value: Floats | float) -> float | None:
    """JSON knows no NaN.

    >>> number_or_none(float("nan")) is None
    True
    """
    return float(value) if np.isfinite(value) else None


def square(values: Floats) -> Floats:
    """Infinite where no float holds it."""
    with np.errstate(over="ignore"):
        return np.asarray(values**2)


def check_finite(name: str, values: Floats) -> Floats:
    """The values, or InvalidInput saying how many are missing or infinite."""
    odd = int((~np.isfinite(values)).sum())
    if odd:
        raise InvalidInput(
            f"{odd:,} of {len(values):,} {name} are missing or infinite.",
            next_step="Leave out rows without them, and say so.",
        )
    return values
