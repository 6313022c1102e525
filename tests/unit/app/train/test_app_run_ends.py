"""Coroutines that wait for the ends of runs: all woken by one look, none forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from seamline.app.platform import Changes
from seamline.app.train.run_ends import RunEnds
from seamline.domain.clock import ManualClock
from seamline.domain.states import RunState
from seamline.store.stores import Stores, open_stores
from seamline.train.rows import RUNS


class Place:
    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.changes = Changes()
        stores.db.on_commit(self.changes.notify)
        self.ends = RunEnds(stores, self.changes)

    def begin(self, *run_ids: str) -> None:
        row = {
            "environment": "dataops",
            "pipeline": "p",
            "pipeline_digest": "sha256:x",
            "arguments": "{}",
            "state": RunState.RUNNING,
            "requested_by": "ana",
            "request_fact": "f",
            "display_name": "d",
            "team": "",
            "options": "{}",
            "notes": "[]",
            "fidelity": "forked",
            "storage": "available",
            "created_at": "2026-01-01T00:00:00.000000Z",
        }
        with self.stores.db.transaction() as tx:
            tx.execute(insert(RUNS), [{"id": run_id, **row} for run_id in run_ids])

    def end(self, run_id: str) -> None:
        with self.stores.db.transaction() as tx:
            tx.execute(update(RUNS).where(RUNS.c.id == run_id).values(state=RunState.FAILED))

    def listeners(self) -> int:
        return len(self.changes._listeners)


@pytest.fixture
def place(tmp_path: Path, clock: ManualClock) -> Iterator[Place]:
    stores = open_stores(tmp_path / "workspace", clock)
    yield Place(stores)
    stores.db.close()


def test_each_waits_for_its_own_run(place: Place) -> None:
    async def story() -> None:
        place.begin("one", "two")
        waiting = [asyncio.create_task(place.ends.wait("one", 30)) for _ in range(3)]
        other = asyncio.create_task(place.ends.wait("two", 30))
        await asyncio.sleep(0)
        await asyncio.to_thread(place.end, "one")
        assert await asyncio.gather(*waiting) == [True] * 3
        assert not other.done()
        await asyncio.to_thread(place.end, "two")
        assert await other

    asyncio.run(story())
    assert place.listeners() == 0, "nobody waits, so no commit is listened to"


def test_what_has_ended_before_or_is_unknown_is_told_at_once(place: Place) -> None:
    async def story() -> None:
        place.begin("one", "going")
        place.end("one")
        going = asyncio.create_task(place.ends.wait("going", 30))
        await asyncio.sleep(0)
        assert await place.ends.wait("one", 30)
        assert await place.ends.wait("unknown", 30)
        going.cancel()

    asyncio.run(story())


def test_time_runs_out_and_those_who_leave_are_forgotten(place: Place) -> None:
    async def story() -> None:
        place.begin("one")
        assert await place.ends.wait("one", 0.01) is False
        left = asyncio.create_task(place.ends.wait("one", 30))
        await asyncio.sleep(0.01)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert place.ends._waiting == {}
        follower = place.ends._follower
        if follower is not None:
            await follower
        assert place.listeners() == 0
        later = asyncio.create_task(place.ends.wait("one", 30))
        await asyncio.sleep(0)
        await asyncio.to_thread(place.end, "one")
        assert await later

    asyncio.run(story())


def test_a_server_that_stops_lets_everybody_go(place: Place) -> None:
    async def story() -> None:
        place.begin("one")
        held = asyncio.create_task(place.ends.wait("one", 600))
        await asyncio.sleep(0)
        place.ends.close()
        assert await held
        assert await place.ends.wait("one", 600), "and nobody is held any more"

    asyncio.run(story())


def test_trouble_with_the_database_is_no_reason_to_hold_on(place: Place) -> None:
    async def story() -> None:
        place.begin("one")
        held = asyncio.create_task(place.ends.wait("one", 600))
        await asyncio.sleep(0)
        with place.stores.db.engine.connect() as connection:
            connection.exec_driver_sql("ALTER TABLE runs RENAME TO gone")
        place.changes.notify()
        assert await held

    asyncio.run(story())


def test_a_loop_that_is_gone_does_not_trouble_who_commits(place: Place) -> None:
    async def story() -> Callable[[], None]:
        place.begin("one")
        held = asyncio.create_task(place.ends.wait("one", 600))
        await asyncio.sleep(0.01)
        (listener,) = place.changes._listeners
        place.ends.close()
        await held
        return listener

    committed = asyncio.run(story())
    committed()
