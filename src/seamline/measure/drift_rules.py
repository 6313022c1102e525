"""When drift is called drift: a large effect that the reference's own days do not show."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.measure.drift import (
    ColumnDrift,
    columns_to_compare,
    compare_profiles,
    group_cells,
    group_counts,
    population_stability,
)
from seamline.measure.evaluation.estimates import MIN_BLOCKS
from seamline.measure.exact import Floats
from seamline.measure.profiles import Profile

PSI_THRESHOLD = 0.2
ALPHA = 0.01
MIN_REPLICATES = 1000
#: So many are drawn at once: a year of days, 50,000 times, would fill half a gigabyte.
_AT_ONCE = 10_000


@dataclass(frozen=True)
class ColumnVerdict:
    """`fail` means drift. `limit`: the (1 - alpha) quantile of PSI among the reference's days."""

    drift: ColumnDrift
    verdict: Verdict
    p_value: float | None
    limit: float | None

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"drift": self.drift.to_json(), "verdict": str(self.verdict)}
        return data | {"p_value": self.p_value, "limit": self.limit}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnVerdict:
        drift, verdict = ColumnDrift.from_json(data["drift"]), Verdict(data["verdict"])
        return cls(drift, verdict, data["p_value"], data["limit"])


@dataclass(frozen=True)
class DriftVerdict:
    verdict: Verdict
    columns: tuple[ColumnVerdict, ...]
    n_blocks: int
    days: int
    threshold: float
    alpha: float

    @property
    def drifted(self) -> list[str]:
        return [c.drift.column for c in self.columns if c.verdict is Verdict.FAIL]

    def sentence(self) -> str:
        if self.verdict is Verdict.INCONCLUSIVE:
            return (
                f"Drift cannot be judged: the reference has {self.n_blocks} days to compare with, "
                f"{MIN_BLOCKS} are needed, and both sides need rows."
            )
        if not self.drifted:
            return f"None of {len(self.columns)} columns drifted."
        names = ", ".join(self.drifted)
        return (
            f"{len(self.drifted)} of {len(self.columns)} columns drifted: {names} (PSI above "
            f"{self.threshold:g} and above what {self.days} of {self.n_blocks} reference days "
            f"show, false discovery rate {self.alpha:.0%})."
        )

    def to_json(self) -> dict[str, Any]:
        columns = [column.to_json() for column in self.columns]
        return {**self.__dict__, "verdict": str(self.verdict), "columns": columns}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DriftVerdict:
        columns = tuple(ColumnVerdict.from_json(column) for column in data["columns"])
        return cls(**{**data, "verdict": Verdict(data["verdict"]), "columns": columns})


def benjamini_hochberg(p_values: Sequence[float], alpha: float) -> npt.NDArray[np.bool_]:
    """Which hypotheses to reject so that at most `alpha` of the rejected are expected to be false.

    >>> benjamini_hochberg([0.001, 0.2, 0.012, 0.04], 0.05).tolist()
    [True, False, True, False]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    holds = p[order] <= alpha * np.arange(1, len(p) + 1) / max(len(p), 1)
    n_rejected = int(np.flatnonzero(holds)[-1]) + 1 if holds.any() else 0
    rejected = np.zeros(len(p), np.bool_)
    rejected[order[:n_rejected]] = True
    return rejected


def decide_drift(
    reference: Profile,
    current: Profile,
    *,
    day_profiles: Sequence[Profile] | None = None,
    days: int = 1,
    threshold: float = PSI_THRESHOLD,
    alpha: float = ALPHA,
    columns: Collection[str] | None = None,
    seed: int = 0,
    replicates: int = MIN_REPLICATES,
) -> DriftVerdict:
    """Effect size and significance: a column drifts when its PSI exceeds `threshold` and is larger
    than days of the reference show among themselves.

    `day_profiles` are the reference's blocks, `days` the number of blocks that `current` holds.
    Whole days are drawn, because rows of one day move together: again and again a pseudo-reference
    of all days and a pseudo-window of `days` days (thinned to the window's rows when it has fewer)
    are drawn with replacement; the p-value is the share of such pairs with a PSI at least as
    large. Benjamini-Hochberg over the columns at `alpha`. Fewer than 10 days: inconclusive.
    `replicates`: at least so many pairs, for whoever judges these p-values among others.
    """
    names = columns_to_compare(reference, current, columns)
    drifts = compare_profiles(reference, current, names)
    blocks = list(day_profiles or ())
    if any(block.basis.digest != reference.basis.digest for block in blocks):
        raise InvalidInput(
            "A day's profile is on another basis than the reference.",
            next_step="Profile the reference's days on its basis.",
        )
    absent = sorted({name for block in blocks for name in names if name not in block.columns})
    if absent:
        raise InvalidInput(
            f"A day's profile lacks {', '.join(absent)}.",
            next_step="Profile the same columns for every day, or name the columns to compare.",
        )
    if len(blocks) < MIN_BLOCKS or not current.rows or not reference.rows:
        judged = [ColumnVerdict(d, Verdict.INCONCLUSIVE, None, None) for d in drifts]
        overall = Verdict.INCONCLUSIVE
    else:
        least = max(replicates, math.ceil(2 * len(names) / alpha))
        nulls = _null_psi(reference, current, names, blocks, days, seed, least)
        judged = _judge(drifts, nulls, threshold, alpha)
        overall = Verdict.FAIL if any(j.verdict is Verdict.FAIL for j in judged) else Verdict.PASS
    return DriftVerdict(overall, tuple(judged), len(blocks), days, threshold, alpha)


def _judge(
    drifts: Sequence[ColumnDrift], nulls: Sequence[Floats], threshold: float, alpha: float
) -> list[ColumnVerdict]:
    effects = [drift.psi or 0.0 for drift in drifts]
    p_values = [
        (1 + int((null >= psi).sum())) / (1 + len(null))
        for null, psi in zip(nulls, effects, strict=True)
    ]
    rejected = benjamini_hochberg(p_values, alpha)
    return [
        ColumnVerdict(
            drift,
            Verdict.FAIL if effects[i] > threshold and rejected[i] else Verdict.PASS,
            p_values[i],
            float(np.quantile(nulls[i], 1 - alpha)),
        )
        for i, drift in enumerate(drifts)
    ]


def _null_psi(
    reference: Profile,
    current: Profile,
    names: Sequence[str],
    blocks: Sequence[Profile],
    days: int,
    seed: int,
    replicates: int,
) -> list[Floats]:
    """PSI of resampled reference days, one array of replicates per column; the same days for all
    columns. Replicates suffice for the smallest p-value that Benjamini-Hochberg can ask for."""
    rng = np.random.default_rng(seed)
    tables = []
    for name in names:
        groups = group_cells(reference.columns[name], reference.basis.columns[name])
        tables.append(np.array([group_counts(block.columns[name], groups) for block in blocks]))
    sizes = [min(_AT_ONCE, replicates - done) for done in range(0, replicates, _AT_ONCE)]
    parts = [_draw(rng, tables, (len(blocks), days), current.rows, size) for size in sizes]
    return [np.concatenate(found) for found in zip(*parts, strict=True)]


def _draw(
    rng: np.random.Generator,
    tables: Sequence[Floats],
    days_of: tuple[int, int],
    rows: int,
    replicates: int,
) -> list[Floats]:
    """`days_of`: the reference, and the window."""
    n_blocks, days = days_of
    even = np.full(n_blocks, 1 / n_blocks)
    pasts = rng.multinomial(n_blocks, even, size=replicates).astype(np.float64)
    windows = rng.multinomial(days, even, size=replicates).astype(np.float64)
    nulls = []
    for table in tables:
        drawn = windows @ table
        if rows < drawn.sum(-1).mean():
            shares = drawn / np.maximum(drawn.sum(-1, keepdims=True), 1.0)
            shares[:, -1] += np.maximum(1.0 - shares.sum(-1), 0.0)
            drawn = rng.multinomial(rows, shares).astype(np.float64)
        nulls.append(np.nan_to_num(population_stability(pasts @ table, drawn)))
    return nulls
