"""Metrics of the team's own: one number per row and contender, and its mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from seamline.domain.errors import InvalidInput
from seamline.measure.evaluation.blocks import Part, RowStatistics
from seamline.measure.evaluation.inputs import Numbers, read_floats
from seamline.measure.evaluation.jackknife import Measure
from seamline.measure.evaluation.metrics.arrays import divide
from seamline.measure.evaluation.score import Contender
from seamline.measure.evaluation.slices import CANDIDATE
from seamline.measure.evaluation.vocabulary import WORDS
from seamline.measure.exact import Floats


@dataclass(frozen=True)
class OwnMetric:
    """`values`: by contender ("candidate", "incumbent", "baseline"; rivals may be left out), what
    each row costs or earns. `higher_is_better` None: neither."""

    values: Mapping[str, Numbers]
    higher_is_better: bool | None


def directions(own: Mapping[str, OwnMetric] | None) -> dict[str, bool | None]:
    return {name: one.higher_is_better for name, one in (own or {}).items()}


@dataclass(frozen=True)
class _WithOwn:
    """The task's metrics from the first `width` columns; then rows, then one sum for each name."""

    inner: Measure
    width: int
    names: tuple[str, ...]

    def __call__(self, stats: Floats) -> dict[str, Floats]:
        rows = stats[..., self.width]
        sums = {
            name: divide(stats[..., self.width + 1 + i], rows) for i, name in enumerate(self.names)
        }
        return {**self.inner(stats[..., : self.width]), **sums}


def add_own(
    contenders: Mapping[str, Contender], own: Mapping[str, OwnMetric], n_rows: int
) -> dict[str, Contender]:
    """Raises InvalidInput for a name that is taken, and for rows without a value."""
    for name, metric in own.items():
        if name in WORDS:
            raise InvalidInput(
                f"{name!r} is a metric already.", next_step="Give the own metric another name."
            )
        if CANDIDATE not in metric.values:
            raise InvalidInput(
                f"{name!r} has no values of the candidate.", next_step="Give one for each row."
            )
    return {who: _add(who, contender, own, n_rows) for who, contender in contenders.items()}


def _add(who: str, contender: Contender, own: Mapping[str, OwnMetric], n_rows: int) -> Contender:
    names = tuple(name for name, metric in own.items() if who in metric.values)
    if not names:
        return contender
    parts = [Part(weights=np.ones(n_rows))]
    for name in names:
        values = read_floats(own[name].values[who], f"{who} values of {name}", n_rows)
        parts.append(Part(weights=values))
    rows = RowStatistics((*contender.rows.parts, *parts))
    return Contender(rows, _WithOwn(contender.measure, contender.rows.width, names))
