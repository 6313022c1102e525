"""Batching without timers.

Requests that were read in one turn of the event loop form a batch; those that arrive while the
model is busy form the next one. A lone request never waits for company.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from seamline.domain.errors import MachineryError, SeamlineError, Unavailable
from seamline.serve.datatypes import Columns, join_rows, take_rows
from seamline.serve.worker import ModelFailed

LOG = logging.getLogger(__name__)

Predict = Callable[[Columns, int], Awaitable[Columns]]


@dataclass(frozen=True, eq=False)
class Waiting:
    columns: Columns
    rows: int
    reply: asyncio.Future[Columns]


class Batcher:
    """`predict` is called with one batch at a time; `on_batch` is told its number of rows."""

    def __init__(
        self,
        predict: Predict,
        *,
        max_rows: int = 4096,
        max_waiting: int = 1024,
        on_batch: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._predict = predict
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._on_batch = on_batch
        self._waiting: deque[Waiting] = deque()
        self._running: asyncio.Task[None] | None = None

    async def submit(self, columns: Columns, rows: int) -> Columns:
        """The outputs of exactly these rows. Unavailable when too many requests wait already."""
        if len(self._waiting) >= self._max_waiting:
            raise Unavailable(
                f"{len(self._waiting)} requests wait for this model already.",
                next_step="Try again in a second.",
            )
        loop = asyncio.get_running_loop()
        waiting = Waiting(columns, rows, loop.create_future())
        self._waiting.append(waiting)
        if self._running is None:
            # The task starts in the next turn of the loop: what this turn still reads joins in.
            self._running = loop.create_task(self._run())
        return await waiting.reply

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._take())
        finally:
            self._running = None

    def _take(self) -> list[Waiting]:
        batch = [self._waiting.popleft()]
        rows = batch[0].rows
        while self._waiting and rows + self._waiting[0].rows <= self._max_rows:
            batch.append(self._waiting.popleft())
            rows += batch[-1].rows
        return [waiting for waiting in batch if not waiting.reply.done()]

    async def _answer(self, batch: list[Waiting]) -> None:
        """A batch whose model call fails is asked again, request by request: nobody pays for
        another's row. A lost worker is not: the row that killed it would kill the next one."""
        if not batch:
            return
        rows = sum(waiting.rows for waiting in batch)
        self._on_batch(rows)
        try:
            outputs = await self._predict(join_rows([one.columns for one in batch]), rows)
        except ModelFailed as error:
            if len(batch) == 1:
                _fail(batch, error)
            for waiting in batch if len(batch) > 1 else []:
                await self._answer([waiting])
        except SeamlineError as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            _fail(batch, Unavailable("The data plane stopped while it worked on this request."))
            raise
        except Exception as error:
            LOG.exception("A batch of %d rows broke.", rows)
            _fail(batch, MachineryError(f"The data plane broke on this request: {error!r}."))
        else:
            _share_out(batch, outputs)


def _fail(batch: list[Waiting], error: SeamlineError) -> None:
    for waiting in batch:
        if not waiting.reply.done():
            waiting.reply.set_exception(error)


def _share_out(batch: list[Waiting], outputs: Columns) -> None:
    start = 0
    for waiting in batch:
        if not waiting.reply.done():
            waiting.reply.set_result(take_rows(outputs, start, start + waiting.rows))
        start += waiting.rows
