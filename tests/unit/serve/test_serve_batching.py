"""Batches without timers: formed, shared out, isolated, bounded."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from seamline.domain.errors import MachineryError, Unavailable
from seamline.serve.batching import Batcher
from seamline.serve.worker import ModelFailed


class Doubler:
    """Doubles x; refuses rows that hold 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def predict(self, columns, rows):
        await self.gate.wait()
        self.batches.append(columns["x"].tolist())
        if 13 in columns["x"]:
            raise ModelFailed("13 is not liked")
        if 99 in columns["x"]:
            raise KeyError("a defect")
        if 7 in columns["x"]:
            raise Unavailable("the worker is gone")
        assert rows == len(columns["x"])
        return {"y": columns["x"] * 2}


def x(*values):
    return {"x": np.array(values)}


def test_one_turn_of_the_loop_is_one_batch():
    async def run():
        model = Doubler()
        batcher = Batcher(model.predict)
        replies = await asyncio.gather(
            batcher.submit(x(1), 1), batcher.submit(x(2, 3), 2), batcher.submit(x(4), 1)
        )
        return model.batches, [reply["y"].tolist() for reply in replies]

    batches, replies = asyncio.run(run())
    assert batches == [[1, 2, 3, 4]]
    assert replies == [[2], [4, 6], [8]]


def test_a_bad_request_fails_alone():
    async def run():
        model = Doubler()
        batcher = Batcher(model.predict)
        return await asyncio.gather(
            *(batcher.submit(x(value), 1) for value in (1, 13, 3)), return_exceptions=True
        )

    first, second, third = asyncio.run(run())
    assert (first["y"].tolist(), third["y"].tolist()) == ([2], [6])
    assert isinstance(second, ModelFailed)


@pytest.mark.parametrize(("value", "error"), [(7, Unavailable), (99, MachineryError)])
def test_a_lost_worker_or_a_defect_fails_the_batch_and_no_more(value, error):
    async def run():
        model = Doubler()
        batcher = Batcher(model.predict)
        together = await asyncio.gather(
            batcher.submit(x(value), 1), batcher.submit(x(2), 1), return_exceptions=True
        )
        return together, await batcher.submit(x(5), 1), model.batches

    together, later, batches = asyncio.run(run())
    assert all(isinstance(reply, error) for reply in together)
    assert later["y"].tolist() == [10]
    assert len(batches) == 2


def test_the_queue_is_bounded_and_batches_are_not_too_large():
    async def run():
        model = Doubler()
        model.gate.clear()
        batcher = Batcher(model.predict, max_rows=2, max_waiting=3)
        waiting = [asyncio.create_task(batcher.submit(x(value), 1)) for value in (1, 2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="3 requests wait"):
            await batcher.submit(x(4), 1)
        model.gate.set()
        await asyncio.gather(*waiting)
        return model.batches

    assert asyncio.run(run()) == [[1, 2], [3]]


def test_who_gives_up_is_left_out():
    async def run():
        model = Doubler()
        batcher = Batcher(model.predict)
        gone = asyncio.create_task(batcher.submit(x(1), 1))
        stays = asyncio.create_task(batcher.submit(x(2), 1))
        await asyncio.sleep(0)
        gone.cancel()
        return (await stays)["y"].tolist(), model.batches

    reply, batches = asyncio.run(run())
    assert reply == [4]
    assert batches in ([[2]], [[1, 2]])
