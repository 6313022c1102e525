"""Evaluate predictions against the truth and decide the checks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.evaluate.baselines import Baseline, Rule
from seamline.evaluate.join import JoinCounts, Joined, compare_rows, join_predictions
from seamline.evaluate.score import Expected, score_rows
from seamline.evaluate.spec import EvaluationSpec
from seamline.evaluate.wording import say_difference, say_metric
from seamline.measure.evaluation.check_rules import CheckResult
from seamline.measure.evaluation.deciding import decide_check
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.vocabulary import Rival, Task
from seamline.measure.wording import block_word

#: Worst first: an evaluation is as good as its worst check.
WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
#: What is said when no check names a metric.
HEADLINES = {
    Task.BINARY: ("auc", "f1", "brier"),
    Task.MULTICLASS: ("accuracy", "macro_f1", "log_loss"),
    Task.REGRESSION: ("mae", "bias"),
    Task.RANKING: ("ndcg@10", "mrr"),
    Task.FORECASTING: ("mase", "wape", "bias"),
}


@dataclass(frozen=True)
class EvaluationResult:
    """`against` holds the checks against the incumbent; none were decided without one."""

    scorecard: Scorecard
    checks: tuple[CheckResult, ...]
    against: tuple[CheckResult, ...]
    verdict: Verdict
    counts: JoinCounts
    sentences: tuple[str, ...]


def evaluate_predictions(
    predictions: pl.DataFrame,
    truth: pl.DataFrame,
    spec: EvaluationSpec,
    *,
    incumbent_predictions: pl.DataFrame | None = None,
    baseline: Baseline | Rule | None = None,
) -> EvaluationResult:
    """Raises InvalidInput when candidate and incumbent did not predict the same rows."""
    joined = join_predictions(predictions, truth, spec)
    incumbent = None
    if incumbent_predictions is not None:
        incumbent = _join_incumbent(predictions, incumbent_predictions, truth, spec)
    expected, n_unseen = _expect(joined, baseline)
    card = score_rows(joined, spec, incumbent, expected)
    checks = tuple(decide_check(check, card) for check in spec.parsed_checks)
    asked = () if incumbent is None else spec.parsed_against
    against = tuple(decide_check(check, card) for check in asked)
    sentences = (*_say_metrics(card, spec), *_say_results(spec, checks, against, incumbent))
    if baseline is not None and card.rivals.get(Rival.BASELINE):
        sentences += (baseline.describe(card.n_rows, n_unseen),)
    return EvaluationResult(
        scorecard=card,
        checks=checks,
        against=against,
        verdict=decide_verdict(result.verdict for result in (*checks, *against)),
        counts=joined.counts,
        sentences=(*sentences, *_say_counts(joined.counts)),
    )


def _expect(joined: Joined, baseline: Baseline | Rule | None) -> tuple[Expected, int]:
    """What the baseline says of the rows, and of how many it has not seen the like."""
    if baseline is None:
        return Expected(), 0
    shares = baseline.shares if isinstance(baseline, Baseline) else None
    if joined.task is Task.MULTICLASS:
        return Expected(shares=shares), 0
    if joined.task is Task.RANKING and isinstance(baseline, Baseline):
        return Expected(), 0  # one mean for all ranks nothing
    values, n_unseen = baseline.predict(joined.frame)
    scale = baseline.scale_of(joined.frame) if isinstance(baseline, Baseline) else None
    return Expected(values, scale=scale), n_unseen


def decide_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst: error, fail, inconclusive, pass. Nothing was asked: pass.

    >>> decide_verdict([Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE])
    <Verdict.FAIL: 'fail'>
    >>> decide_verdict([])
    <Verdict.PASS: 'pass'>
    """
    found = set(verdicts)
    return next((one for one in WORST_FIRST if one in found), Verdict.PASS)


def _join_incumbent(
    ours: pl.DataFrame, theirs: pl.DataFrame, truth: pl.DataFrame, spec: EvaluationSpec
) -> Joined:
    """Both joins are ordered by key, so that equal key sets are equal rows."""
    joined = join_predictions(theirs, truth, spec)
    apart = compare_rows(ours, theirs, spec.keys)
    if apart:
        raise InvalidInput(
            "Candidate and incumbent did not predict the same rows: "
            f"{apart['only_candidate']:,} only by the candidate, "
            f"{apart['only_incumbent']:,} only by the incumbent, e.g. {apart['examples']}.",
            next_step="Run the prediction pipeline of both on the same data version.",
            **apart,
        )
    return joined


def headline_metrics(card: Scorecard, spec: EvaluationSpec) -> list[str]:
    """The metrics that the checks name, in their order; else the usual ones."""
    named = [check.metric for check in (*spec.parsed_checks, *spec.parsed_against)]
    return [m for m in dict.fromkeys(named or HEADLINES[card.task]) if m in card.overall]


def _say_metrics(card: Scorecard, spec: EvaluationSpec) -> list[str]:
    unit = block_word(card.first_block)
    said = []
    for metric in headline_metrics(card, spec):
        said.append(say_metric(metric, card.overall[metric], unit))
        said += [
            say_difference(metric, found[metric], rival)
            for rival in Rival
            if (found := card.differences.get(rival))
            and metric in found
            and found[metric].value is not None
        ]
    return said


def _say_results(
    spec: EvaluationSpec,
    checks: Iterable[CheckResult],
    against: Iterable[CheckResult],
    incumbent: Joined | None,
) -> list[str]:
    said = [f"check {result.sentence}" for result in (*checks, *against)]
    if spec.against and incumbent is None:
        said.append(f"not compared with an incumbent: {', '.join(spec.against)} not decided")
    return said or ["no checks are declared"]


def _say_counts(counts: JoinCounts) -> list[str]:
    said = []
    if counts.no_truth:
        said.append(f"{counts.no_truth:,} of {counts.predictions:,} predictions have no truth yet")
    if counts.no_label:
        said.append(f"{counts.no_label:,} rows have no label and are left out")
    if counts.not_predicted:
        said.append(f"{counts.not_predicted:,} labelled rows of these days were not predicted")
    return said
