"""Metrics of forecasts of many series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from seamline.measure.evaluation.blocks import Part, RowStatistics
from seamline.measure.evaluation.metrics.arrays import divide, square
from seamline.measure.exact import Floats

_SUMS = ("rows", "absolute", "squared", "error", "size", "relative", "n_relative", "symmetric")


@dataclass(frozen=True)
class ForecastMeasure:
    """Statistics (..., m) to metrics: the sums of `forecast_rows`. `quantiles` in rising order."""

    has_scale: bool
    quantiles: tuple[float, ...]

    def __call__(self, stats: Floats) -> dict[str, Floats]:
        sums = {name: stats[..., i] for i, name in enumerate(_SUMS)}
        n, at = sums["rows"], len(_SUMS)
        found = {
            "mae": divide(sums["absolute"], n),
            "rmse": np.sqrt(divide(sums["squared"], n)),
            "bias": divide(sums["error"], n),
            "wape": divide(sums["absolute"], sums["size"]),
            "mape": divide(sums["relative"], sums["n_relative"]),
            "smape": divide(sums["symmetric"], n),
        }
        if self.has_scale:
            found["mase"], at = divide(stats[..., at], n), at + 1
        losses = []
        for quantile in self.quantiles:
            losses.append(divide(stats[..., at], n))
            found[f"pinball[{quantile:g}]"] = losses[-1]
            found[f"coverage[{quantile:g}]"] = divide(stats[..., at + 1], n)
            at += 2
        if losses:
            found["pinball"] = np.asarray(sum(losses) / len(losses))
        if len(losses) > 1:
            found["coverage"] = divide(stats[..., at], n)
        return found


def forecast_rows(
    truth: Floats, forecast: Floats, scale: Floats | None, quantiles: Mapping[float, Floats]
) -> RowStatistics:
    """`scale`: for each row the mean absolute seasonal difference of its series' training rows
    (Hyndman and Koehler 2006). sMAPE takes 0 / 0 for no error."""
    error, size = forecast - truth, np.abs(truth)
    absolute = np.abs(error)
    relative = np.divide(absolute, size, out=np.zeros_like(size), where=size > 0)
    both = size + np.abs(forecast)
    symmetric = np.divide(2 * absolute, both, out=np.zeros_like(both), where=both > 0)
    known = (size > 0).astype(np.float64)
    sums = [np.ones_like(size), absolute, square(error), error, size, relative, known, symmetric]
    if scale is not None:
        sums.append(absolute / scale)
    for quantile in sorted(quantiles):
        past = truth - quantiles[quantile]
        sums += [np.maximum(quantile * past, (quantile - 1) * past), (past <= 0).astype(np.float64)]
    if len(quantiles) > 1:
        low, high = quantiles[min(quantiles)], quantiles[max(quantiles)]
        sums.append(((low <= truth) & (truth <= high)).astype(np.float64))
    return RowStatistics(tuple(Part(weights=one) for one in sums))


def seasonal_scale(history: Floats, season: int) -> float:
    """The mean absolute difference of values one season apart, of one series in order of time.

    >>> seasonal_scale(np.array([1.0, 5.0, 2.0, 7.0]), 2)
    1.5
    """
    return float(np.abs(history[season:] - history[:-season]).mean())
