"""The words of scorecards and checks; light, because the command line reads checks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Task(StrEnum):
    BINARY = "binary"
    REGRESSION = "regression"


class Rival(StrEnum):
    INCUMBENT = "incumbent"
    BASELINE = "baseline"


#: Is a higher value better? None: neither direction is.
HIGHER_IS_BETTER: Mapping[str, bool | None] = MappingProxyType(
    {
        "auc": True,
        "f1": True,
        "precision": True,
        "recall": True,
        "accuracy": True,
        "brier": False,
        "log_loss": False,
        "base_rate": None,
        "mae": False,
        "rmse": False,
        "bias": None,
    }
)
