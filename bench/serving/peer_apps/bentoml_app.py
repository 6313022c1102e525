"""BentoML with its adaptive batching. MODEL: the pickled model.

Without postponed annotations: BentoML makes its schema of them.
"""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1)
class Bench:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=128)
    def predict(self, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return self.model.predict(x)  # type: ignore[no-any-return]
