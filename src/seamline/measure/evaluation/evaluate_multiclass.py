"""Evaluate predictions of one of several classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from seamline.domain.errors import InvalidInput, nearest
from seamline.measure.evaluation.blocks import Ints
from seamline.measure.evaluation.cells import Labels, encode
from seamline.measure.evaluation.inputs import Numbers, read_blocks, read_scores, read_slices
from seamline.measure.evaluation.metrics.multiclass import (
    MulticlassMeasure,
    make_class_bins,
    multiclass_rows,
    read_classes,
)
from seamline.measure.evaluation.own import OwnMetric, add_own, directions
from seamline.measure.evaluation.score import Contender, Settings, score
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.slices import CANDIDATE
from seamline.measure.evaluation.vocabulary import Rival, Task
from seamline.measure.exact import Floats

DEFAULTS = Settings()
#: How far probabilities of a row may add up to something else than 1.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Classified:
    """The class of each row, or one score per class (then the class is the most probable), or
    both."""

    predicted: Labels | None = None
    scores: Mapping[str, Numbers] | None = None


def evaluate_multiclass(
    labels: Labels,
    candidate: Classified,
    blocks: Labels | None,
    slices: Mapping[str, Labels] | None = None,
    *,
    incumbent: Classified | None = None,
    baseline: Classified | Mapping[str, float] | None = None,
    own: Mapping[str, OwnMetric] | None = None,
    settings: Settings = DEFAULTS,
) -> Scorecard:
    """`baseline`: predictions, or the classes' shares in the training data, said of every row.

    >>> labels = np.tile(["a", "b", "c"], 100)
    >>> card = evaluate_multiclass(labels, Classified(labels), np.repeat(np.arange(12), 25))
    >>> card.overall["macro_f1"].value, card.overall["recall[b]"].value
    (1.0, 1.0)
    """
    truth = encode(labels, "labels")
    n_rows = len(truth.codes)
    given: dict[str, Classified | None] = {
        CANDIDATE: candidate,
        Rival.INCUMBENT: incumbent,
        Rival.BASELINE: _as_classified(baseline, n_rows),
    }
    found = {
        str(who): _read(str(who), one, n_rows) for who, one in given.items() if one is not None
    }
    names = sorted({*truth.names, *(name for one in found.values() for name in one.names)})
    place = np.asarray([names.index(name) for name in truth.names])
    contenders = {
        who: one.against(place[truth.codes], names, truth.names, who) for who, one in found.items()
    }
    return score(
        Task.MULTICLASS,
        add_own(contenders, own or {}, n_rows),
        read_blocks(blocks, n_rows, settings.seed),
        read_slices(slices, n_rows, settings.min_rows),
        settings,
        own_metrics=directions(own),
    )


@dataclass(frozen=True)
class _Read:
    """Predicted classes as numbers into `names`; `scores` (rows x names), where there are any."""

    names: tuple[str, ...]
    predicted: Ints
    scores: Floats | None

    def against(
        self, truth: Ints, names: list[str], in_truth: tuple[str, ...], who: str
    ) -> Contender:
        """`truth` as numbers into all `names`."""
        place = np.asarray([names.index(name) for name in self.names])
        predicted = place[self.predicted]
        if self.scores is None:
            rows = multiclass_rows(truth, predicted, None, (), len(names))
            return Contender(rows, MulticlassMeasure(tuple(names)))
        missing = sorted(set(in_truth) - set(self.names))
        if missing:
            raise InvalidInput(
                f"{who}: the labels hold the class {missing[0]!r}, which has no scores.",
                next_step=nearest(missing[0], self.names),
            )
        scores = np.zeros((len(truth), len(names)))
        scores[:, place] = self.scores
        bins = make_class_bins(scores)
        rows = multiclass_rows(truth, predicted, scores, bins, len(names))
        return Contender(rows, MulticlassMeasure(tuple(names), bins))


def _as_classified(
    baseline: Classified | Mapping[str, float] | None, n_rows: int
) -> Classified | None:
    if baseline is None or isinstance(baseline, Classified):
        return baseline
    return Classified(scores={name: np.full(n_rows, one) for name, one in baseline.items()})


def _read(who: str, given: Classified, n_rows: int) -> _Read:
    if given.scores is None:
        if given.predicted is None:
            raise InvalidInput(
                f"{who}: neither classes nor scores.", next_step="Give one class per row."
            )
        coded = encode(given.predicted, f"{who} classes", n_rows)
        return _Read(coded.names, coded.codes, None)
    names, scores = read_classes(
        {
            name: read_scores(one, f"{who} scores of {name}", n_rows)
            for name, one in given.scores.items()
        }
    )
    off = np.abs(scores.sum(1) - 1)
    if off.max() > _ROUNDING:
        at = int(off.argmax())
        raise InvalidInput(
            f"{who}: the scores of {int((off > _ROUNDING).sum()):,} rows do not add up to 1, "
            f"e.g. {scores[at].sum():.4g} in row {at}.",
            next_step="Let the prediction pipeline return one probability per class.",
        )
    if given.predicted is None:
        return _Read(names, scores.argmax(1), scores)
    coded = encode(given.predicted, f"{who} classes", n_rows)
    odd = sorted(set(coded.names) - set(names))
    if odd:
        raise InvalidInput(
            f"{who}: the class {odd[0]!r} is predicted and has no scores.",
            next_step=nearest(odd[0], names),
        )
    place = np.asarray([names.index(name) for name in coded.names])
    return _Read(names, place[coded.codes], scores)
