"""Who waits no longer: what they asked for leaves the queue, and the log says how it ended."""

from __future__ import annotations

import asyncio

import pytest

from seamline.domain.errors import InvalidInput
from seamline.serve.models.batching import Batcher
from seamline.serve.patience import ClientGone, Longest, Patience, TookTooLong, limit_of


class Client:
    """Tells, as a connection does, when it goes."""

    def __init__(self):
        self.on_gone = None

    def watch(self, on_gone):
        self.on_gone = on_gone


def test_each_ends_with_its_own_error_and_leaves_nothing_behind():
    async def run():
        loop = asyncio.get_running_loop()
        client, longest = Client(), Longest()
        late = Patience(0.0, client.watch)
        with pytest.raises(TookTooLong, match="within 0 s"):
            await late.wait_for(loop.create_future(), longest)
        assert client.on_gone is None
        patient = Patience(60.0, client.watch)
        waits = loop.create_task(patient.wait_for(loop.create_future(), longest))
        await asyncio.sleep(0)
        client.on_gone()
        with pytest.raises(ClientGone):
            await waits
        done = loop.create_future()
        done.set_result(3)
        return await patient.wait_for(done, longest), client.on_gone

    assert asyncio.run(run()) == (3, None)


def test_the_longest_wait_ends_for_each_who_is_left():
    """Whoever was answered is none of them; who comes after the others went is noticed, too."""

    async def run():
        loop = asyncio.get_running_loop()
        longest, replies = Longest(0.02), [loop.create_future() for _ in range(4)]
        waits = [loop.create_task(Patience().wait_for(one, longest)) for one in replies[:3]]
        await asyncio.sleep(0)  # in the turn in which they begin: no time has passed
        replies[1].set_result(3)
        await asyncio.sleep(0.01)
        waits.append(loop.create_task(Patience().wait_for(replies[3], longest)))
        ended = await asyncio.gather(*waits, return_exceptions=True)
        last = Patience().wait_for(loop.create_future(), longest)
        return [*ended, *await asyncio.gather(last, return_exceptions=True)]

    first, answered, third, later, last = asyncio.run(run())
    assert answered == 3
    assert all(isinstance(one, TookTooLong) for one in (first, third, later, last))


def test_a_place_in_the_queue_is_given_back():
    async def run():
        gate, batches = asyncio.Event(), []

        async def predict(columns, rows):
            batches.append(rows)
            await gate.wait()
            return {"y": columns["x"]}

        batcher = Batcher(predict, max_waiting=1)
        busy = asyncio.create_task(batcher.submit({"x": [1]}, 1))
        while not batches:
            await asyncio.sleep(0)
        waits = asyncio.create_task(batcher.submit({"x": [2, 3]}, 2))
        await asyncio.sleep(0)
        assert batcher.waiting == 1
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        assert batcher.waiting == 0
        next_one = asyncio.create_task(batcher.submit({"x": [4]}, 1))
        await asyncio.sleep(0)
        gate.set()
        return await busy, await next_one, batches

    busy, next_one, batches = asyncio.run(run())
    assert (busy["y"], next_one["y"], batches) == ([1], [4], [1, 1])


@pytest.mark.parametrize("parameter", [True, -1, 0.5, "1"])
def test_a_limit_is_whole_microseconds(parameter):
    with pytest.raises(InvalidInput, match="whole microseconds"):
        limit_of(parameter, None)


@pytest.mark.parametrize("header", ["0", "-1", "soon", "nan", ""])
def test_or_seconds_in_the_header(header):
    with pytest.raises(InvalidInput, match="Send seconds"):
        limit_of(None, header)


def test_nobody_can_ask_for_more_than_the_server_gives():
    assert limit_of(10**12, "inf") == 60.0
