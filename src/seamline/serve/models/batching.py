"""Batching without timers.

Requests that were read in one turn of the event loop form a batch; those that arrive while the
model is busy form the next one. A lone request never waits for company. Only where a dear model has
just answered several at once is their next requests' arrival waited for, a fraction of what a call
takes: else they would be asked as one and the rest, one and the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from seamline.domain.errors import MachineryError, SeamlineError, Unavailable
from seamline.serve.datatypes import Columns, Values, take_rows
from seamline.serve.engine import EngineHung, EngineLost, ModelFailed
from seamline.serve.flat_rows import Given, join_given

LOG = logging.getLogger(__name__)

#: Of what a call takes, how much is waited for company, and how much at most and at least.
COMPANY_SHARE = 0.15
LONGEST_COMPANY_S = 0.002
SHORTEST_COMPANY_S = 0.0002
#: Weight of the newest call in what a call is thought to take.
NEWEST = 0.2
#: No more rows are asked at once than are thought to be answered in this time: however many wait,
#: none of them waits for all, and no call takes so long that it is taken for one that hangs.
LONGEST_CALL_S = 1.0
#: Of a model that nobody has asked yet.
FIRST_ROWS = 64
#: Weight of a higher measurement in what a row is thought to take. A lower one counts at once: a
#: call of few rows says little of a row in many.
HIGHER = 0.1
#: A request of a batch that was lost is asked alone; one that hangs must not take the others' time.
ALONE_S = 5.0

#: Answers of at most so many rows are shared out as lists: a piece of an array costs more.
FEW_ROWS = 64

Predict = Callable[[Given, int], Awaitable[Columns]]


@dataclass(slots=True)
class Timing:
    """Where a request's time went, for whoever traces it: nanoseconds since 1970, 0: not yet."""

    came_ns: int
    asked_ns: int = 0
    answered_ns: int = 0
    left_ns: int = 0
    #: Of the call that was made for it and for others.
    batch_rows: int = 0


@dataclass(slots=True, eq=False)
class Waiting:
    given: Given
    rows: int
    reply: asyncio.Future[Columns]
    timing: Timing | None = None


async def _at_once() -> None:
    """Of what does not get lost."""


class Batcher:
    """`predict` is called with one batch at a time; `on_batch` is told its number of rows.

    `come_back` returns once a lost engine answers again, and raises why it does not.
    """

    def __init__(
        self,
        predict: Predict,
        *,
        max_rows: int = 4096,
        max_waiting: int = 1024,
        on_batch: Callable[[int], None] = lambda rows: None,
        come_back: Callable[[], Awaitable[None]] = _at_once,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._predict, self._come_back = predict, come_back
        self._sleep, self._now_s = sleep, now_s
        self._call_s = 0.0
        self._row_s = 0.0
        self._last_members = 0
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._on_batch = on_batch
        self._waiting: deque[Waiting] = deque()
        self._running: asyncio.Task[None] | None = None

    async def submit(self, given: Given, rows: int) -> Columns:
        """The outputs of exactly these rows. Unavailable when too many requests wait already."""
        waiting = self.enqueue(given, rows)
        try:
            return await waiting.reply
        except asyncio.CancelledError:
            self.leave(waiting)
            raise

    def enqueue(self, given: Given, rows: int, timing: Timing | None = None) -> Waiting:
        """As `submit`, for whoever waits for `reply` in a way of their own, and leaves in time."""
        if len(self._waiting) >= self._max_waiting:
            raise Unavailable(
                f"{len(self._waiting)} requests wait for this model already.",
                next_step="Try again in a second.",
            )
        loop = asyncio.get_running_loop()
        waiting = Waiting(given, rows, loop.create_future(), timing)
        self._waiting.append(waiting)
        if self._running is None:
            # The task starts in the next turn of the loop: what this turn still reads joins in.
            self._running = loop.create_task(self._run())
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """Nobody waits for it any more: its place in the queue is somebody else's."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiting)

    @property
    def waiting(self) -> int:
        """Requests that no model works on yet."""
        return len(self._waiting)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._await_company()
                batch = self._take()
                self._last_members = len(batch)
                await self._answer(batch)
        finally:
            self._running = None

    async def _await_company(self) -> None:
        company_s = min(LONGEST_COMPANY_S, COMPANY_SHARE * self._call_s)
        is_dear = company_s >= SHORTEST_COMPANY_S
        if is_dear and self._last_members > 1 and len(self._waiting) < self._last_members:
            await self._sleep(company_s)

    def _take(self) -> list[Waiting]:
        batch = [self._waiting.popleft()]
        rows = batch[0].rows
        likely = LONGEST_CALL_S / self._row_s if self._row_s else FIRST_ROWS
        most = min(self._max_rows, likely)
        while self._waiting and rows + self._waiting[0].rows <= most:
            batch.append(self._waiting.popleft())
            rows += batch[-1].rows
        return [waiting for waiting in batch if not waiting.reply.done()]

    async def _answer(self, batch: list[Waiting], *, was_lost: bool = False) -> None:
        """A batch whose call fails is asked again by halves, one that was lost with its engine
        request by request, once: nobody pays for another's row, nor for whoever else ended the
        engine, and one that kills does so once more."""
        batch = [waiting for waiting in batch if not waiting.reply.done()]
        if not batch:
            return
        try:
            outputs = await self._ask(batch)
        except ModelFailed as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            half = len(batch) // 2
            await self._answer(batch[:half])
            await self._answer(batch[half:])
        except EngineLost as error:
            # One that hung while it was asked alone would only hang again.
            if was_lost or (len(batch) == 1 and isinstance(error, EngineHung)):
                _fail(batch, error)
                return
            for waiting in batch:
                await self._answer_alone(waiting)
        except SeamlineError as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            _fail(batch, Unavailable("The data plane stopped while it worked on this request."))
            raise
        except Exception as error:
            LOG.exception("A batch of %d requests broke.", len(batch))
            _fail(batch, MachineryError(f"The data plane broke on this request: {error!r}."))
        else:
            _share_out(batch, outputs)

    async def _ask(self, batch: list[Waiting]) -> Columns:
        rows = sum(waiting.rows for waiting in batch)
        self._on_batch(rows)
        traced = [waiting.timing for waiting in batch if waiting.timing is not None]
        if traced:
            _note_asked(traced, rows)
        started_s = self._now_s()
        outputs = await self._predict(join_given([one.given for one in batch]), rows)
        self._note_call(self._now_s() - started_s, rows)
        if traced:
            _note_answered(traced)
        for name, values in outputs.items():
            if len(values) != rows:
                raise ModelFailed(f"The model answered {len(values)} {name} for {rows} rows.")
        return outputs

    def _note_call(self, call_s: float, rows: int) -> None:
        self._call_s += NEWEST * (call_s - self._call_s)
        row_s = max(call_s / rows, LONGEST_CALL_S / self._max_rows)
        known_s = self._row_s or row_s
        self._row_s = min(row_s, known_s + HIGHER * (row_s - known_s))

    async def _answer_alone(self, waiting: Waiting) -> None:
        """Once the engine is back."""
        try:
            await self._come_back()
            async with asyncio.timeout(ALONE_S):
                await self._answer([waiting], was_lost=True)
        except TimeoutError:
            _fail([waiting], EngineLost(f"The model did not answer within {ALONE_S:g} s."))
        except SeamlineError as error:
            _fail([waiting], error)


def _note_asked(traced: list[Timing], rows: int) -> None:
    """One that is asked again was asked at first."""
    now_ns = time.time_ns()
    for timing in traced:
        timing.asked_ns = timing.asked_ns or now_ns
        timing.batch_rows = rows


def _note_answered(traced: list[Timing]) -> None:
    now_ns = time.time_ns()
    for timing in traced:
        timing.answered_ns = now_ns


def _fail(batch: list[Waiting], error: SeamlineError) -> None:
    for waiting in batch:
        if not waiting.reply.done():
            waiting.reply.set_exception(error)


def _share_out(batch: list[Waiting], outputs: Columns) -> None:
    if max(waiting.rows for waiting in batch) <= FEW_ROWS:
        outputs = {name: _listed(values) for name, values in outputs.items()}
    start = 0
    for waiting in batch:
        if not waiting.reply.done():
            waiting.reply.set_result(take_rows(outputs, start, start + waiting.rows))
        start += waiting.rows


def _listed(values: Values) -> Values:
    """Of one value a row; else as they are: a list has no shape."""
    return values.tolist() if isinstance(values, np.ndarray) and values.ndim == 1 else values
