"""Decide a check on a scorecard: on the interval's bound, never on the point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from seamline.domain.errors import nearest
from seamline.domain.states import Verdict
from seamline.measure.evaluation.checks import Check, Over
from seamline.measure.evaluation.estimates import MIN_BLOCKS, Estimate
from seamline.measure.evaluation.scorecard import Estimates, Scorecard
from seamline.measure.evaluation.vocabulary import base_of


@dataclass(frozen=True)
class CheckResult:
    """`value`, `low` and `high` are of the quantity that the check names; `n` counts rows.

    `alpha`: how likely this check fails a model that lies exactly at the limit, at most (over all
    slices together). `failing`: the slices that break the limit, the surest first.
    """

    check: Check
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    n: int
    sentence: str
    alpha: float | None = None
    n_slices: int = 0
    failing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        plain = {**self.__dict__, "check": self.check.text, "failing": list(self.failing)}
        own = {name: one for name, one in self.check.to_json().items() if name != "text"}
        return {**plain, "verdict": str(self.verdict), **own}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CheckResult:
        plain = {name: value for name, value in data.items() if name != "own"}
        check = Check.from_json({"text": data["check"], "own": data.get("own")})
        failing = tuple(data.get("failing", ()))
        return cls(
            **{**plain, "check": check, "verdict": Verdict(data["verdict"]), "failing": failing}
        )


def decide_interval(check: Check, estimate: Estimate) -> Verdict:
    """Pass when both bounds keep the limit, fail when both break it, else inconclusive.

    >>> from seamline.measure.evaluation.checks import parse_check
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

    >>> from seamline.measure.evaluation.checks import parse_check
    >>> transform(parse_check("bias.abs <= 5"), Estimate(-1.0, -3.0, 2.0, 900, 31)).high
    3.0
    """
    estimate = turn(check, estimate)
    return fold(estimate) if check.absolute else estimate


def turn(check: Check, estimate: Estimate) -> Estimate:
    """A drop is a loss: positive where the candidate is worse."""
    if not (check.as_drop and check.higher_is_better):
        return estimate
    low, high = _minus(estimate.high), _minus(estimate.low)
    return replace(estimate, value=_minus(estimate.value), low=low, high=high)


def _minus(value: float | None) -> float | None:
    return None if value is None else 0.0 - value


def fold(estimate: Estimate) -> Estimate:
    """The distance from zero."""
    if estimate.value is None:
        return estimate
    estimate = replace(estimate, value=abs(estimate.value))
    if estimate.low is None or estimate.high is None:
        return estimate
    ends = sorted((abs(estimate.low), abs(estimate.high)))
    inner = 0.0 if estimate.low <= 0 <= estimate.high else ends[0]
    return replace(estimate, low=inner, high=ends[1])


def alpha_of(check: Check, confidence: float) -> float:
    """The false alarms that a check states: one tail, or both where it asks for a distance.

    >>> from seamline.measure.evaluation.checks import parse_check
    >>> round(alpha_of(parse_check("auc >= 0.7"), 0.95), 3)
    0.025
    """
    return (1 - confidence) if check.absolute else (1 - confidence) / 2


def find_estimates(check: Check, card: Scorecard) -> Estimates | str:
    """The estimates by metric that a check on no or one slice chooses from, or why there are
    none."""
    if check.rival is not None and check.rival not in card.differences:
        return f"the evaluation had no {check.rival} to compare with"
    if check.over is not Over.ONE:
        return card.overall if check.rival is None else card.differences[check.rival]
    column, value = str(check.slice), str(check.slice_value)
    sliced = card.slices if check.rival is None else card.slice_differences.get(check.rival, {})
    if column not in sliced:
        return no_slice(column, sliced)
    if value not in sliced[column]:
        return f"no row has {column}={value}. {nearest(value, sliced[column])}"
    return sliced[column][value]


def no_slice(column: str, known: Mapping[str, Any]) -> str:
    return f"there is no slice column {column!r}. {nearest(column, known)}"


def no_metric(check: Check, card: Scorecard) -> str:
    base, _, at = check.metric.partition("@")
    if at and any(base_of(one) == base for one in card.overall):
        return (
            f"what was counted was not cut at {at}: evaluate with {check.metric} among the checks, "
            "which reads the rows"
        )
    return f"a {card.task} evaluation has no {check.metric}. {nearest(check.metric, card.overall)}"


def say_why(check: Check, estimate: Estimate, corrected: str = "") -> str:
    if estimate.value is None:
        return f"{check.metric} is not defined here (n {estimate.n_rows:,})"
    if not estimate.is_conclusive:
        few = (
            "too few blocks"
            if estimate.n_blocks < MIN_BLOCKS
            else "too few rows, or in too few blocks"
        )
        return f"{estimate} has no interval: {few}; {MIN_BLOCKS} blocks are needed"
    verdict = decide_interval(check, estimate)
    side = {
        Verdict.PASS: "keeps",
        Verdict.FAIL: "breaks",
        Verdict.INCONCLUSIVE: "has inside it",
    }[verdict]
    level = f"{estimate.confidence:.0%}"
    return f"{estimate}: the {level} interval{corrected} {side} the limit {check.limit:g}"


def make_result(
    check: Check, verdict: Verdict, estimate: Estimate, why: str, **more: Any
) -> CheckResult:
    sentence = f"{check.text}: {verdict}; {why}."
    bounds = (estimate.value, estimate.low, estimate.high)
    alpha = alpha_of(check, estimate.confidence)
    return CheckResult(check, verdict, *bounds, estimate.n_rows, sentence, alpha, **more)


def make_error(check: Check, why: str) -> CheckResult:
    sentence = f"{check.text}: error; {why if why.endswith(('.', '?')) else f'{why}.'}"
    return CheckResult(check, Verdict.ERROR, None, None, None, 0, sentence)
