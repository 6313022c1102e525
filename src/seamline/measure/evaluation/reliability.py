"""Reliability: of the rows that were given such a score, which share came true."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seamline.measure.evaluation.blocks import Blocks, Part, RowStatistics
from seamline.measure.evaluation.cells import Coded
from seamline.measure.evaluation.estimates import ReliabilityBin
from seamline.measure.evaluation.jackknife import Ints, Spread
from seamline.measure.evaluation.metrics.arrays import divide
from seamline.measure.evaluation.metrics.bins import ScoreBins
from seamline.measure.evaluation.score import Contender, Settings
from seamline.measure.exact import Floats

Bins = tuple[ReliabilityBin, ...]


def measure_reliability(
    contenders: Mapping[str, Contender],
    bins: Mapping[str, ScoreBins],
    blocks: Blocks,
    slices: Mapping[str, Coded],
    settings: Settings,
) -> tuple[dict[str, Bins], dict[str, dict[str, dict[str, Bins]]]]:
    """By contender, overall; and by contender, slice column and value, where a slice has the
    minimum size."""
    level = settings.confidence
    parts = {who: _only_groups(one.rows, bins[who]) for who, one in contenders.items()}
    overall = {
        who: reliability_bins(rows.tabulate(blocks.codes, blocks.n), bins[who], level)
        for who, rows in parts.items()
    }
    if not slices:
        return overall, {}
    sliced = {
        who: {
            column: {
                name: reliability_bins(
                    rows.tabulate(blocks.codes[picked], blocks.n, picked), bins[who], level
                )
                for name, picked in coded.rows_by_name().items()
                if len(picked) >= settings.min_rows
            }
            for column, coded in slices.items()
        }
        for who, rows in parts.items()
    }
    return overall, sliced


def _only_groups(rows: RowStatistics, bins: ScoreBins) -> RowStatistics:
    """Of the statistics of `binary_rows`: rows and positives per group, and the sum of scores."""
    n, groups = len(bins.groups), rows.parts[-1]
    assert rows.parts[0].cells is not None
    assert groups.cells is not None
    is_positive = rows.parts[0].cells >= bins.n_bins
    return RowStatistics((Part(2 * n, groups.cells + n * is_positive), groups))


def reliability_bins(table: Floats, bins: ScoreBins, confidence: float) -> Bins:
    """`table`: (blocks x 3 groups): negatives, positives and the sum of scores of each."""
    groups = np.asarray(bins.groups)
    negatives, came, scores = table.reshape(len(table), 3, len(groups)).transpose(1, 2, 0)
    rows = negatives + came
    total: Ints = rows.sum(1).astype(np.int64)
    left_out = divide(came.sum(1, keepdims=True) - came, rows.sum(1, keepdims=True) - rows)
    share = Spread(divide(came.sum(1), total), left_out, rows.astype(np.int64))
    ends = np.asarray([0.0, *bins.edges, 1.0])
    starts, stops = ends[groups], ends[np.append(groups[1:], bins.n_bins)]
    return tuple(
        ReliabilityBin(float(starts[i]), float(stops[i]), float(scores[i].sum() / total[i]), one)
        for i, one in enumerate(share.estimates(confidence))
        if total[i]
    )
