"""One prediction, whatever the wire protocol: validate, ask the model, count, log."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from seamline.domain.clock import Clock, id_at
from seamline.domain.errors import SeamlineError
from seamline.serve.datatypes import Columns, as_arrays
from seamline.serve.engine import ModelFailed
from seamline.serve.inputs.validate import Tensor, rows_of
from seamline.serve.log.entries import Entry, pack_entry
from seamline.serve.log.segment_log import SegmentLog
from seamline.serve.metrics import Metrics
from seamline.serve.models.batching import Timing
from seamline.serve.patience import ClientGone, Longest, Patience, TookTooLong
from seamline.serve.plane import Plane
from seamline.serve.routing import Target
from seamline.serve.snapshots.input_rules import check_inputs
from seamline.serve.snapshots.snapshot import LogPolicy
from seamline.serve.tracing import RequestTrace, Tracing

UNHURRIED = Patience()
#: Nobody was left to be answered.
GONE = 499
LOGGED_AS: tuple[tuple[type[SeamlineError], int], ...] = (
    (ModelFailed, 500), (ClientGone, GONE), (TookTooLong, 504), (SeamlineError, 503),
)  # fmt: skip


class Prediction(NamedTuple):
    """Row i has the id `<id>:<i>`."""

    id: str
    target: Target
    outputs: Columns


class PredictionIds:
    """UUIDv7 as `new_id` makes them; the system is asked for randomness once for many."""

    AT_ONCE = 256
    _BYTES = 10

    def __init__(self) -> None:
        self._random = b""
        self._place = 0

    def next(self, at: datetime) -> str:
        if self._place >= len(self._random):
            self._random, self._place = os.urandom(self.AT_ONCE * self._BYTES), 0
        tail = self._random[self._place : self._place + self._BYTES]
        self._place += self._BYTES
        return id_at(at, tail)


@dataclass(frozen=True)
class Predictor:
    plane: Plane
    log: SegmentLog[Entry]
    metrics: Metrics
    clock: Clock
    ids: PredictionIds = field(default_factory=PredictionIds)
    longest: Longest = field(default_factory=Longest)
    #: None: nobody asked for traces.
    tracing: Tracing | None = None

    async def predict(
        self,
        target: Target,
        tensors: Sequence[Tensor],
        request_id: str | None,
        patience: Patience = UNHURRIED,
        trace: RequestTrace | None = None,
        trace_id: str | None = None,
        principal: str | None = None,
    ) -> Prediction:
        """InvalidInput, ModelFailed or Unavailable (TookTooLong, ClientGone among them); the log
        holds what was put into the model's queue, with the status that it was answered with.
        `target` must come from the routing table in the same turn of the event loop."""
        started_ns = time.perf_counter_ns()
        rows = target.reader.read(tensors) or rows_of(tensors, target.spec)
        is_held = target.spec.rules or target.spec.expressions
        if is_held and not target.rules.are_kept(columns := rows.columns):
            self._count_breaches(target, columns)
        if target.spec.family is not None:
            target.spec.family.places_of(rows.columns)  # an unknown key is the caller's mistake
        must_log = target.spec.on_log_full is LogPolicy.BLOCK
        if must_log:
            self.log.check_room(target.environment)
        at = self.clock.now()
        prediction_id = self.ids.next(at)
        outputs: Columns | None = None
        status, waiting = GONE, None
        timing = None if trace is None else Timing(time.time_ns())
        target.model.enter()
        try:
            waiting = target.model.batcher.enqueue(rows.given, rows.count, timing)
            outputs = await patience.wait_for(waiting.reply, self.longest)
            status = 200
        except SeamlineError as error:
            status = next(code for kind, code in LOGGED_AS if isinstance(error, kind))
            raise
        finally:
            if waiting is not None and status != 200:
                target.model.batcher.leave(waiting)
            target.model.leave()
            entry = pack_entry(
                target, prediction_id, request_id, at, rows, outputs,
                (time.perf_counter_ns() - started_ns) // 1000, status, trace_id, principal,
            )  # fmt: skip
            self.log.append(entry, must_keep=must_log)
            if trace is not None and timing is not None:
                timing.left_ns = time.time_ns()
                trace.tell(target, prediction_id, rows.count, timing)
        return Prediction(prediction_id, target, outputs)

    async def answer_probe(self, target: Target, tensors: Sequence[Tensor]) -> Prediction:
        """The same way to the same model, and nobody hears of it: a probe is no prediction."""
        rows = rows_of(tensors, target.spec)
        check_inputs(rows.columns, target.spec.rules, target.spec.expressions)
        target.model.enter()
        try:
            outputs = await target.model.batcher.submit(rows.columns, rows.count)
        finally:
            target.model.leave()
        return Prediction(self.ids.next(self.clock.now()), target, outputs)

    def _count_breaches(self, target: Target, columns: Columns) -> None:
        """Raises InvalidInput where the contract of the training data refuses."""
        datatypes = {column.name: column.datatype for column in target.spec.signature.inputs}
        columns = as_arrays(columns, datatypes)
        for breach in check_inputs(columns, target.spec.rules, target.spec.expressions):
            labels = (
                ("environment", target.environment),
                ("endpoint", target.spec.endpoint),
                ("column", breach.column),
                ("rule", breach.what),
            )
            self.metrics.add("seamline_contract_breaches_total", labels, breach.count)
