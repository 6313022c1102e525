"""Evaluate predictions against the truth: blocks, slices, an incumbent, a baseline."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from seamline.measure.evaluation.blocks import Blocks, Ints
from seamline.measure.evaluation.cells import Coded, Labels, count_cells
from seamline.measure.evaluation.inputs import (
    Numbers,
    pick_slices,
    read_blocks,
    read_floats,
    read_labels,
    read_scores,
    read_slices,
)
from seamline.measure.evaluation.metrics.binary import BinaryMeasure, binary_rows
from seamline.measure.evaluation.metrics.bins import ScoreBins, auc_error, make_score_bins
from seamline.measure.evaluation.metrics.regression import (
    RegressionMeasure,
    make_error_edges,
    regression_rows,
)
from seamline.measure.evaluation.own import OwnMetric, add_own, directions
from seamline.measure.evaluation.reliability import measure_reliability
from seamline.measure.evaluation.score import Contender, Settings, score
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.slices import CANDIDATE
from seamline.measure.evaluation.vocabulary import Rival, Task
from seamline.measure.exact import Floats

DEFAULTS = Settings()


def evaluate_binary(
    labels: Numbers,
    scores: Numbers,
    blocks: Labels | None,
    slices: Mapping[str, Labels] | None = None,
    *,
    incumbent_scores: Numbers | None = None,
    baseline: float | Numbers | None = None,
    threshold: float = 0.5,
    thresholds: Sequence[float] = (),
    own: Mapping[str, OwnMetric] | None = None,
    bins: ScoreBins | None = None,
    cell_slices: Collection[str] = (),
    reliability_slices: Collection[str] = (),
    settings: Settings = DEFAULTS,
) -> Scorecard:
    """`labels` are 0 or 1 (or booleans), `scores` probabilities of 1, `blocks` the day of each row
    (None: rows are declared independent).

    `baseline`: one probability for all rows (the training data's base rate) or one per row.
    `thresholds`: further ones, for `recall@0.35`. `bins` from an earlier scorecard keep cells of
    later windows addable. Cells are kept overall and for the slice columns in `cell_slices` (fine
    slices have nearly as many cells as rows).

    >>> labels = np.tile([0, 0, 1], 100)
    >>> card = evaluate_binary(labels, labels * 0.6 + 0.2, np.repeat(np.arange(12), 25))
    >>> card.overall["auc"].value, card.overall["base_rate"].n_blocks
    (1.0, 12)
    """
    truth = read_labels(labels)
    found = _read_scores(len(truth), scores, incumbent_scores, baseline)
    at = {f"@{one:g}": float(one) for one in thresholds}
    scored = _Scored(truth, found, _make_bins(found, threshold, at, bins), at)
    days = read_blocks(blocks, len(truth), settings.seed)
    coded = read_slices(slices, len(truth), settings.min_rows)
    kept = pick_slices(reliability_slices, coded)
    reliability, sliced = measure_reliability(scored.contenders, scored.bins, days, kept, settings)
    return score(
        Task.BINARY,
        add_own(scored.contenders, own or {}, len(truth)),
        days,
        coded,
        settings,
        bins=scored.bins,
        auc_error=scored.auc_error(is_exact=bins is None),
        cells=scored.cells(days, pick_slices(cell_slices, coded)),
        reliability=reliability,
        slice_reliability=sliced,
        own_metrics=directions(own),
    )


@dataclass(frozen=True)
class _Scored:
    """Scores by contender, with their bins, and `at` further thresholds."""

    truth: Floats
    scores: Mapping[str, Floats]
    bins: Mapping[str, ScoreBins]
    at: Mapping[str, float]

    @cached_property
    def found(self) -> dict[str, Ints]:
        """The bin of each row."""
        return {who: self.bins[who].find(one) for who, one in self.scores.items()}

    @cached_property
    def contenders(self) -> dict[str, Contender]:
        return {
            who: Contender(
                binary_rows(self.truth, one, self.bins[who], self.found[who]),
                BinaryMeasure(self.bins[who], self.at),
            )
            for who, one in self.scores.items()
        }

    def cells(self, days: Blocks, slices: Mapping[str, Coded]) -> pl.DataFrame:
        by = Coded(days.names, days.codes)
        return count_cells(by, slices, self.truth.astype(np.int64), self.found)

    def auc_error(self, *, is_exact: bool) -> float:
        bins = self.bins[CANDIDATE]
        if bins.is_exact and is_exact:
            return 0.0
        keys = self.found[CANDIDATE] + bins.n_bins * (self.truth > 0)
        counts = np.bincount(keys, minlength=2 * bins.n_bins).astype(np.float64)
        return auc_error(counts[: bins.n_bins], counts[bins.n_bins :])


def _read_scores(
    n_rows: int, ours: Numbers, incumbent: Numbers | None, baseline: float | Numbers | None
) -> dict[str, Floats]:
    given = {CANDIDATE: ours, Rival.INCUMBENT: incumbent, Rival.BASELINE: baseline}
    return {
        str(who): read_scores(one, f"{who} scores", n_rows)
        for who, one in given.items()
        if one is not None
    }


def _make_bins(
    found: Mapping[str, Floats],
    threshold: float,
    at: Mapping[str, float],
    given: ScoreBins | None,
) -> dict[str, ScoreBins]:
    cut = threshold if given is None else given.threshold
    own = {who: make_score_bins(s, cut, thresholds=tuple(at.values())) for who, s in found.items()}
    return own if given is None else own | {CANDIDATE: given}


def evaluate_regression(
    truth: Numbers,
    predictions: Numbers,
    blocks: Labels | None,
    slices: Mapping[str, Labels] | None = None,
    *,
    incumbent: Numbers | None = None,
    baseline: float | Numbers | None = None,
    own: Mapping[str, OwnMetric] | None = None,
    settings: Settings = DEFAULTS,
) -> Scorecard:
    """`baseline`: one prediction for all rows (the training data's mean) or one per row.

    >>> days = np.repeat(np.arange(12), 25)
    >>> card = evaluate_regression(np.zeros(300), np.ones(300), days, baseline=3.0)
    >>> card.differences["baseline"]["mae"].value
    -2.0
    """
    target = read_floats(truth, "true values", None)
    given = {CANDIDATE: predictions, Rival.INCUMBENT: incumbent, Rival.BASELINE: baseline}
    contenders = {}
    for who, values in given.items():
        if values is not None:
            found = read_floats(values, f"{who} predictions", len(target))
            edges = make_error_edges(found - target)
            rows = regression_rows(target, found, edges)
            contenders[str(who)] = Contender(rows, RegressionMeasure(edges))
    return score(
        Task.REGRESSION,
        add_own(contenders, own or {}, len(target)),
        read_blocks(blocks, len(target), settings.seed),
        read_slices(slices, len(target), settings.min_rows),
        settings,
        own_metrics=directions(own),
    )
