"""Metrics from additive statistics: every function works on the last axis of its array, so that
one call measures one table or a thousand resampled ones. NaN where a metric is not defined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seamline.domain.errors import InvalidInput
from seamline.measure.basis import quantile_edges
from seamline.measure.exact import Floats

Ints = npt.NDArray[np.int64]
#: Statistics (..., m) to metrics by name, each of shape (...).
Measure = Callable[[Floats], Mapping[str, Floats]]

SCORE_BINS = 200
#: Log loss takes scores of 0 and 1 as this far from them.
LOG_LOSS_MARGIN = 1e-15


@dataclass(frozen=True)
class ScoreBins:
    """Score x falls into bin `searchsorted(edges, x, "right")`; the threshold is an edge, so
    decisions (score >= threshold) are exact. `is_exact`: each bin holds one distinct score."""

    edges: tuple[float, ...]
    threshold: float
    is_exact: bool

    @property
    def n_bins(self) -> int:
        return len(self.edges) + 1

    @property
    def first_positive(self) -> int:
        return int(np.searchsorted(self.edges, self.threshold, "right"))

    def find(self, scores: Floats) -> Ints:
        return np.searchsorted(np.asarray(self.edges), scores, "right").astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "edges": list(self.edges)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScoreBins:
        return cls(tuple(data["edges"]), data["threshold"], data["is_exact"])


def make_score_bins(scores: Floats, threshold: float = 0.5, bins: int = SCORE_BINS) -> ScoreBins:
    """Equally filled bins of the scores; one per distinct score when there are few.

    >>> make_score_bins(np.array([0.1, 0.9, 0.9]))
    ScoreBins(edges=(0.5, 0.9), threshold=0.5, is_exact=True)
    """
    ordered = np.sort(scores)
    distinct = np.unique(ordered)
    is_exact = len(distinct) <= bins
    inner = distinct[1:] if is_exact else np.asarray(quantile_edges(ordered, bins)[1:-1])
    edges = np.unique(np.append(inner, threshold))
    return ScoreBins(tuple(edges.tolist()), threshold, is_exact)


def auc_of_counts(negatives: Floats, positives: Floats) -> Floats:
    """The area under the ROC curve from counts per score bin, lowest scores first.

    A pair in one bin counts one half; so the error against the unbinned AUC is at most
    `auc_error`, zero when each bin holds one distinct score.

    >>> auc_of_counts(np.array([2.0, 1.0]), np.array([0.0, 3.0]))
    np.float64(0.8333333333333334)
    """
    below = np.cumsum(negatives, -1) - negatives
    pairs = positives.sum(-1) * negatives.sum(-1)
    return _divide((positives * (below + negatives / 2)).sum(-1), pairs)


def auc_error(negatives: Floats, positives: Floats) -> float:
    """Half the share of pairs that share a bin: how far the binned AUC can be off.

    >>> auc_error(np.array([2.0, 1.0]), np.array([0.0, 3.0]))
    0.16666666666666666
    """
    pairs = float(negatives.sum() * positives.sum())
    return float((negatives * positives).sum()) / pairs / 2 if pairs else 0.0


def binary_metrics(stats: Floats, first_positive: int) -> dict[str, Floats]:
    """`stats`: counts of negatives per score bin, of positives per score bin, then the sums of
    squared error and of log loss. Bins from `first_positive` on are decided positive.

    >>> stats = np.array([2.0, 1.0, 1.0, 3.0, 0.7, 2.1])
    >>> {name: round(float(value), 3) for name, value in binary_metrics(stats, 1).items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'auc': 0.708, 'f1': 0.75, 'precision': 0.75, 'recall': 0.75, 'accuracy': 0.714,
     'brier': 0.1, 'log_loss': 0.3, 'base_rate': 0.571}
    """
    bins = (stats.shape[-1] - 2) // 2
    negatives, positives = stats[..., :bins], stats[..., bins : 2 * bins]
    n_positive, n = positives.sum(-1), stats[..., : 2 * bins].sum(-1)
    hits = positives[..., first_positive:].sum(-1)
    called = hits + negatives[..., first_positive:].sum(-1)
    right = hits + negatives[..., :first_positive].sum(-1)
    return {
        "auc": auc_of_counts(negatives, positives),
        "f1": _divide(2 * hits, called + n_positive),
        "precision": _divide(hits, called),
        "recall": _divide(hits, n_positive),
        "accuracy": _divide(right, n),
        "brier": _divide(stats[..., -2], n),
        "log_loss": _divide(stats[..., -1], n),
        "base_rate": _divide(n_positive, n),
    }


def regression_metrics(stats: Floats) -> dict[str, Floats]:
    """`stats`: rows, then the sums of |e|, e² and e, with e = prediction - truth.

    >>> regression_metrics(np.array([2.0, 3.0, 5.0, -1.0]))["bias"]
    np.float64(-0.5)
    """
    n = stats[..., 0]
    return {
        "mae": _divide(stats[..., 1], n),
        "rmse": np.sqrt(_divide(stats[..., 2], n)),
        "bias": _divide(stats[..., 3], n),
    }


def _divide(top: Floats, bottom: Floats) -> Floats:
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    return np.divide(top, bottom, out=np.full_like(bottom, np.nan), where=bottom != 0)[()]


def squared_errors(labels: Floats, scores: Floats) -> Floats:
    return (scores - labels) ** 2


def log_losses(labels: Floats, scores: Floats) -> Floats:
    held = np.clip(scores, LOG_LOSS_MARGIN, 1 - LOG_LOSS_MARGIN)
    return -np.log(np.where(labels > 0, held, 1 - held))


def measure_binary(
    labels: Floats, scores: Floats, threshold: float = 0.5, weights: Floats | None = None
) -> dict[str, float | None]:
    """All binary metrics of rows (or of cells, weighted by their counts); None if undefined.

    >>> measure_binary(np.array([0.0, 1.0]), np.array([0.2, 0.7]))["auc"]
    1.0
    """
    n = np.ones(len(labels)) if weights is None else weights
    bins = make_score_bins(scores, threshold, bins=max(len(scores), 1))
    cells = bins.find(scores) + bins.n_bins * (labels > 0)
    counts = np.bincount(cells, weights=n, minlength=2 * bins.n_bins)
    sums = [squared_errors(labels, scores) @ n, log_losses(labels, scores) @ n]
    return _plain(binary_metrics(np.concatenate([counts, sums]), bins.first_positive))


def measure_regression(
    truth: Floats, predictions: Floats, weights: Floats | None = None
) -> dict[str, float | None]:
    """
    >>> measure_regression(np.array([1.0, 2.0]), np.array([2.0, 2.0]))["mae"]
    0.5
    """
    n = np.ones(len(truth)) if weights is None else weights
    errors = predictions - truth
    sums = [n.sum(), np.abs(errors) @ n, errors**2 @ n, errors @ n]
    return _plain(regression_metrics(np.asarray(sums)))


def _plain(metrics: Mapping[str, Floats]) -> dict[str, float | None]:
    return {name: number_or_none(value) for name, value in metrics.items()}


def number_or_none(value: Floats | float) -> float | None:
    """JSON knows no NaN.

    >>> number_or_none(float("nan")) is None
    True
    """
    return float(value) if np.isfinite(value) else None


def check_finite(name: str, values: Floats) -> Floats:
    """The values, or InvalidInput saying how many are missing or infinite."""
    odd = int((~np.isfinite(values)).sum())
    if odd:
        raise InvalidInput(
            f"{odd:,} of {len(values):,} {name} are missing or infinite.",
            next_step="Leave out rows without them, and say so.",
        )
    return values
