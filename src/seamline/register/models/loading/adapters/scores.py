"""Probabilities of two classes out of the score of one."""

from __future__ import annotations

import importlib
from typing import Any


def both_classes(score: Any) -> Any:
    """Shape (rows, 2), float64."""
    np = importlib.import_module("numpy")
    yes = np.asarray(score, np.float64)
    return np.stack([1 - yes, yes], axis=1)
