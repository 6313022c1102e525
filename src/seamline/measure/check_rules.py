"""Decide a check on a scorecard: on the interval's bound, never on the point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

from seamline.domain.errors import nearest
from seamline.domain.states import Verdict
from seamline.measure.blocks import MIN_BLOCKS, Estimate
from seamline.measure.checks import Check
from seamline.measure.scorecard import Scorecard
from seamline.measure.vocabulary import HIGHER_IS_BETTER


@dataclass(frozen=True)
class CheckResult:
    """`value`, `low` and `high` are of the quantity that the check names; `n` counts rows."""

    check: Check
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    n: int
    sentence: str

    def to_json(self) -> dict[str, Any]:
        plain = {**self.__dict__, "check": self.check.text}
        return {**plain, "verdict": str(self.verdict)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CheckResult:
        check, verdict = Check.from_json({"text": data["check"]}), Verdict(data["verdict"])
        return cls(**{**data, "check": check, "verdict": verdict})


def decide_check(check: Check, card: Scorecard) -> CheckResult:
    """
    >>> from seamline.measure.checks import parse_check
    >>> print(decide_interval(parse_check("auc >= 0.7"), Estimate(0.73, 0.71, 0.75, 900, 31)))
    pass
    """
    if check.slice is not None:
        return _decide_slices(check, card)
    source = card.overall if check.rival is None else card.differences.get(check.rival)
    if source is None:
        return _error(check, f"the evaluation had no {check.rival} to compare with")
    if check.metric not in source:
        return _error(check, _no_metric(check, card))
    estimate = transform(check, source[check.metric])
    return _result(check, decide_interval(check, estimate), estimate, _why(check, estimate))


def decide_interval(check: Check, estimate: Estimate) -> Verdict:
    """Pass when both bounds keep the limit, fail when both break it, else inconclusive.

    >>> from seamline.measure.checks import parse_check
    >>> check = parse_check("mae <= 10")
    >>> [str(decide_interval(check, Estimate(9.5, low, high, 900, 31)))
    ...  for low, high in ((9.0, 9.9), (9.0, 10.5), (10.2, 10.5), (None, None))]
    ['pass', 'inconclusive', 'fail', 'inconclusive']
    """
    if estimate.low is None or estimate.high is None:
        return Verdict.INCONCLUSIVE
    kept = [check.compare.holds(bound, check.limit) for bound in (estimate.low, estimate.high)]
    if all(kept):
        return Verdict.PASS
    return Verdict.INCONCLUSIVE if any(kept) else Verdict.FAIL


def transform(check: Check, estimate: Estimate) -> Estimate:
    """The estimate of what the check names: turned round for a drop, folded at zero for abs.

    >>> from seamline.measure.checks import parse_check
    >>> transform(parse_check("bias.abs <= 5"), Estimate(-1.0, -3.0, 2.0, 900, 31)).high
    3.0
    """
    if check.as_drop and HIGHER_IS_BETTER[check.metric]:
        low, high = _minus(estimate.high), _minus(estimate.low)
        estimate = replace(estimate, value=_minus(estimate.value), low=low, high=high)
    if not check.absolute or estimate.value is None:
        return estimate
    estimate = replace(estimate, value=abs(estimate.value))
    if estimate.low is None or estimate.high is None:
        return estimate
    ends = sorted((abs(estimate.low), abs(estimate.high)))
    inner = 0.0 if estimate.low <= 0 <= estimate.high else ends[0]
    return replace(estimate, low=inner, high=ends[1])


def _minus(value: float | None) -> float | None:
    return None if value is None else 0.0 - value


def _decide_slices(check: Check, card: Scorecard) -> CheckResult:
    """Every slice with an interval is asked, at a confidence for all of them together."""
    column = str(check.slice)
    if column not in card.slices:
        return _error(check, f"there is no slice column {column!r}. {nearest(column, card.slices)}")
    if check.metric not in card.overall:
        return _error(check, _no_metric(check, card))
    found = {v: transform(check, m[check.metric]) for v, m in card.slices[column].items()}
    clear = {v: estimate for v, estimate in found.items() if estimate.is_conclusive}
    if not clear:
        few = f"no slice of {column} has {card.min_rows} rows in {MIN_BLOCKS} blocks"
        most = max(found.values(), key=lambda estimate: estimate.n_rows)
        unclear = replace(most, value=None, low=None, high=None)
        return _result(check, Verdict.INCONCLUSIVE, unclear, few)
    joint = {value: widen(estimate, len(clear)) for value, estimate in clear.items()}
    verdicts = {value: decide_interval(check, estimate) for value, estimate in joint.items()}
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    sign = 1.0 if check.compare.wants_more else -1.0
    worst = min(joint, key=lambda v: (order.index(verdicts[v]), sign * (joint[v].value or 0.0)))
    why = f"worst slice {column}={worst}: {_why(check, joint[worst])}"
    if len(clear) < len(found):
        why += f"; {len(found) - len(clear)} of {len(found)} slices have too few rows to judge"
    return _result(check, verdicts[worst], joint[worst], why)


def widen(estimate: Estimate, n_intervals: int) -> Estimate:
    """The interval at a confidence that holds for `n_intervals` together (Bonferroni): each side
    is stretched by the ratio of the two normal quantiles.

    >>> widen(Estimate(0.7, 0.6, 0.8, 900, 31), 24).low < 0.6
    True
    """
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate
    tail = (1 - estimate.confidence) / 2
    normal = NormalDist()
    ratio = normal.inv_cdf(tail / n_intervals) / normal.inv_cdf(tail)
    low = estimate.value - ratio * (estimate.value - estimate.low)
    high = estimate.value + ratio * (estimate.high - estimate.value)
    return replace(estimate, low=low, high=high)


def _why(check: Check, estimate: Estimate) -> str:
    if estimate.value is None:
        return f"{check.metric} is not defined here (n {estimate.n_rows:,})"
    if not estimate.is_conclusive:
        few = "too few blocks" if estimate.n_blocks < MIN_BLOCKS else "too few rows"
        return f"{estimate} has no interval: {few}; {MIN_BLOCKS} blocks are needed"
    verdict = decide_interval(check, estimate)
    side = {
        Verdict.PASS: "keeps",
        Verdict.FAIL: "breaks",
        Verdict.INCONCLUSIVE: "has inside it",
    }[verdict]
    level = f"{estimate.confidence:.0%}"
    return f"{estimate}: the {level} interval {side} the limit {check.limit:g}"


def _no_metric(check: Check, card: Scorecard) -> str:
    known = nearest(check.metric, card.overall)
    return f"a {card.task} evaluation has no {check.metric}. {known}"


def _result(check: Check, verdict: Verdict, estimate: Estimate, why: str) -> CheckResult:
    sentence = f"{check.text}: {verdict}; {why}."
    bounds = (estimate.value, estimate.low, estimate.high)
    return CheckResult(check, verdict, *bounds, estimate.n_rows, sentence)


def _error(check: Check, why: str) -> CheckResult:
    sentence = f"{check.text}: error; {why.removesuffix('.')}."
    return CheckResult(check, Verdict.ERROR, None, None, None, 0, sentence)
