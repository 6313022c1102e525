"""Many slices at once: differences from rivals, and the gap between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seamline.measure.evaluation.estimates import Estimate
from seamline.measure.evaluation.jackknife import Flags, Ints, Measure, Spread, spread_metrics
from seamline.measure.evaluation.scorecard import Estimates
from seamline.measure.evaluation.student import t_quantile
from seamline.measure.exact import Floats

CANDIDATE = "candidate"


@dataclass(frozen=True)
class Slices:
    """The slices of one column: their names, and per contender the table (slices x blocks x m)."""

    names: Sequence[str]
    tables: Mapping[str, Floats]
    rows: Ints

    def spreads(self, measures: Mapping[str, Measure]) -> dict[str, dict[str, Spread]]:
        """By contender, for rivals the paired difference under "-rival"; by metric."""
        own = {
            who: spread_metrics(table, self.rows, measures[who])
            for who, table in self.tables.items()
        }
        apart = {
            f"-{who}": {
                name: own[CANDIDATE][name] - theirs
                for name, theirs in found.items()
                if name in own[CANDIDATE]
            }
            for who, found in own.items()
            if who != CANDIDATE
        }
        return own | apart


def estimate_slices(
    names: Sequence[str],
    spreads: Mapping[str, Spread],
    confidence: float,
    min_rows: int = 0,
    *,
    is_apart: bool = False,
) -> dict[str, Estimates]:
    """By slice and metric; `is_apart` says that they are differences."""
    columns = {metric: one.estimates(confidence, min_rows) for metric, one in spreads.items()}
    return {
        name: found if is_apart else _bound_ece(found)
        for i, name in enumerate(names)
        for found in ({metric: one[i] for metric, one in columns.items()},)
    }


def _bound_ece(found: dict[str, Estimate]) -> dict[str, Estimate]:
    """Noise alone makes a calibration error, the more the fewer rows, so its own lower bound would
    blame a calibrated model. It is never smaller than the distance between mean score and share of
    positives, which has an honest bound; without that, it is at least zero."""
    ece = found.get("ece")
    if ece is None or ece.low is None:
        return found
    bias, least = found.get("calibration_bias"), 0.0
    if bias is not None and bias.low is not None and bias.high is not None:
        least = max(0.0, bias.low, -bias.high)
    return {**found, "ece": replace(ece, low=min(ece.low, least))}


def estimate_gap(spread: Spread, usable: Flags, confidence: float) -> Estimate | None:
    """The largest value minus the least over the slices; None for fewer than two.

    The largest of many noisy values lies above the truth, and the least below it, so the gap seen
    is too large even where there is none. So its lower bound is the largest of the lower bounds of
    all pairs' differences, corrected for the number of ordered pairs (Bonferroni), and never below
    zero: no pair is called apart unless it is so among all. Its upper bound is the largest of the
    pairs' upper bounds, uncorrected: a gap above it would be that of one pair, whose own bound
    would have to err (intersection-union, Berger 1982).

    >>> rng = np.random.default_rng(0)
    >>> table = rng.normal(size=(8, 100))
    >>> out = (table.sum(1, keepdims=True) - table) / 99
    >>> noise = Spread(table.mean(1), out, np.ones((8, 100), int))
    >>> gap = estimate_gap(noise, np.ones(8, bool), 0.95)
    >>> gap.low, 0.2 < gap.value < gap.high < 1
    (0.0, True)
    """
    n = int(usable.sum())
    if n < 2:
        return None
    value, errors = spread.value[usable], spread.errors()[usable]
    n_blocks = int(spread.held[usable].sum(-1).min())
    tail, freedom = (1 - confidence) / 2, n_blocks - 1
    joint, single = t_quantile(tail / (n * (n - 1)), freedom), t_quantile(tail, freedom)
    low, high = 0.0, 0.0
    for i in range(1, n):
        apart = np.abs(value[i] - value[:i])
        error = np.sqrt(((errors[i] - errors[:i]) ** 2).sum(-1))
        low = max(low, float((apart - joint * error).max()))
        high = max(high, float((apart + single * error).max()))
    if not np.isfinite(high):
        return None
    seen = float(value.max() - value.min())
    n_rows = int(spread.n_rows[usable].sum())
    return Estimate(seen, low, high, n_rows, n_blocks, confidence)
