"""The predictions of a window against those of the reference days. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import polars as pl

from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import Verdict
from seamline.measure.drift import COLLAPSED_ROWS
from seamline.measure.evaluation.estimates import MIN_BLOCKS
from seamline.monitor.days import MIN_RUN, Run, chance_of_run, find_run
from seamline.monitor.drift import is_alarming
from seamline.monitor.measurement import Measurement, MeasurementKind, say_number

#: Standard deviations of day means beyond which one day alone is an alarm.
EXTREME = 4.0


@dataclass(frozen=True)
class OutputDay:
    """One day's predictions: additive counts and sums. `n_over` counts those at or above the
    threshold, or stays 0 without one."""

    n: int
    n_over: int
    total: float
    low: float
    high: float

    @property
    def mean(self) -> float:
        return self.total / self.n

    @property
    def share_over(self) -> float:
        return self.n_over / self.n

    def __add__(self, other: OutputDay) -> OutputDay:
        return OutputDay(
            self.n + other.n,
            self.n_over + other.n_over,
            self.total + other.total,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OutputDay:
        return cls(**data)


@dataclass(frozen=True)
class OutputSpec:
    """`positive`: what a prediction at or above the threshold says ("late")."""

    prediction: str
    threshold: float | None = None
    positive: str = "positive"
    block: str = "ds"


def profile_outputs(frame: pl.DataFrame, spec: OutputSpec) -> dict[str, OutputDay]:
    """Per day, of finite predictions.

    >>> frame = pl.DataFrame({"ds": ["d1", "d1", "d2"], "score": [0.2, 0.6, 0.1]})
    >>> days = profile_outputs(frame, OutputSpec("score", 0.5))
    >>> days["d1"].mean, days["d1"].share_over
    (0.4, 0.5)
    """
    for name in (spec.prediction, spec.block):
        if name not in frame.columns:
            raise InvalidInput(
                f"The predictions have no column {name!r}.", next_step=nearest(name, frame.columns)
            )
    value = pl.col("value")
    rows = frame.select(
        pl.col(spec.block).cast(pl.String).alias("day"),
        pl.col(spec.prediction).cast(pl.Float64).alias("value"),
    ).filter(value.is_finite() & pl.col("day").is_not_null())
    over = (value >= spec.threshold).sum() if spec.threshold is not None else pl.lit(0)
    found = rows.group_by("day").agg(
        pl.len().alias("n"),
        over.cast(pl.Int64).alias("n_over"),
        value.sum().alias("total"),
        value.min().alias("low"),
        value.max().alias("high"),
    )
    return {row.pop("day"): OutputDay(**row) for row in found.sort("day").to_dicts()}


def measure_outputs(
    served: pl.DataFrame, reference: Mapping[str, OutputDay], spec: OutputSpec
) -> Measurement:
    """A day differs when its mean lies outside of the reference days' range, or when it collapsed:
    one value only, or no positive, which no reference day shows. The verdict is *fail* when the
    window's last three days, or more, all differ. A shorter window has to be extreme: collapsed,
    or more than four standard deviations of the reference days' means away."""
    days = profile_outputs(served, spec)
    usual = {day: one for day, one in reference.items() if one.n >= COLLAPSED_ROWS}
    if len(usual) < MIN_BLOCKS or not days:
        why = (
            f"{len(usual)} reference days, {MIN_BLOCKS} are needed"
            if days
            else "no predictions in this window"
        )
        return Measurement(
            MeasurementKind.OUTPUT,
            spec.prediction,
            Verdict.INCONCLUSIVE,
            f"{spec.prediction}: {why}",
        )
    judged = [(day, _differs(days[day], usual)) for day in sorted(days)]
    run = find_run(judged)
    if len(days) < MIN_RUN:
        failed = all(_is_extreme(one, usual) for one in days.values())
    else:
        failed = is_alarming(run, len(days))
    p_value = 0.0 if failed else 1.0
    if not failed:
        run = None
    elif run is not None and len(days) >= MIN_RUN:
        p_value = chance_of_run(run.n_days, len(usual), sides=2)
    now = _sum([days[day] for day in days if run is None or run.first <= day <= run.last])
    return Measurement(
        MeasurementKind.OUTPUT,
        spec.prediction,
        Verdict.FAIL if failed else Verdict.PASS,
        say_outputs(spec, now, usual, run),
        value=now.mean,
        n_rows=now.n,
        n_blocks=len(days),
        first_day=run.first if run is not None else None,
        detail={"days": {day: one.to_json() for day, one in days.items()}, "p_value": p_value},
    )


def _differs(day: OutputDay, usual: Mapping[str, OutputDay]) -> bool | None:
    if day.n < COLLAPSED_ROWS:
        return None
    means = [one.mean for one in usual.values()]
    return _has_collapsed(day, usual) or not min(means) <= day.mean <= max(means)


def _has_collapsed(day: OutputDay, usual: Mapping[str, OutputDay]) -> bool:
    """One value for all rows, or no positive where 20 were to be expected."""
    one_value = day.low == day.high and all(one.low != one.high for one in usual.values())
    expected = day.n * _sum(list(usual.values())).share_over
    none_over = day.n_over == 0 and all(one.n_over for one in usual.values())
    return one_value or (none_over and expected >= COLLAPSED_ROWS)


def _is_extreme(day: OutputDay, usual: Mapping[str, OutputDay]) -> bool:
    if day.n < COLLAPSED_ROWS:
        return False
    means = [one.mean for one in usual.values()]
    far = abs(day.mean - fmean(means)) > EXTREME * stdev(means)
    return _has_collapsed(day, usual) or (far and not min(means) <= day.mean <= max(means))


def _sum(days: list[OutputDay]) -> OutputDay:
    first, *rest = days
    for day in rest:
        first = first + day
    return first


def say_outputs(
    spec: OutputSpec, now: OutputDay, usual: Mapping[str, OutputDay], run: Run | None
) -> str:
    """
    >>> usual = {str(d): OutputDay(100, 21, 20.0 + d, 0.0, 1.0) for d in range(10)}
    >>> now = OutputDay(6712, 0, 134.24, 0.0, 0.4)
    >>> run = Run("2013-12-01", "2013-12-31", 31, True)
    >>> say_outputs(OutputSpec("score", 0.5, "late"), now, usual, run)
    'score: collapsed from 2013-12-01 on: mean 0.02 (was 0.245 [0.2, 0.29] over 10 days), \
0 of 6,712 rows predicted late (was 21 %)'
    """
    means = [one.mean for one in usual.values()]
    whole = _sum(list(usual.values()))
    between = f"[{say_number(min(means))}, {say_number(max(means))}] over {len(usual)} days"
    was = f"was {say_number(whole.mean)} {between}"
    start = f"{_say_change(now, whole, spec)} {run.say()}: " if run is not None else ""
    text = f"{spec.prediction}: {start}mean {say_number(now.mean)} ({was})"
    if spec.threshold is None:
        return text
    share = f"(was {100 * whole.share_over:.0f} %)"
    return f"{text}, {now.n_over:,} of {now.n:,} rows predicted {spec.positive} {share}"


def _say_change(now: OutputDay, whole: OutputDay, spec: OutputSpec) -> str:
    """Collapsed: one value for all rows, or no row predicted positive any more."""
    if now.low == now.high:
        return "collapsed to one value"
    if spec.threshold is not None and whole.n_over and not now.n_over:
        return "collapsed"
    return "lower" if now.mean < whole.mean else "higher"
