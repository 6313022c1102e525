"""The words of scorecards and checks; light, because the command line reads checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Task(StrEnum):
    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
    RANKING = "ranking"
    FORECASTING = "forecasting"


class Rival(StrEnum):
    INCUMBENT = "incumbent"
    BASELINE = "baseline"


class Takes(StrEnum):
    """What may stand behind a metric's name: `recall@0.35`, `ndcg@10`, `f1[UA]`, `pinball[0.9]`."""

    NOTHING = "nothing"
    THRESHOLD = "a threshold: @0.35"
    DEPTH = "a depth: @10"
    CLASS = "a class: [UA]"
    QUANTILE = "a quantile: [0.9]"


@dataclass(frozen=True)
class Word:
    """`takes` by task; `needs` says that the metric does not stand without it."""

    higher_is_better: bool | None
    takes: Mapping[Task, Takes]
    meaning: str
    needs: bool = False

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(self.takes)


_B, _M, _R, _K, _F = Task
_PLAIN, _AT = Takes.NOTHING, Takes.THRESHOLD
_CLASSES = {_B: _AT, _M: Takes.CLASS}
_NUMBERS = {_R: _PLAIN, _F: _PLAIN}

#: Every metric, for which tasks, and whether a higher value is better (None: neither).
WORDS: Mapping[str, Word] = MappingProxyType(
    {
        "auc": Word(True, {_B: _PLAIN, _M: _PLAIN}, "area under the ROC curve (one against rest)"),
        "average_precision": Word(True, {_B: _PLAIN}, "area under precision over recall"),
        "f1": Word(True, _CLASSES, "harmonic mean of precision and recall"),
        "precision": Word(True, _CLASSES | {_K: Takes.DEPTH}, "share of those called that are"),
        "recall": Word(True, _CLASSES | {_K: Takes.DEPTH}, "share of those that are, called"),
        "specificity": Word(True, {_B: _AT}, "share of negatives not called"),
        "accuracy": Word(True, {_B: _AT, _M: _PLAIN}, "share of rows decided right"),
        "balanced_accuracy": Word(True, {_B: _AT, _M: _PLAIN}, "mean recall of the classes"),
        "mcc": Word(True, {_B: _AT, _M: _PLAIN}, "correlation of decision and class (Matthews)"),
        "macro_f1": Word(True, {_M: _PLAIN}, "mean F1 of the classes"),
        "weighted_f1": Word(True, {_M: _PLAIN}, "mean F1, weighted by class"),
        "brier": Word(False, {_B: _PLAIN, _M: _PLAIN}, "mean squared error of probabilities"),
        "log_loss": Word(False, {_B: _PLAIN, _M: _PLAIN}, "mean -log of the class's probability"),
        "ece": Word(False, {_B: _PLAIN, _M: _PLAIN}, "expected calibration error"),
        "calibration_bias": Word(None, {_B: _PLAIN}, "mean score minus share of positives"),
        "calibration_slope": Word(
            None, {_B: _PLAIN}, "slope of the outcome on the score; 1 is right"
        ),
        "base_rate": Word(None, {_B: _PLAIN}, "share of positives"),
        "positive_rate": Word(None, {_B: _AT}, "share of rows called positive"),
        "mae": Word(False, _NUMBERS, "mean absolute error"),
        "rmse": Word(False, _NUMBERS, "root of the mean squared error"),
        "bias": Word(None, _NUMBERS, "mean of prediction minus truth"),
        "r2": Word(True, {_R: _PLAIN}, "share of variance explained"),
        "wape": Word(False, _NUMBERS, "sum of absolute errors over sum of absolute truths"),
        "mape": Word(False, _NUMBERS, "mean of absolute error over absolute truth, truth not 0"),
        "median_error": Word(False, {_R: _PLAIN}, "median absolute error"),
        "p90_error": Word(False, {_R: _PLAIN}, "absolute error that 90 % of rows stay under"),
        "smape": Word(False, {_F: _PLAIN}, "mean of 2|e| / (|truth| + |forecast|)"),
        "mase": Word(False, {_F: _PLAIN}, "mean absolute error over the seasonal-naive one's"),
        "pinball": Word(False, {_F: Takes.QUANTILE}, "mean quantile loss"),
        "coverage": Word(
            None, {_F: Takes.QUANTILE}, "share of truths inside (or under a quantile)"
        ),
        "ndcg": Word(True, {_K: Takes.DEPTH}, "normalised discounted cumulative gain", needs=True),
        "map": Word(True, {_K: _PLAIN}, "mean average precision per query"),
        "mrr": Word(True, {_K: _PLAIN}, "mean of 1 / rank of the first relevant"),
    }
)

HIGHER_IS_BETTER: Mapping[str, bool | None] = MappingProxyType(
    {name: word.higher_is_better for name, word in WORDS.items()}
)


def metrics_of(task: Task) -> tuple[str, ...]:
    """
    >>> metrics_of(Task.RANKING)
    ('precision', 'recall', 'ndcg', 'map', 'mrr')
    """
    return tuple(name for name, word in WORDS.items() if task in word.takes)


def base_of(metric: str) -> str:
    """The word that a metric's name begins with.

    >>> base_of("f1[UA]"), base_of("ndcg@10"), base_of("auc")
    ('f1', 'ndcg', 'auc')
    """
    return metric.split("@")[0].split("[")[0]


def tasks_of(metrics: tuple[str, ...] | list[str]) -> tuple[Task, ...]:
    """The tasks that have all of these metrics, in the order of Task; own (business) metrics
    belong to any.

    >>> [str(task) for task in tasks_of(["auc", "f1[UA]"])]
    ['binary', 'multiclass']
    >>> tasks_of(["auc", "mae"])
    ()
    """
    words = [WORDS[base_of(metric)] for metric in metrics if base_of(metric) in WORDS]
    return tuple(task for task in Task if all(task in word.takes for word in words))
