"""A measured number, with how sure one may be of it. Light: results are read without arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIN_BLOCKS = 10
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its n and its interval; without an interval it decides nothing.

    `value` is None where the metric is not defined (the AUC of one class). Each side of the
    interval is a Student t quantile times the scale of that side, with `n_blocks` - 1 degrees of
    freedom; `intervals` gives other levels and p-values by it.
    """

    value: float | None
    low: float | None
    high: float | None
    n_rows: int
    n_blocks: int
    confidence: float = CONFIDENCE

    @property
    def is_conclusive(self) -> bool:
        return self.value is not None and self.low is not None and self.high is not None

    def __str__(self) -> str:
        """
        >>> print(Estimate(0.7312, 0.70, 0.76, 29425, 31))
        0.7312 [0.7, 0.76] (n 29,425 in 31 blocks)
        """
        value = "undefined" if self.value is None else f"{self.value:.4g}"
        between = f" [{self.low:.4g}, {self.high:.4g}]" if self.is_conclusive else ""
        return f"{value}{between} (n {self.n_rows:,} in {self.n_blocks} blocks)"

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        return cls(**data)


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose scores lie together: what was said (`score`, the mean) and what came (`share` of
    positives, with its interval over blocks). `low` and `high` are the range of the bin."""

    low: float
    high: float
    score: float
    share: Estimate

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "share": self.share.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReliabilityBin:
        return cls(**{**data, "share": Estimate.from_json(data["share"])})


@dataclass(frozen=True)
class WorstSlice:
    """A slice that a search found worse than `against`: the rows overall, or a rival.

    `excess` is how much worse (always positive), its interval corrected for all slices that were
    looked at; `value_there` the metric within the slice; `p_value` of one slice, uncorrected.
    """

    slice: str
    value: str
    metric: str
    against: str
    value_there: float
    excess: Estimate
    p_value: float

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "excess": self.excess.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorstSlice:
        return cls(**{**data, "excess": Estimate.from_json(data["excess"])})
