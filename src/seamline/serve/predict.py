"""One prediction, whatever the wire protocol: validate, ask the model, count, log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from seamline.domain.clock import Clock, new_id
from seamline.domain.errors import SeamlineError
from seamline.serve.datatypes import Columns
from seamline.serve.input_rules import check_inputs
from seamline.serve.metrics import Metrics
from seamline.serve.plane import Plane
from seamline.serve.prediction_log import PredictionEntry
from seamline.serve.routing import Target
from seamline.serve.segments import SegmentLog
from seamline.serve.validate import Tensor, rows_of
from seamline.serve.worker import ModelFailed


@dataclass(frozen=True)
class Prediction:
    """Row i has the id `<id>:<i>`."""

    id: str
    target: Target
    outputs: Columns


@dataclass(frozen=True)
class Predictor:
    plane: Plane
    log: SegmentLog[PredictionEntry]
    metrics: Metrics
    clock: Clock

    async def predict(
        self, target: Target, tensors: Sequence[Tensor], request_id: str | None
    ) -> Prediction:
        """InvalidInput, ModelFailed or Unavailable; the log holds what reached the model.

        `target` must come from the routing table in the same turn of the event loop.
        """
        started_ns = time.perf_counter_ns()
        rows = rows_of(tensors, target.spec)
        if target.spec.rules or target.spec.expressions:
            self._count_breaches(target, rows.columns)
        at, prediction_id = self.clock.now(), new_id(self.clock)
        outputs: Columns | None = None
        status = 200
        target.model.enter()
        try:
            outputs = await target.model.batcher.submit(rows.columns, rows.count)
        except SeamlineError as error:
            status = 500 if isinstance(error, ModelFailed) else 503
            raise
        finally:
            target.model.leave()
            entry = PredictionEntry(
                target, prediction_id, request_id, at, rows, outputs,
                (time.perf_counter_ns() - started_ns) // 1000, status,
            )  # fmt: skip
            self.log.append(entry)
        return Prediction(prediction_id, target, outputs)

    def _count_breaches(self, target: Target, columns: Columns) -> None:
        """Raises InvalidInput where the contract of the training data refuses."""
        for breach in check_inputs(columns, target.spec.rules, target.spec.expressions):
            labels = (
                ("environment", target.environment),
                ("endpoint", target.spec.endpoint),
                ("column", breach.column),
                ("rule", breach.what),
            )
            self.metrics.add("seamline_contract_breaches_total", labels, breach.count)
