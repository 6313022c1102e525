"""Metrics of scores for one of two classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from seamline.measure.evaluation.blocks import Ints, Part, RowStatistics
from seamline.measure.evaluation.metrics.arrays import divide, f_score, plain
from seamline.measure.evaluation.metrics.bins import (
    ScoreBins,
    auc_of_counts,
    average_precision_of_counts,
    make_score_bins,
)
from seamline.measure.exact import Floats

#: Log loss takes scores of 0 and 1 as this far from them.
LOG_LOSS_MARGIN = 1e-15
#: Sums of rows behind the counts: squared error, log loss, score², score x label.
_SUMS = 4


@dataclass(frozen=True)
class BinaryMeasure:
    """Statistics (..., m) to metrics: counts of negatives per score bin, of positives per score
    bin, the sums of squared error, log loss, score² and score x label, and the scores per group.

    `thresholds`: further ones, by the name behind the metric ("@0.35").
    """

    bins: ScoreBins
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, stats: Floats) -> dict[str, Floats]:
        n_bins = self.bins.n_bins
        negatives, positives = stats[..., :n_bins], stats[..., n_bins : 2 * n_bins]
        sums = stats[..., 2 * n_bins : 2 * n_bins + _SUMS]
        scores = stats[..., 2 * n_bins + _SUMS :]
        n_positive, n_negative = positives.sum(-1), negatives.sum(-1)
        n = n_positive + n_negative
        found = {
            "auc": auc_of_counts(negatives, positives),
            "average_precision": average_precision_of_counts(negatives, positives),
            "brier": divide(sums[..., 0], n),
            "log_loss": divide(sums[..., 1], n),
            "base_rate": divide(n_positive, n),
            **self._calibration(positives, sums, scores, n),
        }
        for behind, threshold in {"": self.bins.threshold, **self.thresholds}.items():
            first = self.bins.first_from(threshold)
            hits = positives[..., first:].sum(-1)
            false = negatives[..., first:].sum(-1)
            decided = _decision_metrics(hits, false, n_positive, n_negative)
            found |= {f"{name}{behind}": value for name, value in decided.items()}
        return found

    def _calibration(
        self, positives: Floats, sums: Floats, scores: Floats, n: Floats
    ) -> dict[str, Floats]:
        came = np.add.reduceat(positives, self.bins.groups, axis=-1)
        total, n_positive = scores.sum(-1), came.sum(-1)
        spread = sums[..., 2] * n - total**2
        together = sums[..., 3] * n - total * n_positive
        # Of one score there is no slope; what rounding leaves of its spread is none.
        is_flat = spread <= 1e-9 * sums[..., 2] * n
        return {
            "ece": divide(np.abs(scores - came).sum(-1), n),
            "calibration_bias": divide(total - n_positive, n),
            "calibration_slope": divide(together, np.where(is_flat, 0.0, spread)),
        }


def _decision_metrics(
    hits: Floats, false: Floats, n_positive: Floats, n_negative: Floats
) -> dict[str, Floats]:
    n, called, rejected = n_positive + n_negative, hits + false, n_negative - false
    recall, specificity = divide(hits, n_positive), divide(rejected, n_negative)
    missed = n_positive - hits
    product = called * n_positive * n_negative * (rejected + missed)
    return {
        "f1": f_score(hits, called, n_positive),
        "precision": divide(hits, called),
        "recall": recall,
        "specificity": specificity,
        "accuracy": divide(hits + rejected, n),
        "balanced_accuracy": (recall + specificity) / 2,
        "mcc": divide(hits * rejected - false * missed, np.sqrt(product)),
        "positive_rate": divide(called, n),
    }


def binary_rows(labels: Floats, scores: Floats, bins: ScoreBins, found: Ints) -> RowStatistics:
    """What `BinaryMeasure` measures, per row; `found`: its bin."""
    return RowStatistics(
        (
            Part(2 * bins.n_bins, found + bins.n_bins * labels.astype(np.int64)),
            Part(weights=squared_errors(labels, scores)),
            Part(weights=log_losses(labels, scores)),
            Part(weights=scores**2),
            Part(weights=scores * labels),
            Part(len(bins.groups), bins.find_groups(found), scores),
        )
    )


def squared_errors(labels: Floats, scores: Floats) -> Floats:
    return np.asarray((scores - labels) ** 2)


def log_losses(labels: Floats, scores: Floats) -> Floats:
    held = np.clip(scores, LOG_LOSS_MARGIN, 1 - LOG_LOSS_MARGIN)
    return np.asarray(-np.log(np.where(labels > 0, held, 1 - held)))


def measure_binary(
    labels: Floats, scores: Floats, threshold: float = 0.5
) -> dict[str, float | None]:
    """All binary metrics of rows; None if undefined.

    >>> measure_binary(np.array([0.0, 1.0]), np.array([0.2, 0.7]))["auc"]
    1.0
    """
    bins = make_score_bins(scores, threshold, bins=max(len(scores), 1))
    table = binary_rows(labels, scores, bins, bins.find(scores)).tabulate(
        np.zeros(len(labels), np.int64), 1
    )
    return plain(BinaryMeasure(bins)(table[0]))
