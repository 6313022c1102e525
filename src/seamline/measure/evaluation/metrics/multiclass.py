"""Metrics of predictions of one of several classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seamline.measure.evaluation.blocks import Ints, Part, RowStatistics
from seamline.measure.evaluation.metrics.arrays import divide, f_score
from seamline.measure.evaluation.metrics.binary import LOG_LOSS_MARGIN
from seamline.measure.evaluation.metrics.bins import ScoreBins, auc_of_counts, make_score_bins
from seamline.measure.exact import Floats

#: Score bins per class; the AUC is a mean over classes, so it needs fewer than one class does.
CLASS_BINS = 100
#: Tenths of the winning score, for the calibration error.
GROUPS = 10


@dataclass(frozen=True)
class MulticlassMeasure:
    """Statistics (..., m) to metrics: counts of truth x prediction; with probabilities (`bins`, by
    class) also the sums of the Brier score and log loss, per group the rows decided right and the
    winning scores, and per class the counts of other and of own rows per score bin."""

    classes: tuple[str, ...]
    bins: tuple[ScoreBins, ...] = ()

    def __call__(self, stats: Floats) -> dict[str, Floats]:
        k = len(self.classes)
        counts = stats[..., : k * k].reshape(*stats.shape[:-1], k, k)
        found = self._decisions(counts)
        if self.bins:
            found |= self._probabilities(stats[..., k * k :], counts.sum((-2, -1)))
        return found

    def _decisions(self, counts: Floats) -> dict[str, Floats]:
        n, hits = counts.sum((-2, -1)), np.diagonal(counts, axis1=-2, axis2=-1)
        are, called = counts.sum(-1), counts.sum(-2)
        recall, precision, f1 = divide(hits, are), divide(hits, called), f_score(hits, called, are)
        right = hits.sum(-1)
        spread = (n**2 - (called**2).sum(-1)) * (n**2 - (are**2).sum(-1))
        found = {
            "accuracy": divide(right, n),
            "balanced_accuracy": _mean_of_known(recall),
            "mcc": divide(right * n - (are * called).sum(-1), np.sqrt(spread)),
            "macro_f1": _mean_of_known(f1),
            "weighted_f1": divide((np.nan_to_num(f1) * are).sum(-1), n),
        }
        for i, name in enumerate(self.classes):
            found[f"precision[{name}]"] = precision[..., i]
            found[f"recall[{name}]"] = recall[..., i]
            found[f"f1[{name}]"] = f1[..., i]
        return found

    def _probabilities(self, stats: Floats, n: Floats) -> dict[str, Floats]:
        right, said = stats[..., 2 : 2 + GROUPS], stats[..., 2 + GROUPS : 2 + 2 * GROUPS]
        at, areas = 2 + 2 * GROUPS, []
        for bins in self.bins:
            others = stats[..., at : at + bins.n_bins]
            own = stats[..., at + bins.n_bins : at + 2 * bins.n_bins]
            areas.append(auc_of_counts(others, own))
            at += 2 * bins.n_bins
        return {
            "brier": divide(stats[..., 0], n),
            "log_loss": divide(stats[..., 1], n),
            "ece": divide(np.abs(right - said).sum(-1), n),
            "auc": _mean_of_known(np.stack(areas, -1)),
        }


def _mean_of_known(values: Floats) -> Floats:
    """Over the classes that are there: a class without rows says nothing."""
    known = np.isfinite(values)
    return divide(np.where(known, values, 0.0).sum(-1), known.sum(-1))


def multiclass_rows(
    truth: Ints, predicted: Ints, scores: Floats | None, bins: tuple[ScoreBins, ...], k: int
) -> RowStatistics:
    """Classes as numbers below k; `scores` (rows x k)."""
    parts = [Part(k * k, truth * k + predicted)]
    if scores is None:
        return RowStatistics(tuple(parts))
    rows = np.arange(len(truth))
    own = np.clip(scores[rows, truth], LOG_LOSS_MARGIN, 1 - LOG_LOSS_MARGIN)
    brier = (scores**2).sum(1) - 2 * scores[rows, truth] + 1
    won = scores[rows, predicted]
    group = np.minimum((won * GROUPS).astype(np.int64), GROUPS - 1)
    right: npt.NDArray[np.float64] = (truth == predicted).astype(np.float64)
    parts += [Part(weights=brier), Part(weights=-np.log(own))]
    parts += [Part(GROUPS, group, right), Part(GROUPS, group, won)]
    for i, one in enumerate(bins):
        found = one.find(scores[:, i]) + one.n_bins * (truth == i)
        parts.append(Part(2 * one.n_bins, found))
    return RowStatistics(tuple(parts))


def make_class_bins(scores: Floats) -> tuple[ScoreBins, ...]:
    return tuple(make_score_bins(column, bins=CLASS_BINS) for column in scores.T)


def read_classes(scores: Mapping[str, Floats]) -> tuple[tuple[str, ...], Floats]:
    """
    >>> read_classes({"b": np.array([0.4]), "a": np.array([0.6])})
    (('a', 'b'), array([[0.6, 0.4]]))
    """
    names = tuple(sorted(scores))
    return names, np.column_stack([scores[name] for name in names])
