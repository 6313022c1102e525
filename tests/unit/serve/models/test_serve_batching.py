"""Batches without timers: formed, shared out, isolated, bounded."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import MachineryError, SeamlineError, Unavailable
from seamline.serve.datatypes import to_list
from seamline.serve.engine import EngineHung, EngineLost, ModelFailed
from seamline.serve.models.batching import LONGEST_COMPANY_S, Batcher


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
        return model.batches, [to_list(reply["y"]) for reply in replies]

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
    assert (to_list(first["y"]), to_list(third["y"])) == ([2], [6])
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
    assert to_list(later["y"]) == [10]
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
        return to_list((await stays)["y"]), model.batches

    reply, batches = asyncio.run(run())
    assert reply == [4]
    assert batches in ([[2]], [[1, 2]])


class Fate:
    """Answers y = 2x unless a row is bad: raises on 13, is lost on 7, answers too little on 99."""

    def __init__(self):
        self.batches = []

    async def predict(self, columns, rows):
        held = list(columns["x"])
        self.batches.append(held)
        await asyncio.sleep(0)
        if 7 in held:
            raise EngineLost("gone")
        if 13 in held:
            raise ModelFailed("13 is not liked")
        values = np.array(held) * 2
        return {"y": values[1:] if 99 in held else values}


BAD = {7: EngineLost, 13: ModelFailed, 99: ModelFailed}
ROWS = st.lists(st.sampled_from([1, 2, 3, 4, 5, 7, 13, 99]), min_size=1, max_size=4)


@given(
    st.lists(st.tuples(ROWS, st.integers(0, 3), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 8),
    st.integers(1, 20),
)
def test_whatever_fails_each_request_gets_the_answers_of_its_own_rows(
    requests, max_rows, max_waiting
):
    """Each comes some turns of the loop later than the last; some give up at once."""

    async def run():
        model = Fate()
        batcher = Batcher(model.predict, max_rows=max_rows, max_waiting=max_waiting)

        async def ask(rows):
            given = rows if len(rows) % 2 else np.array(rows)
            try:
                return to_list((await batcher.submit({"x": given}, len(rows)))["y"])
            except SeamlineError as error:
                return error

        asked = []
        for rows, turns, gives_up in requests:
            for _ in range(turns):
                await asyncio.sleep(0)
            asked.append(asyncio.create_task(ask(rows)))
            if gives_up:
                await asyncio.sleep(0)
                asked[-1].cancel()
        replies = await asyncio.gather(*asked, return_exceptions=True)
        return replies, batcher.waiting, model.batches

    replies, left, batches = asyncio.run(run())
    assert left == 0
    asked = [value for batch in batches for value in batch]
    for (rows, _, gives_up), reply in zip(requests, replies, strict=True):
        if isinstance(reply, asyncio.CancelledError):
            assert gives_up
        elif type(reply) is Unavailable:
            assert "requests wait" in str(reply)
        elif bad := [value for value in rows if value in BAD]:
            assert type(reply) in {BAD[value] for value in bad}
            assert all(value in asked for value in rows)
        else:
            assert reply == [2 * value for value in rows]


def test_one_bad_row_of_many_costs_few_calls():
    async def run():
        model = Fate()
        batcher = Batcher(model.predict)
        replies = await asyncio.gather(
            *(batcher.submit({"x": [13 if at == 20 else at + 100]}, 1) for at in range(64)),
            return_exceptions=True,
        )
        return replies, len(model.batches)

    replies, calls = asyncio.run(run())
    assert [type(reply) for reply in replies].count(dict) == 63
    assert calls <= 13


def test_what_kills_does_so_once_more_and_the_others_are_answered():
    """Each is asked alone, once the engine is back."""

    async def run():
        model, returns = Fate(), []

        async def come_back():
            returns.append(len(model.batches))

        batcher = Batcher(model.predict, come_back=come_back)
        replies = await asyncio.gather(
            *(batcher.submit({"x": [value]}, 1) for value in (1, 7, 3)), return_exceptions=True
        )
        return replies, model.batches, returns

    replies, batches, returns = asyncio.run(run())
    assert batches == [[1, 7, 3], [1], [7], [3]]
    assert returns == [1, 2, 3]
    assert (to_list(replies[0]["y"]), to_list(replies[2]["y"])) == ([2], [6])
    assert isinstance(replies[1], EngineLost)


@pytest.mark.parametrize(("lost_as", "calls"), [(EngineLost, [[1], [1]]), (EngineHung, [[1]])])
def test_a_lone_request_that_lost_its_engine_is_asked_once_more(lost_as, calls):
    """Whoever else ended the engine; but where it hung, nobody else can be why."""

    async def run():
        asked = []

        async def predict(columns, rows):
            asked.append(list(columns["x"]))
            if len(asked) == 1:
                raise lost_as("gone")
            return {"y": columns["x"]}

        batcher = Batcher(predict)
        (reply,) = await asyncio.gather(batcher.submit({"x": [1]}, 1), return_exceptions=True)
        return asked, reply

    asked, reply = asyncio.run(run())
    assert asked == calls
    assert isinstance(reply, EngineHung) if lost_as is EngineHung else reply == {"y": [1]}


@pytest.mark.parametrize(
    ("call_s", "together", "waited_s"),
    [
        (0.010, 3, [0.0015]),  # 15 % of a call
        (1.0, 3, [LONGEST_COMPANY_S]),
        (0.010, 1, []),  # nobody came with company
        (0.001, 3, []),  # too cheap to wait for
    ],
)
def test_company_is_waited_for_where_calls_are_dear_and_there_was_some(call_s, together, waited_s):
    """On a clock that moves when the model is asked, and only then."""

    async def run():
        now_s, slept = [0.0], []

        async def predict(columns, rows):
            # The first call counts for a fifth of what a call is thought to take.
            now_s[0] += call_s * 5 if now_s[0] == 0.0 else call_s
            return {"y": columns["x"]}

        async def sleep(seconds):
            slept.append(seconds)

        batcher = Batcher(predict, sleep=sleep, now_s=lambda: now_s[0])
        await asyncio.gather(*(batcher.submit({"x": [1]}, 1) for _ in range(together)))
        await batcher.submit({"x": [1]}, 1)
        return slept

    assert asyncio.run(run()) == pytest.approx(waited_s)


def test_a_call_is_as_large_as_it_may_take_long():
    """300 rows of 0.1 s each, asked as one, would take half a minute: all of them would wait for
    it, and the worker be taken for one that hangs."""
    now_s = 0.0
    sizes: list[int] = []

    async def answer(columns, rows):
        nonlocal now_s
        sizes.append(rows)
        now_s += 0.05 + row_s * rows
        return {"y": columns["x"]}

    async def ask(batcher, count):
        await asyncio.gather(*(batcher.submit(x(value), 1) for value in range(count)))

    async def run():
        batcher = Batcher(answer, now_s=lambda: now_s)
        await ask(batcher, 300)
        slow = sizes.copy()
        sizes.clear()
        return batcher, slow

    row_s = 0.1
    _, slow = asyncio.run(run())
    assert slow[0] == 64
    assert set(slow[1:-1]) == {9}
    sizes.clear()
    row_s = 0.0
    batcher, _ = asyncio.run(run())
    for _ in range(100):
        asyncio.run(ask(batcher, 1))  # what one row takes is not what each of many takes
    sizes.clear()
    asyncio.run(ask(batcher, 500))
    assert len(sizes) == 3
    assert sum(sizes) == 500
