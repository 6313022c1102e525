"""Many models as one served model: rows are shared out by their keys and put together in order.

Models are loaded when a row first asks for them, and go by least recent use when the processes
that hold them occupy more than the endpoint's budget.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from typing import Any

import numpy as np

from seamline.domain.errors import MachineryError, SeamlineError, Unavailable
from seamline.serve.datatypes import Columns, Values
from seamline.serve.flat_rows import Given, columns_of
from seamline.serve.metrics import Labels, Metrics
from seamline.serve.models.batching import Timing, Waiting
from seamline.serve.models.shelf import Shelf, Want, nobody_brings
from seamline.serve.snapshots.families import Family, Key
from seamline.serve.snapshots.snapshot import EndpointSpec

LOG = logging.getLogger(__name__)
MAX_WAITING = 1024


class ManyModels:
    """Takes the places of both worker and batcher of a ServedModel.

    Which process holds a model goes by its interpreter: one process per requirement set.
    """

    def __init__(
        self, spec: EndpointSpec, family: Family, metrics: Metrics, labels: Labels, want: Want
    ) -> None:
        self.spec = spec
        self.samples = 0
        #: A sample row of the first model, with its key.
        self.probe: dict[str, Any] | None = None
        self.is_resting = False
        self.family, self._metrics, self._labels = family, metrics, labels
        self._shelves = {
            python: Shelf(
                f"endpoint {spec.endpoint}", python, family, spec.signature.outputs,
                on_batch=lambda rows: metrics.observe("seamline_batch_rows", labels, rows),
                on_restart=lambda: metrics.add("seamline_worker_restarts_total", labels),
                want=want,
            )
            for python in dict.fromkeys(member.python for member in family.members)
        }  # fmt: skip
        #: Loaded models by their last use, the longest ago first.
        self._used: OrderedDict[int, None] = OrderedDict()
        #: Requests that need a model right now: it stays.
        self._needed: Counter[int] = Counter()
        self._asked: dict[Waiting, asyncio.Task[None]] = {}
        self._room = asyncio.Lock()
        #: What the metrics have of it.
        self._told = (0, 0)

    @classmethod
    async def start(
        cls,
        spec: EndpointSpec,
        family: Family,
        metrics: Metrics,
        labels: Labels,
        want: Want = nobody_brings,
    ) -> ManyModels:
        """Each process started, and one model of each loaded and proved; or raises why not."""
        many = cls(spec, family, metrics, labels, want)
        try:
            for python, shelf in many._shelves.items():
                await shelf.start()
                await many._load(many.family.first_of(python))
        except BaseException:
            await many.close()
            raise
        first = next(iter(many._used))
        row = many._shelf_of(first).probes.get(first)
        if row is not None:
            keys = zip(family.keys, family.members[first].key, strict=True)
            many.probe, many.samples = {**row, **dict(keys)}, 1
        return many

    @property
    def is_alive(self) -> bool:
        return all(shelf.is_alive for shelf in self._shelves.values())

    @property
    def can_answer(self) -> bool:
        return self.is_alive

    @property
    def problem(self) -> str:
        """Why it does not answer now, where it does not."""
        return " ".join(one.problem for one in self._shelves.values() if not one.is_alive)

    @property
    def pid(self) -> int | None:
        return next(iter(self._shelves.values())).pid

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return len(self._asked)

    async def submit(self, given: Given, rows: int) -> Columns:
        """The outputs of exactly these rows, in their order. Raises the first problem of a model
        that was to answer some; other requests do not notice."""
        waiting = self.enqueue(given, rows)
        try:
            return await waiting.reply
        except asyncio.CancelledError:
            self.leave(waiting)
            raise

    predict = submit

    def recent_keys(self) -> list[Key]:
        """Of the models that are loaded, what was asked for last first."""
        return [self.family.members[place].key for place in reversed(self._used)]

    async def take_in(self, place: int) -> bool:
        """Load what nobody asks for yet: the first to make room for what is. False once there is
        none; raises why it does not load. What has to be fetched first is not waited for."""
        if place in self._used or not self._shelf_of(place).is_at_hand(place):
            return True
        try:
            if await self._shelf_of(place).load(place):
                self._metrics.add("seamline_model_loads_total", self._labels)
        except asyncio.CancelledError:
            self._put_last(place)  # its load goes on
            raise
        self._put_last(place)
        await self._make_room()
        return place in self._used

    def enqueue(self, given: Given, rows: int, timing: Timing | None = None) -> Waiting:
        """As `submit`, for whoever waits for `reply` in a way of their own, and leaves in time."""
        if len(self._asked) >= MAX_WAITING:
            raise Unavailable(
                f"{len(self._asked)} requests wait for {self.spec.endpoint} already.",
                next_step="Try again in a second.",
            )
        loop = asyncio.get_running_loop()
        waiting = Waiting(given, rows, loop.create_future(), timing)
        task = self._asked[waiting] = loop.create_task(self._answer(waiting))
        task.add_done_callback(lambda _done: self._forget(waiting))
        return waiting

    def leave(self, waiting: Waiting) -> None:
        """Nobody waits for it any more: what no model works on yet leaves the queues."""
        task = self._asked.get(waiting)
        if task is not None:
            task.cancel()

    async def _answer(self, waiting: Waiting) -> None:
        try:
            outputs = await self._answers(columns_of(waiting.given), waiting.rows)
            if not waiting.reply.done():
                waiting.reply.set_result(outputs)
        except Exception as error:
            if not waiting.reply.done():
                waiting.reply.set_exception(_told(error))

    def _forget(self, waiting: Waiting) -> None:
        """Also of one that left before its first step."""
        del self._asked[waiting]
        waiting.reply.cancel()

    async def _answers(self, columns: Columns, rows: int) -> Columns:
        places = self.family.places_of(columns)
        own = {column.name: columns[column.name] for column in self.family.inputs}
        if rows == 1 or places.count(places[0]) == rows:
            return await self._predict(places[0], own, rows)
        return await self._share_out(places, own, rows)

    async def close(self) -> None:
        for task in self._asked.values():
            task.cancel()
        for shelf in self._shelves.values():
            await shelf.close()
        self._used.clear()
        self._count()

    async def come_back(self) -> None:
        """What asks a process that was lost waits for it by itself."""

    async def wake(self) -> None:
        """It always does: models come as they are asked for."""

    async def rest(self) -> None:
        """Each loaded model that nobody needs gives back its memory."""
        async with self._room:
            await self._drop([place for place in self._used if not self._needed[place]])

    async def _share_out(self, places: list[int], columns: Columns, rows: int) -> Columns:
        index: dict[int, list[int]] = {}
        for row, place in enumerate(places):
            index.setdefault(place, []).append(row)
        asked = [
            asyncio.ensure_future(self._predict(place, rows_at(columns, mine), len(mine)))
            for place, mine in index.items()
        ]
        try:
            answers = await asyncio.gather(*asked)
        except BaseException:
            for one in asked:
                one.cancel()
            raise
        return put_together(list(index.values()), answers, rows)

    async def _predict(self, place: int, columns: Columns, rows: int) -> Columns:
        shelf = self._shelf_of(place)
        self._needed[place] += 1
        try:
            if place in shelf.loaded:
                self._used[place] = None
                self._used.move_to_end(place)
            else:
                await self._load(place)
            return await shelf.predict(place, columns, rows)
        finally:
            self._needed[place] -= 1
            if not self._needed[place]:
                del self._needed[place]

    async def _load(self, place: int) -> None:
        if await self._shelf_of(place).load(place):
            self._metrics.add("seamline_model_loads_total", self._labels)
        self._used[place] = None
        self._used.move_to_end(place)
        await self._make_room()

    def _put_last(self, place: int) -> None:
        if place not in self._used:
            self._used[place] = None
            self._used.move_to_end(place, last=False)

    async def _make_room(self) -> None:
        """As many as are too much by what they take on average, and at least one. Not until there
        is room: what an allocator keeps for itself would let everything go."""
        async with self._room:
            # A process that was started again has lost its models.
            for place in [one for one in self._used if one not in self._shelf_of(one).loaded]:
                del self._used[place]
            occupied = sum(shelf.memory_bytes for shelf in self._shelves.values())
            over = occupied - self.family.memory_bytes
            victims = []
            for place in list(self._used)[:-1]:
                if over <= 0:
                    break
                if not self._needed[place]:
                    victims.append(place)
                    over -= self._shelf_of(place).bytes_per_model
            if over > 0 and not victims:
                LOG.warning(
                    "%s: %d bytes are occupied, %d allowed, and no model can go.",
                    self.spec.endpoint, occupied, self.family.memory_bytes,
                )  # fmt: skip
            await self._drop(victims)

    async def _drop(self, victims: list[int]) -> None:
        for place in victims:
            del self._used[place]
        for shelf in self._shelves.values():
            await shelf.drop([place for place in victims if self._shelf_of(place) is shelf])
        if victims:
            self._metrics.add("seamline_model_evictions_total", self._labels, len(victims))
        self._count()

    def _count(self) -> None:
        """Its share: what stands by, or is just going, is of the same endpoint."""
        occupied = sum(shelf.memory_bytes for shelf in self._shelves.values())
        loaded = len(self._used)
        self._metrics.add("seamline_models_loaded", self._labels, loaded - self._told[0])
        self._metrics.add("seamline_models_memory_bytes", self._labels, occupied - self._told[1])
        self._told = (loaded, occupied)

    def _shelf_of(self, place: int) -> Shelf:
        return self._shelves[self.family.members[place].python]


def _told(error: Exception) -> SeamlineError:
    if isinstance(error, SeamlineError):
        return error
    LOG.error("A request broke.", exc_info=error)
    return MachineryError(f"The data plane broke on this request: {error!r}.")


def rows_at(columns: Columns, rows: list[int]) -> Columns:
    return {
        name: values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
        for name, values in columns.items()
    }


def put_together(index: list[list[int]], answers: list[Columns], rows: int) -> Columns:
    """
    >>> put_together([[0, 2], [1]], [{"y": [1, 3]}, {"y": [2]}], 3)
    {'y': [1, 2, 3]}
    """
    return {name: _merge(index, [answer[name] for answer in answers], rows) for name in answers[0]}


def _merge(index: list[list[int]], parts: list[Values], rows: int) -> Values:
    first = parts[0]
    if isinstance(first, np.ndarray):
        whole = np.empty((rows, *first.shape[1:]), first.dtype)
        for mine, part in zip(index, parts, strict=True):
            whole[mine] = part
        return whole
    listed: list[Any] = [None] * rows
    for mine, part in zip(index, parts, strict=True):
        for row, value in zip(mine, part, strict=True):
            listed[row] = value
    return listed
