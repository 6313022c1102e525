"""What a group of planes is made of: a channel, turns, sums."""

from __future__ import annotations

import asyncio
import socket

import pytest

from seamline.domain.errors import MachineryError, Refused
from seamline.serve.group.channel import Channel, ChannelLost
from seamline.serve.group.counts import GAUGES, PlaneCounts, merge, write_dump
from seamline.serve.group.turns import Turns
from seamline.serve.metrics import METRICS, Metrics

#: What only the supervisor says, of all of them.
OF_ALL = {
    "seamline_planes",
    "seamline_origin_contact_timestamp_seconds",
    "seamline_origin_refused",
    "seamline_packages_awaited",
    "seamline_log_segments",
}


async def connected(answer):
    """Both ends; the second answers."""
    channels = []
    for one in socket.socketpair():
        reader, writer = await asyncio.open_unix_connection(sock=one)
        channels.append(Channel(reader, writer, answer))
    return channels, [asyncio.create_task(one.run()) for one in channels]


def test_answers_come_in_whatever_order_they_are_done_and_errors_by_their_meaning():
    async def run():
        later = asyncio.Event()

        async def answer(op, body):
            match op:
                case "late":
                    await later.wait()
                case "refuse":
                    raise Refused("No.", next_step="Ask for less.")
                case "break":
                    raise ZeroDivisionError("by nothing")
            later.set()
            return {"said": body["word"]}

        (ours, _), running = await connected(answer)
        late = asyncio.create_task(ours.ask("late", word="first"))
        assert await ours.ask("soon", word="second") == {"said": "second"}
        assert await late == {"said": "first"}
        with pytest.raises(Refused, match=r"No\. Ask for less\."):
            await ours.ask("refuse")
        with pytest.raises(MachineryError, match="by nothing"):
            await ours.ask("break")
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    asyncio.run(run())


def test_what_nobody_will_answer_any_more_is_told():
    async def run():
        asked = asyncio.Event()

        async def answer(op, body):
            asked.set()
            await asyncio.Event().wait()

        (ours, theirs), running = await connected(answer)
        waiting = asyncio.create_task(ours.ask("anything"))
        await asked.wait()
        running[1].cancel()
        with pytest.raises(ChannelLost):
            await waiting
        with pytest.raises(ChannelLost):
            await ours.ask("more")
        assert ours.is_lost and theirs.is_lost
        await asyncio.gather(*running, return_exceptions=True)

    asyncio.run(run())


def test_nobody_joins_while_a_swap_goes_on_and_the_other_way_round():
    async def run():
        turns, log = Turns(), []
        inside, leave = asyncio.Event(), asyncio.Event()

        async def swap(name):
            async with turns.swap():
                log.append(f"{name} begins")
                inside.set()
                await leave.wait()
                log.append(f"{name} ends")

        async def join():
            async with turns.join():
                log.append("joined")

        swaps = [asyncio.create_task(swap(name)) for name in "ab"]
        await inside.wait()
        joining = asyncio.create_task(join())
        await asyncio.sleep(0)
        leave.set()
        await asyncio.gather(*swaps, joining)
        assert log[:2] == ["a begins", "b begins"]
        assert log[-1] == "joined"

    asyncio.run(run())


def test_it_is_said_of_each_gauge_what_it_is_of_several_processes():
    gauges = {name for name, (kind, *_) in METRICS.items() if kind == "gauge"}
    assert gauges - OF_ALL == set(GAUGES)


def test_sums_do_not_fall_when_a_process_ends():
    labels = (("environment", "production"),)
    counts = {number: PlaneCounts() for number in range(2)}
    for number, version in ((0, 4), (1, 3)):
        told = Metrics()
        told.count_request("production", "a", 200, 0.004)
        told.put("seamline_snapshot_version", labels, version)
        counts[number].told(write_dump(told))
    before = merge(Metrics(), list(counts.items()))
    counts[0].end()
    after = merge(Metrics(), list(counts.items()))
    assert before.values["seamline_snapshot_version", labels] == 3
    for merged in (before, after):
        lines = merged.render().splitlines()
        assert (
            'seamline_requests_total{environment="production",endpoint="a",status="200"} 2' in lines
        )
        assert 'seamline_request_seconds_count{environment="production",endpoint="a"} 2' in lines
        assert 'seamline_plane_requests_total{plane="0"} 1' in lines
