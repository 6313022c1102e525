"""Search for the slices where a model is worst: every value of every column, and of every pair.

Each slice is asked whether the mean loss of its rows is larger than that of all rows, or than the
rival's on the same rows. What is listed is corrected for everything that was looked at (Bonferroni,
half for columns and half for pairs: a share of false ones among many redundant findings would say
nothing about those that are listed). A slice of two columns is listed beside one of its columns
only if it is surely worse than that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import prod

import numpy as np

from seamline.measure.evaluation.blocks import Blocks, Ints
from seamline.measure.evaluation.cells import Coded, Labels
from seamline.measure.evaluation.estimates import Estimate, WorstSlice
from seamline.measure.evaluation.inputs import (
    Numbers,
    read_blocks,
    read_floats,
    read_labels,
    read_scores,
)
from seamline.measure.evaluation.jackknife import Spread
from seamline.measure.evaluation.metrics.arrays import divide, number_or_none
from seamline.measure.evaluation.metrics.binary import squared_errors
from seamline.measure.evaluation.score import Settings
from seamline.measure.evaluation.search_columns import read_columns
from seamline.measure.evaluation.student import t_quantile, t_tail
from seamline.measure.evaluation.vocabulary import Rival
from seamline.measure.exact import Floats

DEFAULTS = Settings()
#: How many slices are listed.
LISTED = 20
OVERALL = "overall"


@dataclass(frozen=True)
class Search:
    """What was found, worst first, of `n_searched` questions that were asked."""

    worst: tuple[WorstSlice, ...]
    n_searched: int


@dataclass(frozen=True)
class _Question:
    """Whether the mean of a loss over a slice is above that of all rows. A difference from a rival
    has to be above zero, and above that of all rows: where all are worse, no slice is to blame.
    With a `sign` it is a bias: whether it lies farther from zero, on that side, than that of all
    rows."""

    metric: str
    against: str
    loss: int
    sign: int = 0


@dataclass(frozen=True)
class _Finding:
    """A slice whose p-value may be small enough; `spread` is its excess, of this slice alone."""

    names: tuple[str, ...]
    values: tuple[str, ...]
    question: _Question
    spread: Spread
    there: float
    p_value: float

    def holds(self, other: _Finding) -> bool:
        """Whether the other slice is a part of this one, asked the same."""
        pairs = set(zip(other.names, other.values, strict=True))
        return self.question == other.question and pairs > set(
            zip(self.names, self.values, strict=True)
        )


def search_binary(
    labels: Numbers,
    scores: Numbers,
    blocks: Labels | None,
    columns: Mapping[str, Labels],
    *,
    incumbent_scores: Numbers | None = None,
    settings: Settings = DEFAULTS,
) -> Search:
    """By the Brier score against the incumbent, and against all rows by the distance of scores
    from outcomes (`calibration_bias`), too high or too low: a Brier score differs between slices
    for their base rates alone. Numbers of many values are cut into tenths.

    >>> rng = np.random.default_rng(0)
    >>> hour, day = rng.integers(0, 6, 9000), rng.integers(0, 30, 9000)
    >>> late, wind = rng.uniform(size=9000) < 0.3, rng.normal(size=9000)
    >>> found = search_binary(late, np.where(hour == 3, 0.6, 0.3), day, {"hour": hour, "w": wind})
    >>> [(one.slice, one.value, one.metric) for one in found.worst]
    [('hour', '3', 'calibration_bias')]
    """
    truth = read_labels(labels)
    ours = read_scores(scores, "candidate scores", len(truth))
    losses = [ours - truth]
    asked = [_Question("calibration_bias", OVERALL, 0, sign) for sign in (1, -1)]
    if incumbent_scores is not None:
        theirs = read_scores(incumbent_scores, "incumbent scores", len(truth))
        losses.append(squared_errors(truth, ours) - squared_errors(truth, theirs))
        asked.append(_Question("brier", Rival.INCUMBENT, 1))
    days = read_blocks(blocks, len(truth), settings.seed)
    return _Plan(asked, losses, days, read_columns(columns, len(truth)), settings).search()


def search_regression(
    truth: Numbers,
    predictions: Numbers,
    blocks: Labels | None,
    columns: Mapping[str, Labels],
    *,
    incumbent: Numbers | None = None,
    settings: Settings = DEFAULTS,
) -> Search:
    """By the absolute error, against all rows and against the incumbent; forecasts, too."""
    target = read_floats(truth, "true values", None)
    ours = np.abs(read_floats(predictions, "candidate predictions", len(target)) - target)
    losses, asked = [ours], [_Question("mae", OVERALL, 0)]
    if incumbent is not None:
        theirs = np.abs(read_floats(incumbent, "incumbent predictions", len(target)) - target)
        losses.append(ours - theirs)
        asked.append(_Question("mae", Rival.INCUMBENT, 1))
    days = read_blocks(blocks, len(target), settings.seed)
    return _Plan(asked, losses, days, read_columns(columns, len(target)), settings).search()


@dataclass(frozen=True)
class _Plan:
    asked: list[_Question]
    losses: list[Floats]
    blocks: Blocks
    columns: Mapping[str, Coded]
    settings: Settings

    def search(self) -> Search:
        level = (1 - self.settings.confidence) / 2
        findings, n_searched = [], Counter[int]()
        rows_of_all = np.bincount(self.blocks.codes, minlength=self.blocks.n)[None]
        whole = [
            _mean_spread(rows_of_all, self._sum(loss, self.blocks.codes, 1)) for loss in self.losses
        ]
        for names, cells in self._slices():
            rows, sums = self._tabulate(names, cells)
            is_large = rows.sum(1) >= self.settings.min_rows
            codes = np.flatnonzero(is_large)
            spreads = [_mean_spread(rows[codes], one[codes]) for one in sums]
            for question in self.asked:
                found, n = self._ask(question, spreads, whole, names, codes)
                n_searched[len(names)] += n
                findings += found
        # Half of the level for the few columns, half for the many pairs.
        tails = {width: level / 2 / max(n, 1) for width, n in n_searched.items()}
        kept = [one for one in findings if one.p_value <= tails[len(one.names)]]
        worst = _list_worst(kept, tails, self.settings.confidence)
        return Search(worst, sum(n_searched.values()))

    def _slices(self) -> Iterator[tuple[tuple[str, ...], Ints]]:
        """The columns, then their pairs, each with the number of its slice and block per row."""
        n = self.blocks.n
        cells = {name: one.codes * n + self.blocks.codes for name, one in self.columns.items()}
        for name, one in cells.items():
            yield (name,), one
        for a, b in combinations(self.columns, 2):
            yield (a, b), self.columns[a].codes * (len(self.columns[b].names) * n) + cells[b]

    def _tabulate(self, names: tuple[str, ...], cells: Ints) -> tuple[Ints, list[Floats]]:
        """Rows, and the sum of each loss, (slices x blocks)."""
        n_slices = prod(len(self.columns[name].names) for name in names)
        rows = np.bincount(cells, minlength=n_slices * self.blocks.n)
        return rows.reshape(n_slices, -1), [self._sum(one, cells, n_slices) for one in self.losses]

    def _sum(self, loss: Floats, cells: Ints, n_slices: int) -> Floats:
        sums = np.bincount(cells, loss, minlength=n_slices * self.blocks.n)
        return np.asarray(sums.reshape(n_slices, -1), np.float64)

    def _ask(
        self,
        question: _Question,
        spreads: list[Spread],
        whole: list[Spread],
        names: tuple[str, ...],
        codes: Ints,
    ) -> tuple[list[_Finding], int]:
        """What may be found, and how many slices could be asked."""
        level = (1 - self.settings.confidence) / 2
        there, all_rows = spreads[question.loss], whole[question.loss]
        excess = there.times(question.sign or 1)
        if question.against == OVERALL or all_rows.value[0] > 0:
            side = np.sign(float(all_rows.value[0])) if question.sign else 1.0
            excess = excess - all_rows.times(side)
        p_values = _p_values(excess, level)
        n_asked = int((excess.has_blocks & np.isfinite(excess.left_out).all(-1)).sum())
        findings = [
            _Finding(
                names,
                self._values(names, int(codes[i])),
                question,
                Spread(excess.value[i : i + 1], excess.left_out[i : i + 1], excess.rows[i : i + 1]),
                float(there.value[i]),
                float(p_values[i]),
            )
            for i in np.flatnonzero(p_values <= level).tolist()
        ]
        return findings, n_asked

    def _values(self, names: tuple[str, ...], code: int) -> tuple[str, ...]:
        if len(names) == 1:
            return (self.columns[names[0]].names[code],)
        first, second = divmod(code, len(self.columns[names[1]].names))
        return (self.columns[names[0]].names[first], self.columns[names[1]].names[second])


def _mean_spread(rows: Ints, sums: Floats) -> Spread:
    n, total = rows.sum(1), sums.sum(1)
    left_out = divide(total[:, None] - sums, n[:, None] - rows)
    return Spread(divide(total, n), left_out, rows)


def _p_values(excess: Spread, level: float) -> Floats:
    """Of "not above zero", where it is at most the level; else 1."""
    found = np.ones(len(excess.value))
    above = np.flatnonzero(excess.has_blocks & (excess.value > 0))
    if not len(above):
        return found
    part = Spread(excess.value[above], excess.left_out[above], excess.rows[above])
    low, _ = part.bounds(level)
    sure = low > 0
    n_blocks, value, low = part.n_blocks[sure], part.value[sure], low[sure]
    quantiles = np.asarray([t_quantile(level, n - 1) for n in n_blocks.tolist()])
    # Without any spread: surely above zero.
    still = np.full(len(value), np.inf)
    t = np.divide(value * quantiles, value - low, out=still, where=value > low)
    found[above[sure]] = t_tail(t, n_blocks - 1) if len(t) else 1.0
    return found


def _list_worst(
    kept: list[_Finding], tails: Mapping[int, float], confidence: float
) -> tuple[WorstSlice, ...]:
    """Slices of one column first, then those of two that are worse than what they are part of;
    then by how much they are surely worse."""
    low = {id(one): float(one.spread.bounds(tails[len(one.names)])[0][0]) for one in kept}
    order = sorted(kept, key=lambda one: (len(one.names), -low[id(one)]))
    listed: list[_Finding] = []
    for one in order:
        parents = [other for other in listed if other.holds(one)]
        if all(_is_worse(one, parent, tails[len(one.names)]) for parent in parents):
            listed.append(one)
    listed.sort(key=lambda one: -low[id(one)])
    return tuple(_to_worst(one, tails[len(one.names)], confidence) for one in listed[:LISTED])


def _is_worse(part: _Finding, whole: _Finding, tail: float) -> bool:
    apart = part.spread - whole.spread
    return bool(apart.bounds(tail)[0][0] > 0)


def _to_worst(one: _Finding, tail: float, confidence: float) -> WorstSlice:
    low, high = one.spread.bounds(tail)
    n_rows, n_blocks = int(one.spread.n_rows[0]), int(one.spread.n_blocks[0])
    ends = (number_or_none(low[0]), number_or_none(high[0]))
    return WorstSlice(
        slice="*".join(one.names),
        value="*".join(one.values),
        metric=one.question.metric,
        against=one.question.against,
        value_there=one.there,
        excess=Estimate(float(one.spread.value[0]), *ends, n_rows, n_blocks, confidence),
        p_value=one.p_value,
    )
