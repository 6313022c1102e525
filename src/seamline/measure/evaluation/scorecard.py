"""A scorecard: every metric with its interval, overall, per slice and against rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import polars as pl

from seamline.measure.evaluation.estimates import Estimate, ReliabilityBin, WorstSlice
from seamline.measure.evaluation.metrics.bins import ScoreBins
from seamline.measure.evaluation.vocabulary import Task

Estimates = Mapping[str, Estimate]
#: By column and value of a slice.
Sliced = Mapping[str, Mapping[str, Estimates]]
#: Under how many names an estimate lies.
_DEPTHS = MappingProxyType(
    {"overall": 1, "rivals": 2, "differences": 2, "slices": 3, "slice_differences": 4, "gaps": 2}
)


@dataclass(frozen=True)
class Scorecard:
    """`slices`: column to value to metric. `rivals`: their own metrics on the same rows;
    `differences`: candidate minus rival, paired by block. `bins` are each contender's
    score bins; `auc_error` bounds how far binning can move the candidate's AUC.

    `cells` is a table, stored beside the JSON rather than in it: counts per slice, value, block,
    contender, label and score_bin (empty for regression); see `cells.count_cells`.
    """

    task: Task
    overall: Estimates
    slices: Sliced
    rivals: Mapping[str, Estimates]
    differences: Mapping[str, Estimates]
    n_rows: int
    n_blocks: int
    first_block: str
    last_block: str
    min_rows: int
    confidence: float
    seed: int
    bins: Mapping[str, ScoreBins] = field(default_factory=dict)
    auc_error: float | None = None
    cells: pl.DataFrame = field(default_factory=pl.DataFrame, compare=False)
    #: Candidate minus rival within each slice, paired by block.
    slice_differences: Mapping[str, Sliced] = field(default_factory=dict)
    #: By column: the largest value of a metric over its slices minus the least.
    gaps: Mapping[str, Estimates] = field(default_factory=dict)
    #: By contender.
    reliability: Mapping[str, tuple[ReliabilityBin, ...]] = field(default_factory=dict)
    #: By contender, column and value of a slice.
    slice_reliability: Mapping[str, Mapping[str, Mapping[str, tuple[ReliabilityBin, ...]]]] = field(
        default_factory=dict
    )
    #: What a search found, worst first, and how many slices it looked at.
    worst: tuple[WorstSlice, ...] = ()
    n_searched: int = 0
    #: The team's own metrics: is higher better?
    own_metrics: Mapping[str, bool | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Without the cells."""
        plain = {name: value for name, value in self.__dict__.items() if name != "cells"}
        return plain | {
            "task": str(self.task),
            "overall": _out(self.overall),
            "slices": _out(self.slices),
            "rivals": _out(self.rivals),
            "differences": _out(self.differences),
            "bins": _out(self.bins),
            "slice_differences": _out(self.slice_differences),
            "gaps": _out(self.gaps),
            "reliability": _out(self.reliability),
            "slice_reliability": _out(self.slice_reliability),
            "worst": _out(self.worst),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scorecard:
        """Scorecards of before a field was there have it empty; one that is gone is left out."""
        read: dict[str, Any] = {
            name: _read(data[name], depth, Estimate.from_json)
            for name, depth in _DEPTHS.items()
            if name in data
        }
        for name, depth in (("reliability", 1), ("slice_reliability", 3)):
            read[name] = _read(data.get(name, {}), depth, ReliabilityBin.from_json)
        read["task"] = Task(data["task"])
        read["bins"] = {who: ScoreBins.from_json(bins) for who, bins in data["bins"].items()}
        read["worst"] = tuple(WorstSlice.from_json(one) for one in data.get("worst", ()))
        known = {one.name for one in fields(cls)}
        return cls(**{name: one for name, one in {**data, **read}.items() if name in known})


def _out(found: Any) -> Any:
    """Mappings and sequences of what turns into JSON by itself, at any depth."""
    if isinstance(found, Mapping):
        return {name: _out(one) for name, one in found.items()}
    return [_out(one) for one in found] if isinstance(found, tuple) else found.to_json()


def _read(found: Any, depth: int, read: Callable[[Mapping[str, Any]], Any]) -> Any:
    if depth:
        return {name: _read(one, depth - 1, read) for name, one in found.items()}
    return tuple(read(one) for one in found) if isinstance(found, list) else read(found)
