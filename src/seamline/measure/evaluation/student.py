"""Student's t in arrays: tail probabilities, and the quantiles that go with them."""

from __future__ import annotations

from functools import cache
from math import lgamma, log, pi
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from seamline.measure.exact import Floats

_STEPS = 300
_TINY = 1e-300


def t_tail(t: npt.ArrayLike, freedom: npt.ArrayLike) -> Floats:
    """The probability to exceed t, for 1 or more degrees of freedom.

    I(x; f/2, 1/2) / 2 with x = f / (f + t²), the regularised incomplete beta function by its
    continued fraction (Numerical Recipes, 6.4).

    >>> [round(float(p), 5) for p in t_tail([0.0, 2.0, -2.0, 40.0], 10)]
    [0.5, 0.03669, 0.96331, 0.0]
    """
    at, nu = np.broadcast_arrays(np.asarray(t, np.float64), np.asarray(freedom, np.float64))
    square = np.where(np.isfinite(at), at, 0.0) ** 2
    near = square < (nu + square) * (1.5 / (nu / 2 + 2.5))
    x, rest = nu / (nu + square), square / (nu + square)
    half = np.full(nu.shape, 0.5)
    a, b = np.where(near, half, nu / 2), np.where(near, nu / 2, half)
    part = _incomplete_beta(np.where(near, rest, x), a, b)
    upper = np.where(near, 1 - part, part) / 2
    upper = np.where(np.isinf(at), 0.0, upper)
    return np.where(at < 0, 1 - upper, upper)


def _incomplete_beta(x: Floats, a: Floats, b: Floats) -> Floats:
    """Regularised; quickly convergent for x < (a + 1) / (a + b + 2)."""
    front = _power(x, a) * _power(1 - x, b) / (a * np.exp(_log_beta(a, b)))
    c = np.ones_like(x)
    d = 1 / _off_zero(1 - (a + b) * x / (a + 1))
    found = d.copy()
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / _off_zero(1 + even * d), _off_zero(1 + even / c)
        found *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _off_zero(1 + odd * d), _off_zero(1 + odd / c)
        change = d * c
        found *= change
        if np.abs(change - 1).max(initial=0.0) < 1e-13:
            break
    return np.asarray(front * found)


def _off_zero(values: Floats) -> Floats:
    return np.where(np.abs(values) < _TINY, _TINY, values)


def _power(base: Floats, exponent: Floats) -> Floats:
    return np.exp(exponent * np.log(np.maximum(base, _TINY)))


def _log_beta(a: Floats, b: Floats) -> Floats:
    distinct, index = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1, return_inverse=True)
    logs = [lgamma(p) + lgamma(q) - lgamma(p + q) for p, q in distinct.T]
    return np.asarray(logs)[index.ravel()].reshape(a.shape)


@cache
def t_quantile(tail: float, freedom: float) -> float:
    """What is exceeded with probability `tail` (0 < tail <= 0.5).

    Newton's method on the logarithm of the tail, from Cornish and Fisher's expansion (Abramowitz
    and Stegun 26.7.5).

    >>> round(t_quantile(0.025, 9), 4), round(t_quantile(1e-6, 30), 3), t_quantile(0.5, 9)
    (2.2622, 5.871, 0.0)
    """
    if tail >= 0.5:
        return 0.0
    z = -NormalDist().inv_cdf(tail)
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    constant = lgamma((freedom + 1) / 2) - lgamma(freedom / 2) - log(freedom * pi) / 2
    for _ in range(60):
        p = float(t_tail(t, freedom))
        log_density = constant - (freedom + 1) / 2 * log(1 + t * t / freedom)
        step = (log(p) - log(tail)) * p / np.exp(log_density)
        t += float(step)
        if abs(step) < 1e-10 * t:
            break
    return t
