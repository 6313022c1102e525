"""Score bins: what ranks scores by counts, finely enough that its error is stated with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seamline.measure.basis import quantile_edges
from seamline.measure.evaluation.metrics.arrays import divide
from seamline.measure.exact import Floats

Ints = npt.NDArray[np.int64]

SCORE_BINS = 200
#: Groups of score bins that reliability and the calibration error are told by.
GROUPS = 10


@dataclass(frozen=True)
class ScoreBins:
    """Score x falls into bin `searchsorted(edges, x, "right")`; the threshold is an edge, so
    decisions (score >= threshold) are exact. `is_exact`: each bin holds one distinct score.
    `groups`: the first bin of each group of bins, about equally filled."""

    edges: tuple[float, ...]
    threshold: float
    is_exact: bool
    groups: tuple[int, ...] = (0,)

    @property
    def n_bins(self) -> int:
        return len(self.edges) + 1

    @property
    def first_positive(self) -> int:
        return self.first_from(self.threshold)

    def first_from(self, threshold: float) -> int:
        """The first bin whose scores are all at least the threshold, if that is an edge."""
        return int(np.searchsorted(self.edges, threshold, "right"))

    def find(self, scores: Floats) -> Ints:
        return np.searchsorted(np.asarray(self.edges), scores, "right").astype(np.int64)

    def find_groups(self, bins: Ints) -> Ints:
        """The group of each bin."""
        starts = np.zeros(self.n_bins, np.int64)
        starts[list(self.groups[1:])] = 1
        return np.cumsum(starts)[bins]

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "edges": list(self.edges), "groups": list(self.groups)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScoreBins:
        groups = tuple(data.get("groups", (0,)))
        return cls(tuple(data["edges"]), data["threshold"], data["is_exact"], groups)


def make_score_bins(
    scores: Floats,
    threshold: float = 0.5,
    bins: int = SCORE_BINS,
    thresholds: Sequence[float] = (),
) -> ScoreBins:
    """Equally filled bins of the scores; one per distinct score when there are few.

    >>> make_score_bins(np.array([0.1, 0.9, 0.9]))
    ScoreBins(edges=(0.5, 0.9), threshold=0.5, is_exact=True, groups=(0, 1))
    """
    ordered = np.sort(scores)
    distinct = np.unique(ordered)
    is_exact = len(distinct) <= bins
    inner = distinct[1:] if is_exact else np.asarray(quantile_edges(ordered, bins)[1:-1])
    edges = np.unique(np.concatenate([inner, [threshold], np.asarray(thresholds, np.float64)]))
    return ScoreBins(tuple(edges.tolist()), threshold, is_exact, _make_groups(ordered, edges))


def _make_groups(ordered: Floats, edges: Floats) -> tuple[int, ...]:
    """Tenths of the scores, cut where bins are."""
    starts = np.append(0, np.searchsorted(ordered, edges, "left"))
    wanted = np.arange(GROUPS) * len(ordered) / GROUPS
    first = np.searchsorted(starts, wanted, "left")
    filled = {int(one) for one in first if one < len(starts) and starts[one] < len(ordered)}
    return (0, *sorted(filled - {0}))


def auc_of_counts(negatives: Floats, positives: Floats) -> Floats:
    """The area under the ROC curve from counts per score bin, lowest scores first.

    A pair in one bin counts one half; so the error against the unbinned AUC is at most
    `auc_error`, zero when each bin holds one distinct score.

    >>> auc_of_counts(np.array([2.0, 1.0]), np.array([0.0, 3.0]))
    np.float64(0.8333333333333334)
    """
    below = np.cumsum(negatives, -1)
    below -= negatives / 2
    pairs = positives.sum(-1) * negatives.sum(-1)
    return divide(np.einsum("...i,...i->...", positives, below), pairs)


def auc_error(negatives: Floats, positives: Floats) -> float:
    """Half the share of pairs that share a bin: how far the binned AUC can be off.

    >>> auc_error(np.array([2.0, 1.0]), np.array([0.0, 3.0]))
    0.16666666666666666
    """
    pairs = float(negatives.sum() * positives.sum())
    return float((negatives * positives).sum()) / pairs / 2 if pairs else 0.0


def average_precision_of_counts(negatives: Floats, positives: Floats) -> Floats:
    """The mean of the precision at each positive, from counts per score bin, lowest first; all
    of one bin are called together.

    >>> average_precision_of_counts(np.array([2.0, 1.0]), np.array([0.0, 3.0]))
    np.float64(0.75)
    """
    hits = np.cumsum(positives[..., ::-1], -1)
    called = hits + np.cumsum(negatives[..., ::-1], -1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return divide((precision * positives[..., ::-1]).sum(-1), positives.sum(-1))
