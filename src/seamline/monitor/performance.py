"""Performance of a window, once the truth has come (for a part of it, perhaps). Pure."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import Verdict
from seamline.measure.evaluation.check_rules import CheckResult
from seamline.measure.evaluation.checks import parse_check
from seamline.measure.evaluation.deciding import decide_check
from seamline.measure.evaluation.evaluate import evaluate_binary, evaluate_regression
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.vocabulary import Task
from seamline.measure.wording import block_word
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
    results = [decide_check(check, card) for check in checks]
    return [*found, *_metrics(card), *(_check(result, card) for result in results)]


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


def measure_models(measured: str, n_measured: int, n_rows: int, n_others: int) -> Measurement:
    """Whose figures a window holds, where several models or versions have answered in it.

    >>> found = measure_models("air-time-jfk 1.0.2", 120, 500, 3)
    >>> found.sentence
    'measured is air-time-jfk 1.0.2, which answered 120 of 500 rows (24.0 %); \
what 3 others answered is in no figure here'
    >>> found.verdict
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    """
    share = n_measured / n_rows
    others = "another" if n_others == 1 else f"{n_others:,} others"
    text = (
        f"measured is {measured}, which answered {n_measured:,} of {n_rows:,} rows "
        f"({100 * share:.1f} %); what {others} answered is in no figure here"
    )
    return Measurement(
        MeasurementKind.COVERAGE, "models", Verdict.INCONCLUSIVE, text, value=share, n_rows=n_rows
    )


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


def _metrics(card: Scorecard) -> list[Measurement]:
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
    ]


def _slices(card: Scorecard, metric: str) -> dict[str, dict[str, object]]:
    return {
        column: {value: found[metric].to_json() for value, found in values.items()}
        for column, values in card.slices.items()
    }


def _check(result: CheckResult, card: Scorecard) -> Measurement:
    return Measurement(
        MeasurementKind.CHECK,
        result.check.text,
        result.verdict,
        result.sentence,
        result.value,
        result.low,
        result.high,
        result.n,
        card.n_blocks,
        detail={"limit": result.check.limit, "metric": result.check.metric},
    )


def _undecided(check: str, verdict: Verdict, why: str) -> Measurement:
    return Measurement(MeasurementKind.CHECK, check, verdict, f"{check}: {verdict}; {why}")
