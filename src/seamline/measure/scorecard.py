"""A scorecard: every metric with its interval, overall, per slice and against rivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from seamline.measure.blocks import Estimate
from seamline.measure.metrics import ScoreBins
from seamline.measure.vocabulary import Task

Estimates = Mapping[str, Estimate]


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
    slices: Mapping[str, Mapping[str, Estimates]]
    rivals: Mapping[str, Estimates]
    differences: Mapping[str, Estimates]
    n_rows: int
    n_blocks: int
    first_block: str
    last_block: str
    min_rows: int
    confidence: float
    replicates: int
    seed: int
    bins: Mapping[str, ScoreBins] = field(default_factory=dict)
    auc_error: float | None = None
    cells: pl.DataFrame = field(default_factory=pl.DataFrame, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Without the cells."""
        plain = {name: value for name, value in self.__dict__.items() if name != "cells"}
        return plain | {
            "task": str(self.task),
            "overall": _out(self.overall),
            "slices": {
                column: {value: _out(found) for value, found in values.items()}
                for column, values in self.slices.items()
            },
            "rivals": {name: _out(found) for name, found in self.rivals.items()},
            "differences": {name: _out(found) for name, found in self.differences.items()},
            "bins": {name: bins.to_json() for name, bins in self.bins.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scorecard:
        slices = {
            column: {value: _in(found) for value, found in values.items()}
            for column, values in data["slices"].items()
        }
        read: dict[str, Any] = {
            "task": Task(data["task"]),
            "overall": _in(data["overall"]),
            "slices": slices,
            "rivals": {name: _in(found) for name, found in data["rivals"].items()},
            "differences": {name: _in(found) for name, found in data["differences"].items()},
            "bins": {name: ScoreBins.from_json(bins) for name, bins in data["bins"].items()},
        }
        return cls(**{**data, **read})


def _out(estimates: Estimates) -> dict[str, Any]:
    return {name: estimate.to_json() for name, estimate in estimates.items()}


def _in(data: Mapping[str, Any]) -> dict[str, Estimate]:
    return {name: Estimate.from_json(estimate) for name, estimate in data.items()}
