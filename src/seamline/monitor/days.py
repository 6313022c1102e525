"""Day by day against the reference's own days: from when on is a column different? Pure.

A day differs when its PSI against the reference is large, larger than that of every reference
day, and larger than its number of rows explains; or when it holds one value only, which no
reference day does. Days with few rows say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seamline.measure.basis import ColumnBasis
from seamline.measure.drift import (
    COLLAPSED_ROWS,
    group_cells,
    group_counts,
    is_constant,
    population_stability,
)
from seamline.measure.exact import Floats
from seamline.measure.profiles import ColumnProfile, Profile

#: So many last days of a window in a row differ before that alone is an alarm.
MIN_RUN = 3


@dataclass(frozen=True)
class Run:
    """Successive judged days that all differ; `is_open` when the last one is the window's last."""

    first: str
    last: str
    n_days: int
    is_open: bool

    def say(self) -> str:
        """
        >>> Run("2013-12-14", "2013-12-31", 18, True).say()
        'from 2013-12-14 on'
        >>> Run("2013-12-14", "2013-12-16", 3, False).say()
        'from 2013-12-14 to 2013-12-16'
        """
        return f"from {self.first} on" if self.is_open else f"from {self.first} to {self.last}"


def find_run(days: Sequence[tuple[str, bool | None]]) -> Run | None:
    """The run that reaches the end, if it is long enough or none is longer; else the longest.
    None marks a day that says nothing.

    >>> find_run([("1", False), ("2", True), ("3", None), ("4", True)])
    Run(first='2', last='4', n_days=2, is_open=True)
    >>> find_run([("1", True), ("2", True), ("3", False), ("4", None)])
    Run(first='1', last='2', n_days=2, is_open=False)
    >>> find_run([("1", False)]) is None
    True
    """
    runs: list[list[str]] = []
    goes_on = False
    for day, differs in days:
        if differs is None:
            continue
        if differs and goes_on:
            runs[-1].append(day)
        elif differs:
            runs.append([day])
        goes_on = differs
    if not runs:
        return None
    longest = max(reversed(runs), key=len)
    chosen = runs[-1] if goes_on and len(runs[-1]) >= MIN_RUN else longest
    return Run(chosen[0], chosen[-1], len(chosen), goes_on and chosen is runs[-1])


def judge_days(
    column: str,
    reference: Profile,
    reference_days: Mapping[str, Profile],
    days: Mapping[str, Profile],
    threshold: float,
) -> list[tuple[str, bool | None]]:
    """For each day, in order, whether it differs; None for a day with too few rows."""
    whole, basis = reference.columns[column], reference.basis.columns[column]
    groups = group_cells(whole, basis)
    expected = group_counts(whole, groups)
    n_groups = int((expected > 0).sum())

    def excess(profiles: Sequence[Profile]) -> Floats:
        counts = np.array([group_counts(one.columns[column], groups) for one in profiles])
        rows = np.maximum(counts.sum(-1), 1.0)
        psi: Floats = np.atleast_1d(population_stability(expected, counts))
        return np.asarray(np.nan_to_num(psi) - noise_of(n_groups) / rows)

    ordered = sorted(days)
    usual = excess(list(reference_days.values()))
    never_constant = not any(
        _constant(one.columns[column], basis) for one in reference_days.values()
    )
    limit = max(threshold, float(usual.max()))
    judged: list[tuple[str, bool | None]] = []
    for day, psi in zip(ordered, excess([days[day] for day in ordered]).tolist(), strict=True):
        found = days[day].columns[column]
        # Half the threshold: a rare value that is absent for a day is no collapse.
        collapsed = never_constant and _constant(found, basis) and psi > threshold / 2
        judged.append((day, psi > limit or collapsed if found.rows >= COLLAPSED_ROWS else None))
    return judged


def _constant(column: ColumnProfile, basis: ColumnBasis) -> bool:
    return column.present >= COLLAPSED_ROWS and is_constant(column, basis) is not None


def chance_of_run(n_days: int, n_usual: int, sides: int = 1) -> float:
    """How likely these days alone lie above all usual ones (with two sides: outside of them), if
    all are alike: one order of them in so many, for each share of the days that may lie below.

    >>> round(chance_of_run(3, 31), 6), round(chance_of_run(3, 10, sides=2), 3)
    (0.000167, 0.014)
    """
    return (1 if sides == 1 else n_days + 1) / math.comb(n_usual + n_days, n_days)


def noise_of(n_groups: int) -> float:
    """PSI times rows that chance alone gives a sample, at most: it is about a chi-square with
    n_groups - 1 degrees of freedom, taken three standard deviations above its mean.

    >>> round(noise_of(11), 1)
    23.4
    """
    freedom = max(n_groups - 1, 1)
    return freedom + 3 * math.sqrt(2 * freedom)


def tells_the_day(column: str, profiles: Mapping[str, Profile], reference: Profile) -> bool:
    """Whether the column is constant within each reference day and differs between them, as month
    or a day's weather do: it is then new in each window, and its rows of a day tell nothing more.
    """
    basis = reference.basis.columns[column]
    if is_constant(reference.columns[column], basis) is not None:
        return False
    held = [one.columns[column] for one in profiles.values() if one.columns[column].present > 1]
    return bool(held) and all(is_constant(one, basis) is not None for one in held)
