"""Joined rows become a scorecard, by the task: what measure/ is handed, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from seamline.evaluate.business import business_values
from seamline.evaluate.derive import PAIR, slice_labels
from seamline.evaluate.expressions import has_names
from seamline.evaluate.join import Joined
from seamline.evaluate.spec import EvaluationSpec
from seamline.measure.evaluation.evaluate import evaluate_binary, evaluate_regression
from seamline.measure.evaluation.evaluate_forecasting import Forecast, evaluate_forecasting
from seamline.measure.evaluation.evaluate_multiclass import Classified, evaluate_multiclass
from seamline.measure.evaluation.evaluate_ranking import DEPTHS, evaluate_ranking
from seamline.measure.evaluation.own import OwnMetric
from seamline.measure.evaluation.score import Settings
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.search import Search, search_binary, search_regression
from seamline.measure.evaluation.vocabulary import Rival, Task

CANDIDATE = "candidate"
THRESHOLD = 0.5


@dataclass(frozen=True)
class Expected:
    """What the baseline says of the same rows: values, or a share of each class; and the scale of
    each row's series, which forecasts are measured by."""

    values: pl.Series | None = None
    shares: Mapping[str, float] | None = None
    scale: pl.Series | None = None


@dataclass(frozen=True)
class _Rows:
    """What every task is handed: candidate and incumbent, blocks, slices, own metrics."""

    spec: EvaluationSpec
    ours: Joined
    theirs: Joined | None
    expected: Expected
    slices: Mapping[str, pl.Series]
    own: Mapping[str, OwnMetric]
    settings: Settings

    @property
    def rival(self) -> pl.Series | None:
        return None if self.theirs is None else self.theirs.predictions


def score_rows(
    joined: Joined, spec: EvaluationSpec, incumbent: Joined | None, expected: Expected
) -> Scorecard:
    """`incumbent` holds the same rows in the same order."""
    rows = _Rows(
        spec,
        joined,
        incumbent,
        expected,
        slice_labels(joined.frame, spec.slices, spec.derived),
        _own(joined, spec, incumbent, expected),
        Settings(min_rows=spec.min_rows),
    )
    card = _BY_TASK[joined.task](rows)
    if not spec.search:
        return card
    found = _search(rows)
    return replace(card, worst=found.worst, n_searched=found.n_searched)


def _search(rows: _Rows) -> Search:
    """Among what slices and derived slices are made of, and what the predictions table holds: a
    column of the truth alone may be known only afterwards, and explains every error."""
    named = [part for name in rows.spec.slices for part in name.split(PAIR)]
    columns = dict.fromkeys([*named, *rows.spec.derived, *rows.ours.known])
    columns.pop(rows.spec.block, None)
    # Embeddings and explanations beside a prediction are no groups of rows.
    odd = [name for name in rows.ours.known if not has_names(rows.ours.frame.schema[name])]
    columns = {name: None for name in columns if name not in odd or name in named}
    labels = slice_labels(rows.ours.frame, tuple(columns), rows.spec.derived, is_search=True)
    given = (rows.ours.labels, rows.ours.predictions, rows.ours.blocks, labels)
    if rows.ours.task is Task.BINARY:
        return search_binary(*given, incumbent_scores=rows.rival, settings=rows.settings)
    return search_regression(*given, incumbent=rows.rival, settings=rows.settings)


def _binary(rows: _Rows) -> Scorecard:
    return evaluate_binary(
        rows.ours.labels,
        rows.ours.predictions,
        rows.ours.blocks,
        rows.slices,
        incumbent_scores=rows.rival,
        baseline=rows.expected.values,
        threshold=threshold_of(rows.spec),
        thresholds=sorted(_behind(rows.spec)),
        own=rows.own,
        settings=rows.settings,
    )


def _regression(rows: _Rows) -> Scorecard:
    return evaluate_regression(
        rows.ours.labels,
        rows.ours.predictions,
        rows.ours.blocks,
        rows.slices,
        incumbent=rows.rival,
        baseline=rows.expected.values,
        own=rows.own,
        settings=rows.settings,
    )


def _multiclass(rows: _Rows) -> Scorecard:
    return evaluate_multiclass(
        rows.ours.labels,
        _classified(rows.ours, rows.spec),
        rows.ours.blocks,
        rows.slices,
        incumbent=None if rows.theirs is None else _classified(rows.theirs, rows.spec),
        baseline=rows.expected.shares,
        own=rows.own,
        settings=rows.settings,
    )


def _forecasting(rows: _Rows) -> Scorecard:
    expected = rows.expected.values
    return evaluate_forecasting(
        rows.ours.labels,
        _forecast(rows.ours, rows.spec),
        rows.ours.blocks,
        rows.slices,
        incumbent=None if rows.theirs is None else _forecast(rows.theirs, rows.spec),
        baseline=None if expected is None else Forecast(expected),
        scale=rows.expected.scale,
        own=rows.own,
        settings=rows.settings,
    )


def _ranking(rows: _Rows) -> Scorecard:
    return evaluate_ranking(
        rows.ours.labels,
        rows.ours.predictions,
        rows.ours.column(str(rows.spec.query), "Queries: there is"),
        rows.ours.blocks,
        rows.slices,
        incumbent_scores=rows.rival,
        baseline=rows.expected.values,
        depths=sorted({*DEPTHS, *(int(one) for one in _behind(rows.spec))}),
        settings=rows.settings,
    )


_BY_TASK: Mapping[Task, Callable[[_Rows], Scorecard]] = {
    Task.BINARY: _binary,
    Task.MULTICLASS: _multiclass,
    Task.REGRESSION: _regression,
    Task.RANKING: _ranking,
    Task.FORECASTING: _forecasting,
}


def threshold_of(spec: EvaluationSpec) -> float:
    return THRESHOLD if spec.threshold is None else spec.threshold


def _behind(spec: EvaluationSpec) -> set[float]:
    """The numbers behind metrics' names: of `recall@0.35` the threshold, of `ndcg@20` the depth."""
    checks = (*spec.parsed_checks, *spec.parsed_against)
    return {float(one.metric.split("@")[1]) for one in checks if "@" in one.metric}


def _own(
    joined: Joined, spec: EvaluationSpec, incumbent: Joined | None, expected: Expected
) -> dict[str, OwnMetric]:
    threshold = threshold_of(spec) if joined.task is Task.BINARY else None
    sides = {CANDIDATE: (joined.frame, joined.predictions)}
    if incumbent is not None:
        sides[str(Rival.INCUMBENT)] = (incumbent.frame, incumbent.predictions)
    if expected.values is not None:
        sides[str(Rival.BASELINE)] = (joined.frame, expected.values)
    found = {
        who: business_values(
            frame.with_columns(values.alias(spec.prediction)),
            joined.labels,
            values,
            spec.business,
            threshold,
        )
        for who, (frame, values) in (sides if spec.business else {}).items()
    }
    return {
        name: OwnMetric({who: values[name] for who, values in found.items()}, how.higher_is_better)
        for name, how in spec.business.items()
    }


def _classified(joined: Joined, spec: EvaluationSpec) -> Classified:
    scores = {
        label: joined.column(column, "Scores: there is") for label, column in spec.scores.items()
    }
    return Classified(joined.predictions, scores or None)


def _forecast(joined: Joined, spec: EvaluationSpec) -> Forecast:
    quantiles = {
        float(level): joined.column(column, "Quantiles: there is")
        for level, column in spec.quantiles.items()
    }
    return Forecast(joined.predictions, quantiles)
