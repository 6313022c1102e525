"""Back-tests: the same judgement over one window of time after another. Pure.

Each window is judged on its own rows; the checks are decided on the rows of all windows together,
where days are many enough for an interval. A window that cannot be judged is an errored window:
the rest stands, and the whole is not proved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.evaluate.baselines import Baseline, Rule
from seamline.evaluate.evaluate import (
    EvaluationResult,
    decide_verdict,
    evaluate_predictions,
    headline_metrics,
)
from seamline.evaluate.spec import EvaluationSpec
from seamline.evaluate.wording import say_value
from seamline.measure.evaluation.estimates import MIN_BLOCKS, Estimate
from seamline.measure.evaluation.intervals import at_tail
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.vocabulary import HIGHER_IS_BETTER, Rival, base_of

INCUMBENT = str(Rival.INCUMBENT)


class Outcome(StrEnum):
    """How the candidate did in a window, by the whole interval of its difference."""

    WON = "won"
    LOST = "lost"
    EVEN = "even"
    #: No interval, or nobody to compare with.
    UNDECIDED = "undecided"
    ERRORED = "errored"


@dataclass(frozen=True)
class WindowRows:
    """What was predicted in a window by `version` (and by the incumbent); or why nothing was."""

    label: str
    version: str
    predictions: pl.DataFrame | None = None
    incumbent: pl.DataFrame | None = None
    error: str = ""


@dataclass(frozen=True)
class WindowResult:
    label: str
    version: str
    outcome: Outcome
    card: Scorecard | None
    sentence: str

    def to_json(self, metrics: Sequence[str]) -> dict[str, Any]:
        """Estimates of these metrics only."""
        card = self.card
        found: dict[str, Any] = {}
        for metric in metrics if card is not None else ():
            assert card is not None
            rival = card.rivals.get(INCUMBENT, {}).get(metric)
            difference = card.differences.get(INCUMBENT, {}).get(metric)
            found[metric] = {
                "candidate": card.overall[metric].to_json(),
                "incumbent": None if rival is None else rival.to_json(),
                "difference": None if difference is None else difference.to_json(),
            }
        return {
            "window": self.label,
            "version": self.version,
            "outcome": str(self.outcome),
            "sentence": self.sentence,
            "n_rows": 0 if card is None else card.n_rows,
            "metrics": found,
        }


@dataclass(frozen=True)
class BacktestResult:
    """`whole`: the rows of all windows that could be judged, together; None where none could."""

    metric: str
    windows: tuple[WindowResult, ...]
    whole: EvaluationResult | None
    trends: dict[str, Estimate]
    verdict: Verdict
    sentences: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.trends)

    def count(self, outcome: Outcome) -> int:
        return sum(one.outcome is outcome for one in self.windows)


def judge_windows(
    windows: Sequence[WindowRows],
    truth: pl.DataFrame,
    spec: EvaluationSpec,
    *,
    metric: str | None = None,
    max_lost: int = 0,
    baseline: Baseline | Rule | None = None,
) -> BacktestResult:
    """`spec`'s checks are decided on all windows together. `metric`: by which windows are won and
    lost; without it the first that a check names, else the task's first."""
    plain = replace(spec, checks=(), against=(), slices=(), search=False)
    judged = [_judge(one, truth, plain, baseline, len(windows)) for one in windows]
    good = [one for one, made in zip(windows, judged, strict=True) if made.card is not None]
    whole = _judge_all(good, truth, spec, baseline)
    if whole is None:
        sentences = tuple(f"{one.label}: {one.sentence}" for one in judged)
        return BacktestResult(metric or "", tuple(judged), None, {}, Verdict.ERROR, sentences)
    names = headline_metrics(whole.scorecard, spec)
    chosen = metric or names[0]
    if chosen not in whole.scorecard.overall:
        raise InvalidInput(
            f"The back-test has no metric {chosen!r}.",
            next_step=f"Name one of: {', '.join(whole.scorecard.overall)}.",
        )
    decided = tuple(_decide(one, chosen, len(windows)) for one in judged)
    shown = list(dict.fromkeys([chosen, *names]))
    trends = {name: find_trend([one.card for one in decided], name) for name in shown}
    verdict = _verdict(decided, whole, max_lost)
    said = _say(decided, whole, chosen, trends, max_lost)
    return BacktestResult(chosen, decided, whole, trends, verdict, said)


def _judge(
    window: WindowRows,
    truth: pl.DataFrame,
    spec: EvaluationSpec,
    baseline: Baseline | Rule | None,
    n_windows: int,
) -> WindowResult:
    if window.predictions is None:
        return WindowResult(window.label, window.version, Outcome.ERRORED, None, window.error)
    try:
        found = evaluate_predictions(
            window.predictions,
            truth,
            spec,
            incumbent_predictions=window.incumbent,
            baseline=baseline,
        )
    except InvalidInput as error:
        return WindowResult(window.label, window.version, Outcome.ERRORED, None, str(error))
    return WindowResult(window.label, window.version, Outcome.UNDECIDED, found.scorecard, "")


def _judge_all(
    windows: Sequence[WindowRows],
    truth: pl.DataFrame,
    spec: EvaluationSpec,
    baseline: Baseline | Rule | None,
) -> EvaluationResult | None:
    ours = [one.predictions for one in windows if one.predictions is not None]
    if not ours:
        return None
    theirs = [one.incumbent for one in windows if one.incumbent is not None]
    has_rival = len(theirs) == len(ours)
    return evaluate_predictions(
        pl.concat(ours),
        truth,
        spec if has_rival else replace(spec, against=()),
        incumbent_predictions=pl.concat(theirs) if has_rival else None,
        baseline=baseline,
    )


def _decide(window: WindowResult, metric: str, n_windows: int) -> WindowResult:
    if window.card is None:
        return window
    difference = window.card.differences.get(INCUMBENT, {}).get(metric)
    if difference is None:
        return replace(window, sentence=f"{metric} {say_value(window.card.overall[metric])}")
    outcome = decide_outcome(difference, HIGHER_IS_BETTER.get(base_of(metric)), n_windows)
    said = f"{metric} {say_value(difference, signed=True)} against the incumbent"
    return replace(window, outcome=outcome, sentence=said)


def decide_outcome(difference: Estimate, higher_is_better: bool | None, n_windows: int) -> Outcome:
    """By the interval that holds for all windows together (Bonferroni).

    >>> clear = Estimate(0.05, 0.04, 0.06, 900, 31)
    >>> str(decide_outcome(clear, True, 6)), str(decide_outcome(clear, False, 6))
    ('won', 'lost')
    >>> str(decide_outcome(Estimate(0.05, None, None, 900, 7), True, 6))
    'undecided'
    """
    if not difference.is_conclusive or higher_is_better is None:
        return Outcome.UNDECIDED
    joint = at_tail(difference, (1 - difference.confidence) / 2 / max(n_windows, 1))
    assert joint.low is not None and joint.high is not None
    if joint.low <= 0 <= joint.high:
        return Outcome.EVEN
    return Outcome.WON if (joint.low > 0) is higher_is_better else Outcome.LOST


def find_trend(cards: Sequence[Scorecard | None], metric: str) -> Estimate:
    """By how much the metric changes from window to window: the least-squares slope, whose
    interval comes from the windows' own (windows hold different days, so they are independent).

    Without an interval in each of at least three windows it has none.
    """
    points = [
        (float(n), card.overall[metric])
        for n, card in enumerate(cards)
        if card is not None and card.overall[metric].value is not None
    ]
    rows = sum(estimate.n_rows for _, estimate in points)
    blocks = sum(estimate.n_blocks for _, estimate in points)
    if len(points) < 2:
        return Estimate(None, None, None, rows, blocks)
    middle = sum(at for at, _ in points) / len(points)
    spread = sum((at - middle) ** 2 for at, _ in points)
    slope = sum((at - middle) * float(e.value or 0.0) for at, e in points) / spread
    halves = [(e.high - e.low) / 2 for _, e in points if e.low is not None and e.high is not None]
    if len(halves) < len(points) or len(points) < 3:
        return Estimate(slope, None, None, rows, blocks)
    shares = ((at - middle) / spread for at, _ in points)
    half = math.sqrt(sum((one * half) ** 2 for one, half in zip(shares, halves, strict=True)))
    return Estimate(slope, slope - half, slope + half, rows, blocks)


def _verdict(windows: Sequence[WindowResult], whole: EvaluationResult, max_lost: int) -> Verdict:
    found = [whole.verdict]
    if sum(one.outcome is Outcome.LOST for one in windows) > max_lost:
        found.append(Verdict.FAIL)
    if any(one.outcome is Outcome.ERRORED for one in windows):
        found.append(Verdict.INCONCLUSIVE)
    return decide_verdict(found)


def _say(
    windows: Sequence[WindowResult],
    whole: EvaluationResult,
    metric: str,
    trends: dict[str, Estimate],
    max_lost: int,
) -> tuple[str, ...]:
    counts = {one: sum(window.outcome is one for window in windows) for one in Outcome}
    told = ", ".join(f"{n} {outcome}" for outcome, n in counts.items() if n)
    said = [f"{len(windows)} windows by {metric}: {told}"]
    if counts[Outcome.LOST] > max_lost:
        names = ", ".join(one.label for one in windows if one.outcome is Outcome.LOST)
        said.append(f"worse than the incumbent in {names}; {max_lost} of the kind are admitted")
    short = sum(_is_short(one, metric) for one in windows)
    if short:
        said.append(f"a window takes {MIN_BLOCKS} blocks to be won or lost; {short} have fewer")
    trend = trends[metric]
    if trend.value is not None:
        said.append(f"{metric} changes by {say_value(trend, signed=True)} per window")
    errored = [one for one in windows if one.outcome is Outcome.ERRORED]
    said += [f"{one.label} is errored: {one.sentence}" for one in errored]
    return (*said, *whole.sentences)


def _is_short(window: WindowResult, metric: str) -> bool:
    """Of those with an incumbent."""
    apart = {} if window.card is None else window.card.differences.get(INCUMBENT, {})
    return metric in apart and apart[metric].n_blocks < MIN_BLOCKS
