"""Performance of a window, once the truth has come (for a part of it, perhaps). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import Verdict
from seamline.measure.evaluation.check_rules import CheckResult
from seamline.measure.evaluation.checks import Check, parse_check
from seamline.measure.evaluation.deciding import decide_check
from seamline.measure.evaluation.evaluate import evaluate_binary, evaluate_regression
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.vocabulary import WORDS, Takes, Task, base_of
from seamline.measure.wording import block_word
from seamline.monitor.by_model import (
    MODEL,
    Breaking,
    find_breaking,
    measure_breaking,
    worst_slices,
)
from seamline.monitor.measurement import Measurement, MeasurementKind, say_estimate


@dataclass(frozen=True)
class PerformanceSpec:
    """Columns of the labelled frame: one row per prediction, `truth` null where none has come.

    `baseline`: a column, or one number, to compare with in checks of the form `vs(baseline)`.
    """

    kind: Task
    prediction: str
    truth: str
    checks: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    block: str = "ds"
    threshold: float = 0.5
    #: Why no one threshold holds for all rows: what needs one is inconclusive then.
    no_threshold: str = ""
    baseline: str | float | None = None


def measure_performance(served: pl.DataFrame, spec: PerformanceSpec) -> list[Measurement]:
    """Coverage, each metric with its slices, each check with its verdict.

    Rows without truth, or without a finite prediction, are counted and left out. What cannot be
    measured (scores that are no probabilities) makes the checks *error*, not *fail*.
    Raises InvalidInput when a column is not there.
    """
    _check_columns(served, spec)
    checks = [parse_check(text) for text in spec.checks]
    truth = served[spec.truth].cast(pl.Float64).fill_nan(None)
    known = served.with_columns(truth.alias(spec.truth)).filter(pl.col(spec.truth).is_not_null())
    finite = pl.col(spec.prediction).cast(pl.Float64).is_finite().fill_null(value=False)
    usable = known.filter(finite)
    found = [measure_coverage(served.height, known.height, usable.height)]
    if not usable.height:
        why = f"no row of {served.height:,} has both a prediction and its truth yet"
        return found + [_undecided(text, Verdict.INCONCLUSIVE, why) for text in spec.checks]
    try:
        card = _score(usable, spec)
    except InvalidInput as error:
        return found + [_undecided(text, Verdict.ERROR, str(error)) for text in spec.checks]
    models = set(usable[MODEL]) if MODEL in spec.slices else set()
    told = [check for check in checks if not needs_threshold(check, spec)]
    by_model = find_breaking(card, told, models)
    judged = [
        _undecided(check.text, Verdict.INCONCLUSIVE, spec.no_threshold)
        if needs_threshold(check, spec)
        else _check(decide_check(check, card), card, by_model.get(check.text))
        for check in checks
    ]
    return [*found, *_metrics(card, spec), *judged, *measure_breaking(by_model, card)]


def needs_threshold(asked: Check | str, spec: PerformanceSpec) -> bool:
    """Whether a metric, or a check's, cannot be told for want of one threshold."""
    metric = asked if isinstance(asked, str) else asked.metric
    word = WORDS.get(base_of(metric))
    takes = None if word is None else word.takes.get(spec.kind)
    return bool(spec.no_threshold) and takes is Takes.THRESHOLD and "@" not in metric


def measure_coverage(n_rows: int, n_known: int, n_usable: int) -> Measurement:
    """
    >>> measure_coverage(1000, 950, 950).sentence
    'truth has come for 950 of 1,000 predictions (95.0 %)'
    """
    share = n_known / n_rows if n_rows else 0.0
    text = f"truth has come for {n_known:,} of {n_rows:,} predictions ({100 * share:.1f} %)"
    if n_usable < n_known:
        text += f"; {n_known - n_usable:,} of them have no finite prediction and are left out"
    verdict = Verdict.PASS if n_known else Verdict.INCONCLUSIVE
    return Measurement(MeasurementKind.COVERAGE, "truth", verdict, text, value=share, n_rows=n_rows)


def not_comparable(served: pl.DataFrame, checks: Sequence[str], why: str) -> list[Measurement]:
    """Coverage, and no verdict on any check: the rows are no one thing that could be scored."""
    known = len(served["truth"].cast(pl.Float64).fill_nan(None).drop_nulls())
    found = measure_coverage(served.height, known, known)
    return [found, *(_undecided(text, Verdict.INCONCLUSIVE, why) for text in checks)]


def _check_columns(served: pl.DataFrame, spec: PerformanceSpec) -> None:
    wanted = [spec.prediction, spec.truth, spec.block, *spec.slices]
    if isinstance(spec.baseline, str):
        wanted.append(spec.baseline)
    for name in wanted:
        if name not in served.columns:
            raise InvalidInput(
                f"The served rows have no column {name!r}.",
                next_step=nearest(name, served.columns),
            )


def _score(rows: pl.DataFrame, spec: PerformanceSpec) -> Scorecard:
    slices = {name: rows[name] for name in spec.slices}
    columns = (rows[spec.truth], rows[spec.prediction], rows[spec.block].cast(pl.String), slices)
    baseline = rows[spec.baseline] if isinstance(spec.baseline, str) else spec.baseline
    if spec.kind is Task.REGRESSION:
        return evaluate_regression(*columns, baseline=baseline)
    return evaluate_binary(*columns, baseline=baseline, threshold=spec.threshold)


def _metrics(card: Scorecard, spec: PerformanceSpec) -> list[Measurement]:
    """No verdict of their own but whether there is an interval; checks judge."""
    unit = block_word(card.first_block)
    return [
        Measurement(
            MeasurementKind.PERFORMANCE,
            metric,
            Verdict.PASS if estimate.is_conclusive else Verdict.INCONCLUSIVE,
            f"{metric} {say_estimate(estimate, unit)}",
            estimate.value,
            estimate.low,
            estimate.high,
            estimate.n_rows,
            estimate.n_blocks,
            detail={"slices": _slices(card, metric)},
        )
        for metric, estimate in card.overall.items()
        if not needs_threshold(metric, spec)
    ]


def _slices(card: Scorecard, metric: str) -> dict[str, dict[str, object]]:
    """Of each column the worst, where it has more values than anybody reads."""
    return {
        column: {value: values[value].to_json() for value in worst_slices(values, metric)}
        for column, values in (
            (name, {value: one[metric] for value, one in found.items()})
            for name, found in card.slices.items()
        )
    }


def _check(result: CheckResult, card: Scorecard, breaking: Breaking | None) -> Measurement:
    more = "" if breaking is None else f" {breaking.say()}"
    return Measurement(
        MeasurementKind.CHECK,
        result.check.text,
        result.verdict,
        result.sentence + more,
        result.value,
        result.low,
        result.high,
        result.n,
        card.n_blocks,
        detail={"limit": result.check.limit, "metric": result.check.metric}
        | ({} if breaking is None else {"models": breaking.to_json()}),
    )


def _undecided(check: str, verdict: Verdict, why: str) -> Measurement:
    return Measurement(MeasurementKind.CHECK, check, verdict, f"{check}: {verdict}; {why}")
