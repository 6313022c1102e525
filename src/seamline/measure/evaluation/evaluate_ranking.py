"""Evaluate rankings: queries are what is measured, averaged and resampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from seamline.domain.errors import InvalidInput
from seamline.measure.evaluation.blocks import Ints, join_blocks
from seamline.measure.evaluation.cells import Coded, Labels, encode
from seamline.measure.evaluation.inputs import Numbers, put_small_together, read_floats
from seamline.measure.evaluation.metrics.ranking import (
    RankingMeasure,
    measure_queries,
    ranking_rows,
)
from seamline.measure.evaluation.score import Contender, Settings, score
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.slices import CANDIDATE
from seamline.measure.evaluation.vocabulary import Rival, Task

DEFAULTS = Settings()
DEPTHS = (5, 10)


def evaluate_ranking(
    relevance: Numbers,
    scores: Numbers,
    queries: Labels,
    blocks: Labels | None = None,
    slices: Mapping[str, Labels] | None = None,
    *,
    incumbent_scores: Numbers | None = None,
    baseline: Numbers | None = None,
    depths: Sequence[int] = DEPTHS,
    settings: Settings = DEFAULTS,
) -> Scorecard:
    """One row per query and item; `relevance` is 0 or more. Blocks are the queries unless others
    are declared; blocks and slices belong to whole queries. `n` counts queries, also in
    `Settings.min_rows`. `baseline`: scores of a rule, popularity say.

    >>> relevance, scores = np.tile([0, 1, 0], 300), np.tile([0.1, 0.9, 0.5], 300)
    >>> card = evaluate_ranking(relevance, scores, np.repeat(np.arange(300), 3))
    >>> card.overall["mrr"].value, card.overall["ndcg@5"].n_rows
    (1.0, 300)
    """
    gain = read_floats(relevance, "relevance", None)
    if gain.min() < 0:
        raise InvalidInput(
            f"Relevance reaches down to {gain.min():g}.", next_step="Give 0 or more."
        )
    if any(depth < 1 for depth in depths):
        raise InvalidInput("A depth is below 1.", next_step="Give whole numbers from 1 on.")
    query = encode(queries, "queries", len(gain))
    given = {CANDIDATE: scores, Rival.INCUMBENT: incumbent_scores, Rival.BASELINE: baseline}
    contenders = {}
    for who, one in given.items():
        if one is not None:
            found = read_floats(one, f"{who} scores", len(gain))
            values = measure_queries(query.codes, gain, found, depths)
            contenders[str(who)] = Contender(ranking_rows(values), RankingMeasure(tuple(values)))
    first = np.unique(query.codes, return_index=True)[1]
    day = query if blocks is None else encode(blocks, "blocks", len(gain))
    day = _of_queries(day, query, first, "block")
    coded = {
        column: put_small_together(
            _of_queries(encode(one, f"Slice {column}", len(gain)), query, first, column),
            settings.min_rows,
        )
        for column, one in (slices or {}).items()
    }
    by = join_blocks(day.codes, day.names, settings.seed)
    return score(Task.RANKING, contenders, by, coded, settings)


def _of_queries(coded: Coded, query: Coded, first: Ints, what: str) -> Coded:
    """Of each query its first row's; the others have the same."""
    codes = coded.codes[first]
    apart = np.flatnonzero(codes[query.codes] != coded.codes)
    if len(apart):
        at = int(apart[0])
        name = query.names[query.codes[at]]
        both = sorted({coded.names[coded.codes[at]], coded.names[codes[query.codes[at]]]})
        raise InvalidInput(
            f"{what}: query {name!r} holds both {both[0]!r} and {both[1]!r}.",
            next_step="Slice and block rankings by what belongs to the query, not to the item.",
        )
    return Coded(coded.names, codes)
