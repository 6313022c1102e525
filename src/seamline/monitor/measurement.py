"""One measured thing of one window: what was looked at, what came out, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from seamline.domain.states import Verdict
from seamline.measure.evaluation.estimates import MIN_BLOCKS, Estimate
from seamline.measure.wording import say_interval


class MeasurementKind(StrEnum):
    #: A metric of predictions against the truth.
    PERFORMANCE = "performance"
    #: A declared check on performance.
    CHECK = "check"
    #: One of several models that answered, where it breaks a check by itself. No alarm: the
    #: endpoint is what is promised; a check of the worst model is declared (`worst_slice(model)`).
    MODEL = "model"
    #: How much of the window has its truth.
    COVERAGE = "coverage"
    #: A served column against the reference.
    DRIFT = "drift"
    #: The predictions against those of the reference days.
    OUTPUT = "output"


@dataclass(frozen=True)
class Measurement:
    """`value`, `low` and `high`: the metric, the PSI, the mean output, or the share covered.

    `first_day`: for drift, from when on each day differs (None: not seen day by day).
    """

    kind: MeasurementKind
    subject: str
    verdict: Verdict
    sentence: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n_rows: int = 0
    n_blocks: int = 0
    first_day: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def check(self) -> str:
        """What triggers name: the check's own text, or kind(subject), as in drift(hour).

        >>> Measurement(MeasurementKind.DRIFT, "hour", Verdict.PASS, "").check
        'drift(hour)'
        """
        if self.kind is MeasurementKind.CHECK:
            return self.subject
        return f"{self.kind}({self.subject})"

    @property
    def alarms(self) -> bool:
        return self.kind is not MeasurementKind.MODEL

    def to_json(self) -> dict[str, Any]:
        plain = {**self.__dict__, "kind": str(self.kind), "verdict": str(self.verdict)}
        return plain | {"detail": dict(self.detail)}


def say_estimate(estimate: Estimate, unit: str = "days") -> str:
    """To the digit that the interval can tell.

    >>> say_estimate(Estimate(0.7132, 0.6911, 0.7304, 29327, 31))
    '0.713 [0.691, 0.730] (29,327 rows, 31 days)'
    >>> say_estimate(Estimate(12.345, None, None, 900, 4))
    '12.3 (900 rows, 4 days: no interval, 10 are needed)'
    """
    if estimate.value is None:
        return f"not defined ({estimate.n_rows:,} rows)"
    n = f"{estimate.n_rows:,} rows, {estimate.n_blocks} {unit}"
    if estimate.low is None or estimate.high is None:
        few = f", {MIN_BLOCKS} are needed" if estimate.n_blocks < MIN_BLOCKS else ""
        return f"{estimate.value:.3g} ({n}: no interval{few})"
    return f"{say_interval(estimate.value, estimate.low, estimate.high)} ({n})"


def say_number(value: float | None) -> str:
    """
    >>> say_number(13.2431), say_number(5.0), say_number(1740.3), say_number(None)
    ('13.2', '5', '1740', 'none')
    """
    if value is None:
        return "none"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
