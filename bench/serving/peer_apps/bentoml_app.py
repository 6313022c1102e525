"""BentoML with its adaptive batching. MODEL: the pickled model."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1)
class Bench:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=128)
    def predict(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        said: np.ndarray[Any, Any] = self.model.predict(x)
        return said
