"""Whether the candidate replaces the incumbent, in words and numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seamline.domain.states import Verdict
from seamline.measure.evaluation.check_rules import CheckResult
from seamline.measure.wording import say_interval
from seamline.retrain.phases import RetrainingPhase

#: Slices that a sentence names.
_NAMED = 5


@dataclass(frozen=True)
class Comparison:
    """Who was compared on what: `data` in words ("November"), `unit` of the label ("min")."""

    model: str
    candidate: str
    incumbent: str
    data: str
    unit: str = ""


@dataclass(frozen=True)
class Outcome:
    phase: RetrainingPhase
    sentence: str


def decide_outcome(results: Sequence[CheckResult], compared: Comparison) -> Outcome:
    """Released when every check against the incumbent holds on its bound. Failed or inconclusive
    checks, or none at all, keep the incumbent; a check in error decides nothing.

    >>> from seamline.measure.evaluation.checks import parse_check
    >>> check = parse_check("mae.drop_vs(incumbent) <= 0")
    >>> hurt = CheckResult(check, Verdict.FAIL, 2.81, 2.2, 3.41, 26971, "")
    >>> print(decide_outcome([hurt], Comparison("air-time", "1.0.1", "1.0.0", "November", "min")))
    ... # doctest: +NORMALIZE_WHITESPACE
    Outcome(phase=<RetrainingPhase.KEPT: 'kept'>, sentence='air-time 1.0.1 would hurt: mae
    +2.8 min [+2.2, +3.4] against 1.0.0 on 26,971 rows of November; 1.0.0 stays')
    """
    name = f"{compared.model} {compared.candidate}"
    stays = f"; {compared.incumbent} stays"
    verdicts = {result.verdict for result in results}
    if not results:
        return Outcome(
            RetrainingPhase.KEPT,
            f"{name} was not compared: no check against the incumbent is declared{stays}",
        )
    if Verdict.ERROR in verdicts:
        wrong = [result.sentence for result in results if result.verdict is Verdict.ERROR]
        return Outcome(
            RetrainingPhase.ERRORED, f"{name} cannot be compared: {'; '.join(wrong)}{stays}"
        )
    if verdicts == {Verdict.PASS}:
        word = "is better" if any(_direction(r) > 0 for r in results) else "keeps its checks"
        return Outcome(RetrainingPhase.RELEASED, f"{name} {word}: {_say_all(results, compared)}")
    failed = [r for r in results if r.verdict is Verdict.FAIL]
    against = failed or [r for r in results if r.verdict is Verdict.INCONCLUSIVE]
    if any(_direction(r) < 0 for r in failed):
        word = "would hurt"
    else:
        word = "is not better by enough" if failed else "is not clearly better"
    text = f"{name} {word}: {_say_all(against, compared)}{stays}"
    return Outcome(RetrainingPhase.KEPT, text)


def _say_all(results: Sequence[CheckResult], compared: Comparison) -> str:
    said = ", ".join(_say(result, compared.unit) for result in results)
    n_rows = max(result.n for result in results)
    return f"{said} against {compared.incumbent} on {n_rows:,} rows of {compared.data}"


def _difference(result: CheckResult) -> tuple[float | None, float | None, float | None]:
    """Candidate minus incumbent, whichever way round the check asks."""
    bounds = (result.value, result.low, result.high)
    if result.check.as_drop and result.check.higher_is_better:
        value, high, low = (None if x is None else 0.0 - x for x in bounds)
        return value, low, high
    return bounds


def _direction(result: CheckResult) -> int:
    """1 when the whole interval says better, -1 when it says worse, else 0."""
    higher = result.check.higher_is_better
    _, low, high = _difference(result)
    if higher is None or low is None or high is None or result.check.absolute:
        return 0
    sign = 1 if low > 0 else -1 if high < 0 else 0
    return sign if higher else -sign


def _say(result: CheckResult, unit: str) -> str:
    """
    >>> from seamline.measure.evaluation.checks import parse_check
    >>> check = parse_check("auc.drop_vs(incumbent) <= 0")
    >>> _say(CheckResult(check, Verdict.PASS, -0.031, -0.042, -0.02, 900, ""), "min")
    'auc +0.031 [+0.020, +0.042]'
    """
    value, low, high = _difference(result)
    name = result.check.metric + _where(result)
    # Only errors are in the unit of the label.
    shown = f" {unit}" if unit and result.check.metric in ("mae", "rmse", "bias") else ""
    if value is None:
        return f"{name} not defined"
    if low is None or high is None:
        return f"{name} {value:+.3g}{shown} (no interval: too few days)"
    shown = say_interval(value, low, high, signed=True, unit=shown.strip())
    return f"{name} {shown}"


def _where(result: CheckResult) -> str:
    """The slices that a check is about: those that break it, where any do."""
    check = result.check
    if check.slice is None:
        return ""
    if check.slice_value is not None:
        return f" at {check.slice} {check.slice_value}"
    failing = ", ".join(result.failing[:_NAMED]) + ", …" * (len(result.failing) > _NAMED)
    return f" by {check.slice}" + (f" ({failing})" if failing else "")
