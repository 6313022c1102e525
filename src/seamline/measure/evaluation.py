"""Evaluate predictions against the truth: blocks, slices, an incumbent, a baseline."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from seamline.domain.errors import InvalidInput, not_found
from seamline.measure.blocks import (
    CONFIDENCE,
    REPLICATES,
    BlockTable,
    Estimate,
    RowStatistics,
    block_bootstrap,
    block_bootstrap_difference,
    point_estimates,
    resample_weights,
)
from seamline.measure.cells import Coded, Labels, count_cells, encode
from seamline.measure.exact import Floats
from seamline.measure.metrics import (
    Measure,
    ScoreBins,
    auc_error,
    binary_metrics,
    check_finite,
    log_losses,
    make_score_bins,
    regression_metrics,
    squared_errors,
)
from seamline.measure.scorecard import Scorecard
from seamline.measure.vocabulary import Rival, Task

#: A slice with fewer rows gets values without intervals.
MIN_ROWS = 200

Numbers = npt.ArrayLike | pl.Series


@dataclass(frozen=True)
class Settings:
    """How intervals are made. The same seed gives the same interval."""

    min_rows: int = MIN_ROWS
    replicates: int = REPLICATES
    confidence: float = CONFIDENCE
    seed: int = 0


DEFAULTS = Settings()


@dataclass(frozen=True)
class _Contender:
    """One set of predictions: what each row adds to its block, and how a table is measured."""

    rows: RowStatistics
    measure: Measure


def evaluate_binary(
    labels: Numbers,
    scores: Numbers,
    blocks: Labels,
    slices: Mapping[str, Labels] | None = None,
    *,
    incumbent_scores: Numbers | None = None,
    baseline: float | Numbers | None = None,
    threshold: float = 0.5,
    bins: ScoreBins | None = None,
    cell_slices: Collection[str] = (),
    settings: Settings = DEFAULTS,
) -> Scorecard:
    """`labels` are 0 or 1 (or booleans), `scores` probabilities of 1, `blocks` the day of each row.

    `baseline`: one probability for all rows (the training data's base rate) or one per row.
    `bins` from an earlier scorecard keep cells of later windows addable. Cells are kept overall
    and for the slice columns in `cell_slices` (fine slices have nearly as many cells as rows).

    >>> labels = np.tile([0, 0, 1], 100)
    >>> card = evaluate_binary(labels, labels * 0.6 + 0.2, np.repeat(np.arange(12), 25))
    >>> card.overall["auc"].value, card.overall["base_rate"].n_blocks
    (1.0, 12)
    """
    truth = _as_labels(labels)
    given = {"candidate": scores, Rival.INCUMBENT: incumbent_scores, Rival.BASELINE: baseline}
    found = {
        str(who): _as_scores(s, f"{who} scores", len(truth))
        for who, s in given.items()
        if s is not None
    }
    own = bins or make_score_bins(found["candidate"], threshold)
    all_bins = {who: make_score_bins(s, own.threshold) for who, s in found.items()}
    all_bins["candidate"] = own
    contenders = {who: _binary_contender(truth, s, all_bins[who]) for who, s in found.items()}
    counts = np.bincount(contenders["candidate"].rows.cells, minlength=2 * own.n_bins)
    day = encode(blocks, "blocks", len(truth))
    coded = _encode_slices(slices, len(truth))
    kept = {column: _pick_slice(column, coded) for column in cell_slices}
    score_bins = {who: all_bins[who].find(s) for who, s in found.items()}
    return _score(
        Task.BINARY,
        contenders,
        day,
        coded,
        settings,
        bins=all_bins,
        auc_off=0.0 if own.is_exact and bins is None else auc_error(*np.split(counts / 1.0, 2)),
        cells=count_cells(day, kept, truth.astype(np.int64), score_bins),
    )


def evaluate_regression(
    truth: Numbers,
    predictions: Numbers,
    blocks: Labels,
    slices: Mapping[str, Labels] | None = None,
    *,
    incumbent: Numbers | None = None,
    baseline: float | Numbers | None = None,
    settings: Settings = DEFAULTS,
) -> Scorecard:
    """`baseline`: one prediction for all rows (the training data's mean) or one per row.

    >>> days = np.repeat(np.arange(12), 25)
    >>> card = evaluate_regression(np.zeros(300), np.ones(300), days, baseline=3.0)
    >>> card.differences["baseline"]["mae"].value
    -2.0
    """
    target = _as_floats(truth, "true values", None)
    given = {"candidate": predictions, Rival.INCUMBENT: incumbent, Rival.BASELINE: baseline}
    contenders = {
        str(who): _regression_contender(target, _as_floats(p, f"{who} predictions", len(target)))
        for who, p in given.items()
        if p is not None
    }
    day = encode(blocks, "blocks", len(target))
    coded = _encode_slices(slices, len(target))
    return _score(Task.REGRESSION, contenders, day, coded, settings)


def _score(
    task: Task,
    contenders: Mapping[str, _Contender],
    day: Coded,
    slices: Mapping[str, Coded],
    settings: Settings,
    *,
    bins: Mapping[str, ScoreBins] | None = None,
    auc_off: float | None = None,
    cells: pl.DataFrame | None = None,
) -> Scorecard:
    candidate = contenders["candidate"]
    rivals = {who: rival for who, rival in contenders.items() if who != "candidate"}
    n_blocks, level = len(day.names), settings.confidence
    weights = resample_weights(n_blocks, settings.replicates, settings.seed)
    whole = candidate.rows.tabulate(day.codes, n_blocks)
    tables = {name: rival.rows.tabulate(day.codes, n_blocks) for name, rival in rivals.items()}
    return Scorecard(
        task=task,
        overall=block_bootstrap(whole, candidate.measure, weights, level),
        slices={
            column: _score_slices(candidate, day, coded, weights, settings)
            for column, coded in slices.items()
        },
        rivals={
            name: block_bootstrap(table, rivals[name].measure, weights, level)
            for name, table in tables.items()
        },
        differences={
            name: block_bootstrap_difference(
                whole, table, (candidate.measure, rivals[name].measure), weights, level
            )
            for name, table in tables.items()
        },
        n_rows=whole.n_rows,
        n_blocks=whole.n_blocks,
        first_block=day.names[0],
        last_block=day.names[-1],
        min_rows=settings.min_rows,
        confidence=level,
        replicates=settings.replicates,
        seed=settings.seed,
        bins=bins or {},
        auc_error=auc_off,
        cells=pl.DataFrame() if cells is None else cells,
    )


def _score_slices(
    candidate: _Contender, day: Coded, coded: Coded, weights: Floats, settings: Settings
) -> dict[str, dict[str, Estimate]]:
    scored = {}
    for value, rows in coded.rows_by_name().items():
        table: BlockTable = candidate.rows.tabulate(day.codes, len(day.names), rows)
        if len(rows) < settings.min_rows:
            scored[value] = point_estimates(table, candidate.measure, settings.confidence)
        else:
            scored[value] = block_bootstrap(table, candidate.measure, weights, settings.confidence)
    return scored


def _binary_contender(truth: Floats, scores: Floats, bins: ScoreBins) -> _Contender:
    cells = bins.find(scores) + bins.n_bins * truth.astype(np.int64)
    sums = (squared_errors(truth, scores), log_losses(truth, scores))
    measure = partial(binary_metrics, first_positive=bins.first_positive)
    return _Contender(RowStatistics(cells, 2 * bins.n_bins, sums), measure)


def _regression_contender(truth: Floats, predictions: Floats) -> _Contender:
    errors = predictions - truth
    sums = (np.abs(errors), errors**2, errors)
    rows = RowStatistics(np.zeros(len(truth), np.int64), 1, sums)
    return _Contender(rows, regression_metrics)


def _encode_slices(slices: Mapping[str, Labels] | None, n_rows: int) -> dict[str, Coded]:
    given = slices or {}
    return {column: encode(given[column], f"Slice {column}", n_rows) for column in given}


def _pick_slice(column: str, slices: Mapping[str, Coded]) -> Coded:
    if column not in slices:
        raise not_found("slice column", column, slices)
    return slices[column]


def _as_labels(labels: Numbers) -> Floats:
    truth = _as_floats(labels, "labels", None)
    if not np.isin(truth, (0.0, 1.0)).all():
        raise InvalidInput("Labels must be 0 or 1.", next_step="Map the two classes to 0 and 1.")
    return truth


def _as_floats(values: float | Numbers, name: str, n_rows: int | None) -> Floats:
    """One finite float per row; a single number stands for all rows."""
    if isinstance(values, pl.Series):
        values = values.cast(pl.Float64).to_numpy()
    array = np.asarray(values, np.float64)
    if array.ndim == 0 and n_rows is not None:
        array = np.full(n_rows, array)
    if array.ndim != 1 or not len(array) or len(array) != (n_rows or len(array)):
        raise InvalidInput(
            f"{name}: an array of shape {array.shape} for {n_rows or 'at least one'} rows.",
            next_step="Give one number per row.",
        )
    return check_finite(name, array)


def _as_scores(values: float | Numbers, name: str, n_rows: int) -> Floats:
    scores = _as_floats(values, name, n_rows)
    if scores.min() < 0 or scores.max() > 1:
        raise InvalidInput(
            f"{name} reach from {scores.min():g} to {scores.max():g}; probabilities lie in 0..1.",
            next_step="Let the prediction pipeline return probabilities.",
        )
    return scores
