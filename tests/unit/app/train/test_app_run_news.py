"""Coroutines that wait for anything to happen in a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from seamline.app.platform import Changes
from seamline.app.train.run_news import Known, RunNews
from seamline.domain.clock import ManualClock
from seamline.domain.facts import TaskEnded
from seamline.domain.states import RunState
from seamline.store.stores import Stores, open_stores
from seamline.train.rows import RUNS
from seamline.train.views.following import stamps_of

ROW = {
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


class Place:
    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        changes = Changes()
        stores.db.on_commit(changes.notify)
        self.news = RunNews(stores, changes)
        with stores.db.transaction() as tx:
            tx.execute(insert(RUNS), [{"id": run_id, **ROW} for run_id in ("one", "two")])

    def known(self, run_id: str) -> Known:
        return Known(run_id, stamps_of(self.stores, [run_id])[run_id])

    def end_task(self, run_id: str) -> None:
        with self.stores.db.transaction() as tx:
            fact = TaskEnded(run_id, "train", "succeeded", 1, "")
            self.stores.facts.append(tx, fact, by="ana")

    def touch(self) -> None:
        """A commit that changes nothing of what a follower sees."""
        with self.stores.db.transaction() as tx:
            tx.execute(update(RUNS).where(RUNS.c.id == "one").values(error="x"))


@pytest.fixture
def place(tmp_path: Path, clock: ManualClock) -> Iterator[Place]:
    stores = open_stores(tmp_path / "workspace", clock)
    yield Place(stores)
    stores.db.close()


def test_each_is_told_of_its_own_run_only(place: Place) -> None:
    async def story() -> None:
        one = asyncio.create_task(place.news.wait(place.known("one"), 30))
        two = asyncio.create_task(place.news.wait(place.known("two"), 30))
        await asyncio.sleep(0)
        await asyncio.to_thread(place.touch)
        await asyncio.to_thread(place.end_task, "one")
        assert await one
        assert not two.done()
        await asyncio.to_thread(place.end_task, "two")
        assert await two

    asyncio.run(story())


def test_what_happened_before_one_waits_is_told_at_once(place: Place) -> None:
    async def story() -> None:
        known = place.known("one")
        place.end_task("one")
        assert await place.news.wait(known, 30)
        assert await place.news.wait(Known("one", ""), 30)
        assert await place.news.wait(Known("unknown", ""), 0.05)

    asyncio.run(story())


def test_where_nothing_happens_time_runs_out(place: Place) -> None:
    async def story() -> None:
        assert await place.news.wait(place.known("one"), 0.05) is False

    asyncio.run(story())
