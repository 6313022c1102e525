"""The scheduler with its rows, on both databases: each due time has one run, whatever dies."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from seamline.domain.clock import ManualClock, SystemClock, iso
from seamline.domain.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from seamline.domain.states import RunState
from seamline.store.facts import read_facts
from seamline.store.stores import Stores, open_stores
from seamline.train.options import RunLabel
from seamline.train.rows import RUNS
from seamline.train.runs import request_run
from seamline.train.schedule.due import MissedPolicy
from seamline.train.schedule.scheduler import Scheduler, run_id_of
from seamline.train.schedule.schedules import (
    NewSchedule,
    PipelineChoice,
    Schedule,
    create_schedule,
    delete_schedule,
    due_schedules,
    find_schedule,
    list_schedules,
    set_paused,
)

IMPORTER = {
    "schemaVersion": "2.1.0",
    "pipelineInfo": {"name": "nightly"},
    "root": {"dag": {"tasks": {"load": {"componentRef": {"name": "comp-load"}}}}},
    "components": {
        "comp-load": {
            "executorLabel": "exec-load",
            "outputDefinitions": {
                "artifacts": {"artifact": {"artifactType": {"schemaTitle": "system.Dataset"}}}
            },
        }
    },
    "deploymentSpec": {
        "executors": {
            "exec-load": {
                "importer": {
                    "artifactUri": {"constant": "datasets://flights@1"},
                    "typeSchema": {"schemaTitle": "system.Dataset"},
                }
            }
        }
    },
}
IR = json.dumps(IMPORTER).encode()
HOURLY = NewSchedule("hourly", "dataops", PipelineChoice("nightly", digest="x"), interval_s=3600)
HOUR_S = 3600.0


class Killed(BaseException):
    """The process dies here: nothing behind this line happens."""


class House:
    """A scheduler whose runs are requested, and end when the test says so."""

    def __init__(self, stores: Stores, clock: ManualClock) -> None:
        self.stores = stores
        self.clock = clock
        self.scheduler = self.another_process()

    def another_process(self, submit: Callable[..., None] | None = None) -> Scheduler:
        return Scheduler(self.stores, submit or self.submit)

    def submit(self, schedule: Schedule, due_at: datetime, run_id: str) -> None:
        request_run(
            self.stores,
            IR,
            arguments={},
            environment=schedule.environment,
            by=schedule.created_by,
            caused_by=schedule.fact,
            run_id=run_id,
            label=RunLabel(schedule_id=schedule.id, scheduled_for=iso(due_at)),
        )

    def create(self, new: NewSchedule = HOURLY, **changes: Any) -> Schedule:
        return create_schedule(self.stores, replace(new, **changes), by="ana")

    def pass_time(self, seconds: float = HOUR_S) -> None:
        self.clock.advance(seconds)
        self.scheduler.tick()

    def end_runs(self) -> None:
        with self.stores.db.transaction() as tx:
            tx.execute(update(RUNS).values(state=RunState.SUCCEEDED))

    def due_times(self) -> list[str]:
        """Of the runs there are, as hours:minutes, in the order of their times."""
        with self.stores.db.read() as connection:
            query = select(RUNS.c.scheduled_for).order_by(RUNS.c.scheduled_for)
            return [text[11:16] for text in connection.execute(query).scalars()]

    def skipped(self) -> list[tuple[str, str, str]]:
        with self.stores.db.read() as connection:
            told = read_facts(connection, kinds=["schedule.skipped"])
        return [(f.body["first"][11:16], f.body["last"][11:16], f.body["reason"]) for f in told]


@pytest.fixture
def house(database_url: str | None, tmp_path: Path, clock: ManualClock) -> Iterator[House]:
    stores = open_stores(tmp_path / "workspace", clock, database_url=database_url)
    yield House(stores, clock)
    stores.db.close()


def test_each_time_gets_its_run_in_the_name_of_its_creator(house: House) -> None:
    made = house.create()
    assert house.scheduler.tick() == datetime(2026, 1, 1, 1, tzinfo=UTC)
    assert house.due_times() == []
    for _ in range(3):
        house.pass_time()
        house.end_runs()
    house.scheduler.tick()
    assert house.due_times() == ["01:00", "02:00", "03:00"]
    with house.stores.db.read() as connection:
        rows = connection.execute(select(RUNS).order_by(RUNS.c.scheduled_for)).all()
    assert {row.requested_by for row in rows} == {"ana"}
    assert {row.caused_by for row in rows} == {made.fact}
    found = find_schedule(house.stores, made.id)
    assert found.last_run_id == rows[-1].id
    assert found.next_at == "2026-01-01T04:00:00.000000Z"
    assert rows[0].id == run_id_of(made.id, datetime(2026, 1, 1, 1, tzinfo=UTC))


def test_a_full_schedule_goes_on_when_a_run_ends(house: House) -> None:
    house.create()
    house.pass_time()
    house.pass_time()
    assert house.due_times() == ["01:00"]
    house.end_runs()
    house.scheduler.tick()
    assert house.due_times() == ["01:00", "02:00"]


def test_three_at_a_time(house: House) -> None:
    house.create(max_concurrency=3)
    house.pass_time(5 * HOUR_S)
    assert house.due_times() == ["01:00", "02:00", "03:00"]
    house.end_runs()
    house.scheduler.tick()
    assert house.due_times() == ["01:00", "02:00", "03:00", "04:00", "05:00"]


@pytest.mark.parametrize(
    ("missed", "runs", "skipped"),
    [
        (MissedPolicy.ALL, ["01:00", "02:00", "03:00", "04:00"], []),
        (MissedPolicy.LATEST, ["04:00"], [("01:00", "03:00")]),
        (MissedPolicy.NONE, [], [("01:00", "04:00")]),
    ],
)
def test_a_pause_and_what_it_missed(
    house: House, missed: MissedPolicy, runs: list[str], skipped: list[tuple[str, str]]
) -> None:
    made = house.create(missed=missed, max_concurrency=100)
    set_paused(house.stores, made.id, True, by="bo")
    house.pass_time(4.5 * HOUR_S)
    assert house.due_times() == []
    resumed = set_paused(house.stores, "hourly", False, by="bo")
    house.scheduler.tick()
    assert house.due_times() == runs
    assert [one[:2] for one in house.skipped()] == skipped
    assert find_schedule(house.stores, made.id).next_at == "2026-01-01T05:00:00.000000Z"
    with house.stores.db.read() as connection:
        changes = read_facts(connection, subject=made.id, kinds=["schedule.changed"])
    assert [(one.body["change"], one.by) for one in changes] == [
        ("paused", "bo"),
        ("resumed", "bo"),
    ]
    assert resumed.fact == changes[-1].id


def test_a_year_asleep_is_decided_at_once(house: House) -> None:
    house.create(interval_s=1, missed=MissedPolicy.LATEST)
    house.pass_time(365 * 86_400)
    assert len(house.due_times()) == 1
    assert len(house.skipped()) == 1


@pytest.mark.parametrize("missed", MissedPolicy)
@pytest.mark.parametrize("is_requested", [False, True], ids=["before", "after"])
def test_killed_around_the_request(house: House, missed: MissedPolicy, is_requested: bool) -> None:
    """Just before the run is requested, or between that and the note that it was."""
    house.create(missed=missed)
    house.clock.advance(2 * HOUR_S)

    def die(schedule: Schedule, due_at: datetime, run_id: str) -> None:
        if is_requested:
            house.submit(schedule, due_at, run_id)
        raise Killed

    with pytest.raises(Killed):
        house.another_process(die).tick()
    before = house.due_times()
    assert len(before) == is_requested
    for _ in range(3):
        house.another_process().tick()
        house.end_runs()
    wanted = ["01:00", "02:00"] if missed is MissedPolicy.ALL else ["02:00"]
    assert house.due_times() == wanted
    with house.stores.db.read() as connection:
        ids = connection.execute(select(func.count(), func.count(RUNS.c.id.distinct()))).one()
        requested = read_facts(connection, kinds=["run.requested"])
    assert ids[0] == ids[1] == len(requested) == len(wanted)


def test_killed_right_after_any_commit(house: House) -> None:
    """Of the request, and of what notes it; tests/chaos kills a server, which seldom hits that."""
    commits = 0

    def burn() -> None:
        nonlocal commits
        commits -= 1
        if commits == 0:
            raise Killed

    house.create(missed=MissedPolicy.ALL, max_concurrency=9)
    house.stores.db.on_commit(burn)
    house.clock.advance(3 * HOUR_S)
    for left in range(1, 5):
        commits = left
        with contextlib.suppress(Killed):
            house.another_process().tick()
    commits = 0
    house.another_process().tick()
    assert house.due_times() == ["01:00", "02:00", "03:00"]
    with house.stores.db.read() as connection:
        requested = [one.subject for one in read_facts(connection, kinds=["run.requested"])]
        assert sorted(requested) == sorted(connection.execute(select(RUNS.c.id)).scalars())


def test_killed_after_the_request_while_the_pipeline_moved_on(house: House) -> None:
    """What was requested counts, though asking again would ask for another version by now."""
    house.create()
    house.clock.advance(HOUR_S)

    def die(*due: Any) -> None:
        house.submit(*due)
        raise Killed

    def moved_on(*due: Any) -> None:
        raise Conflict("the run exists, with another pipeline")

    with pytest.raises(Killed):
        house.another_process(die).tick()
    house.another_process(moved_on).tick()
    assert house.due_times() == ["01:00"]
    assert house.skipped() == []
    assert find_schedule(house.stores, "hourly").last_error is None


def test_a_refusal_is_told_once_and_does_not_hold_up_the_others(house: House) -> None:
    bad = house.create(name="bad")
    house.create(name="good", max_concurrency=9)

    def submit(schedule: Schedule, due_at: datetime, run_id: str) -> None:
        if schedule.name == "bad":
            raise Refused("no release is live there.", next_step="Promote one.")
        house.submit(schedule, due_at, run_id)

    house.clock.advance(3 * HOUR_S)
    house.another_process(submit).tick()
    assert house.due_times() == ["01:00", "02:00", "03:00"]
    assert house.skipped() == [("01:00", "03:00", "no release is live there. Promote one.")]
    assert (
        find_schedule(house.stores, bad.id).last_error == "no release is live there. Promote one."
    )
    house.end_runs()
    house.pass_time()
    assert find_schedule(house.stores, bad.id).last_error is None, "the next one went well"


@pytest.mark.parametrize("error", [Unavailable("the disk is full"), RuntimeError("a defect")])
def test_trouble_of_the_machine_is_tried_again(house: House, error: Exception) -> None:
    house.create()
    house.clock.advance(HOUR_S)

    def fail(*due: Any) -> None:
        raise error

    again = house.another_process(fail).tick()
    assert again == house.clock.now() + timedelta(seconds=10)
    assert house.skipped() == []
    house.scheduler.tick()
    assert house.due_times() == ["01:00"]


def test_paused_or_deleted_while_its_run_is_requested(house: House) -> None:
    made = house.create(max_concurrency=5)
    house.clock.advance(3 * HOUR_S)

    def submit_and(change: Callable[[], object]) -> Callable[..., None]:
        def submit(*due: Any) -> None:
            house.submit(*due)
            change()

        return submit

    house.another_process(
        submit_and(lambda: set_paused(house.stores, made.id, True, by="bo"))
    ).tick()
    assert house.due_times() == ["01:00"]
    set_paused(house.stores, made.id, False, by="bo")
    house.another_process(
        submit_and(lambda: delete_schedule(house.stores, made.id, by="bo"))
    ).tick()
    assert house.due_times() == ["01:00", "02:00"]
    assert list_schedules(house.stores) == []


def test_a_pause_waits_for_the_run_that_is_being_requested(house: House) -> None:
    """So that none is requested after it has been acknowledged."""
    made = house.create(max_concurrency=5)
    house.clock.advance(3 * HOUR_S)
    asked, may_go_on = threading.Event(), threading.Event()

    def submit(*due: Any) -> None:
        asked.set()
        assert may_go_on.wait(120)
        house.submit(*due)

    scheduler = house.another_process(submit)
    with ThreadPoolExecutor() as pool:
        ticking = pool.submit(scheduler.tick)
        assert asked.wait(120)
        set_paused(house.stores, made.id, True, by="bo")
        settling = pool.submit(scheduler.settle)
        assert not settling.done()
        may_go_on.set()
        settling.result(120)
        seen = house.due_times()
        ticking.result(120)
    assert house.due_times() == seen == ["01:00"]


def test_the_end(house: House) -> None:
    end = house.clock.now() + timedelta(hours=2)
    house.create(end_at=end, max_concurrency=9)
    house.pass_time(9 * HOUR_S)
    assert house.due_times() == ["01:00", "02:00"]
    assert find_schedule(house.stores, "hourly").next_at is None
    assert due_schedules(house.stores, house.clock.now()) == []


def test_a_start_that_has_passed_is_caught_up_with(house: House) -> None:
    house.clock.advance(10 * HOUR_S)
    house.create(start_at=datetime(2026, 1, 1, 7, tzinfo=UTC), max_concurrency=9)
    house.scheduler.tick()
    assert house.due_times() == ["08:00", "09:00", "10:00"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "  "}, "name"),
        ({"max_concurrency": 0}, "max_concurrency is 0"),
        ({"interval_s": None, "cron": "0 0 0 30 2 *"}, "no such month has a day 30"),
        ({"end_at": datetime(2026, 1, 1, 0, 30, tzinfo=UTC)}, "never be due"),
        (
            {
                "start_at": datetime(2027, 1, 1, tzinfo=UTC),
                "end_at": datetime(2026, 1, 1, tzinfo=UTC),
            },
            "before it starts",
        ),
        ({"time_zone": "Mars/Olympus"}, "no time zone"),
    ],
)
def test_what_cannot_be_a_schedule(house: House, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        house.create(**changes)
    assert list_schedules(house.stores) == []


def test_by_name_where_only_one_has_it(house: House) -> None:
    house.create()
    with pytest.raises(NotFound, match="Did you mean hourly"):
        find_schedule(house.stores, "huorly")
    house.create(environment="production")
    with pytest.raises(Conflict, match="2 schedules are called 'hourly'"):
        find_schedule(house.stores, "hourly")
    assert len(list_schedules(house.stores, "production")) == 1


def test_the_thread_sleeps_until_it_is_due(sqlite_stores: Stores) -> None:
    """With the machine's clock, and a rhythm of a second."""
    stores = replace(sqlite_stores, clock=SystemClock())
    requested = threading.Event()

    def submit(schedule: Schedule, due_at: datetime, run_id: str) -> None:
        if stores.clock.now() >= due_at:
            requested.set()

    scheduler = Scheduler(stores, submit)
    scheduler.start()
    try:
        create_schedule(stores, replace(HOURLY, interval_s=1), by="ana")
        scheduler.wake()
        assert requested.wait(120)
    finally:
        scheduler.stop()
