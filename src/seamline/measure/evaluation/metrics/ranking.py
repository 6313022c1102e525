"""Metrics of rankings: computed for each query, then averaged over queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seamline.measure.evaluation.blocks import Ints, Part, RowStatistics
from seamline.measure.evaluation.metrics.arrays import divide
from seamline.measure.exact import Floats


@dataclass(frozen=True)
class RankingMeasure:
    """Statistics (..., m) to metrics: for each name the sum over queries, then the number of
    queries that it is defined for."""

    names: tuple[str, ...]

    def __call__(self, stats: Floats) -> dict[str, Floats]:
        k = len(self.names)
        return {name: divide(stats[..., i], stats[..., k + i]) for i, name in enumerate(self.names)}


def ranking_rows(values: dict[str, Floats]) -> RowStatistics:
    """One row per query; NaN where a metric is not defined for it."""
    known = [np.isfinite(one).astype(np.float64) for one in values.values()]
    sums = [np.nan_to_num(one) for one in values.values()]
    return RowStatistics(tuple(Part(weights=one) for one in (*sums, *known)))


def measure_queries(
    queries: Ints, relevance: Floats, scores: Floats, depths: Sequence[int]
) -> dict[str, Floats]:
    """Each metric of each query (0 .. the largest), rows by falling score.

    NDCG has the gain of the relevance itself and the discount 1 / log2(rank + 1) (Järvelin and
    Kekäläinen 2002); the others take what has relevance above zero for relevant. A query without
    anything relevant has no NDCG, recall or average precision, and a precision of zero. Equal
    scores are ranked as if the least relevant came first: a constant score shall not look good.

    >>> found = measure_queries(np.array([0, 0, 0]), np.array([0.0, 1.0, 1.0]),
    ...                         np.array([0.9, 0.5, 0.1]), [2])
    >>> {name: round(float(value[0]), 3) for name, value in found.items()}
    {'map': 0.583, 'mrr': 0.5, 'ndcg@2': 0.387, 'precision@2': 0.5, 'recall@2': 0.5}
    """
    n = int(queries.max()) + 1
    order = np.lexsort((relevance, -scores, queries))
    query, gain = queries[order], relevance[order]
    starts = np.searchsorted(query, np.arange(n))
    rank = np.arange(len(query)) - starts[query] + 1
    hit = (gain > 0).astype(np.float64)
    hits = np.cumsum(hit)
    found = hits - (hits - hit)[starts][query]
    n_relevant = np.bincount(query, hit, minlength=n)
    first = np.full(n, np.inf)
    np.minimum.at(first, query, np.where(hit > 0, rank, np.inf))
    values = {
        "map": divide(np.bincount(query, hit * found / rank, minlength=n), n_relevant),
        "mrr": np.where(n_relevant > 0, 1 / first, np.nan),
    }
    ideal = relevance[np.lexsort((-relevance, queries))]
    discount = 1 / np.log2(rank + 1)
    for depth in depths:
        top = rank <= depth
        best = np.bincount(query, ideal * discount * top, minlength=n)
        shown = np.bincount(query, hit * top, minlength=n)
        values[f"ndcg@{depth}"] = divide(
            np.bincount(query, gain * discount * top, minlength=n), best
        )
        values[f"precision@{depth}"] = shown / depth
        values[f"recall@{depth}"] = divide(shown, n_relevant)
    return values
