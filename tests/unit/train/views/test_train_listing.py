"""Lists of runs, filtered, sorted and paged by both databases; experiments and where runs lie."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from seamline.domain.clock import ManualClock, iso, new_id
from seamline.domain.errors import Conflict, InvalidInput, NotFound, Refused
from seamline.domain.states import RunState, TaskState
from seamline.store.facts import read_facts
from seamline.store.stores import Stores, open_stores
from seamline.train.experiments import (
    archive_experiment,
    create_experiment,
    default_experiment,
    delete_experiment,
    find_experiment,
    list_experiments,
    unarchive_experiment,
)
from seamline.train.filing import file_run
from seamline.train.rows import RUNS, TASKS
from seamline.train.schedule.schedules import (
    NewSchedule,
    PipelineChoice,
    create_schedule,
    find_schedule,
)
from seamline.train.views.listing import (
    Comparison,
    Condition,
    Cursor,
    Order,
    Storage,
    ended_among,
    find_run,
    list_task_records,
    newest_run_at,
    page_runs,
)


class Shelf:
    """Runs that nobody carries out."""

    def __init__(self, stores: Stores, clock: ManualClock) -> None:
        self.stores = stores
        self.clock = clock

    def add(self, name: str, **changes: Any) -> str:
        self.clock.advance(1)
        row = {
            "id": new_id(self.clock),
            "environment": "dataops",
            "pipeline": "training",
            "pipeline_digest": "sha256:x",
            "arguments": json.dumps({"n": 1}),
            "state": RunState.SUCCEEDED,
            "requested_by": "ana",
            "request_fact": "f",
            "display_name": name,
            "team": "",
            "options": "{}",
            "notes": "[]",
            "fidelity": "forked",
            "storage": Storage.AVAILABLE,
            "created_at": iso(self.clock.now()),
            **changes,
        }
        with self.stores.db.transaction() as tx:
            tx.execute(insert(RUNS).values(row))
        return str(row["id"])

    def names(self, *conditions: Condition, **more: Any) -> list[str]:
        found = page_runs(self.stores, conditions=conditions, **more)
        assert found.total >= len(found.runs)
        return [run.display_name for run in found.runs]


@pytest.fixture
def shelf(database_url: str | None, tmp_path: Path, clock: ManualClock) -> Iterator[Shelf]:
    stores = open_stores(tmp_path / "workspace", clock, database_url=database_url)
    yield Shelf(stores, clock)
    stores.db.close()


def condition(column: str, comparison: Comparison, value: Any) -> Condition:
    return Condition(column, comparison, value)


def test_each_comparison(shelf: Shelf) -> None:
    for name in ("alpha", "Beta_1", "beta%2", "gamma"):
        shelf.add(name, ended_at=None if name == "gamma" else "2026-05-05T00:00:00.000000Z")
    wanted: list[tuple[str, Comparison, Any, Sequence[str]]] = [
        ("display_name", Comparison.EQUALS, "alpha", ["alpha"]),
        ("display_name", Comparison.EQUALS, "ALPHA", []),
        ("display_name", Comparison.NOT_EQUALS, "alpha", ["Beta_1", "beta%2", "gamma"]),
        ("display_name", Comparison.GREATER_THAN, "beta%2", ["gamma"]),
        ("display_name", Comparison.GREATER_THAN_EQUALS, "gamma", ["gamma"]),
        ("display_name", Comparison.IN, ["alpha", "gamma"], ["alpha", "gamma"]),
        ("display_name", Comparison.IN, [], []),
        ("display_name", Comparison.NOT_IN, ["alpha", "gamma"], ["Beta_1", "beta%2"]),
        ("display_name", Comparison.IS_SUBSTRING, "BETA", ["Beta_1", "beta%2"]),
        ("display_name", Comparison.IS_SUBSTRING, "a_", ["Beta_1"]),
        ("display_name", Comparison.IS_SUBSTRING, "a%", ["beta%2"]),
        ("ended_at", Comparison.EQUALS, "", ["gamma"]),
        ("created_at", Comparison.LESS_THAN, "2026-01-01T00:00:02.000000Z", ["alpha"]),
        (
            "created_at",
            Comparison.LESS_THAN_EQUALS,
            "2026-01-01T00:00:02.000000Z",
            ["alpha", "Beta_1"],
        ),
    ]
    for column, comparison, value, names in wanted:
        assert shelf.names(condition(column, comparison, value)) == names, (comparison, value)
    both = [condition("display_name", Comparison.IS_SUBSTRING, word) for word in ("beta", "2")]
    assert shelf.names(*both) == ["beta%2"]
    with pytest.raises(InvalidInput, match="Did you mean display_name"):
        shelf.names(condition("displayname", Comparison.EQUALS, "x"))


@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("column", ["created_at", "state", "ended_at"])
def test_pages_show_each_run_once(shelf: Shelf, column: str, is_descending: bool) -> None:
    """Also where many rows are equal, or have nothing, in the column that sorts them."""
    for index in range(7):
        state = RunState.FAILED if index % 3 else RunState.SUCCEEDED
        ended_at = None if index < 3 else "2026-05-05T00:00:00.000000Z"
        shelf.add(f"run {index}", state=state, ended_at=ended_at)
    shown: list[str] = []
    order, after = Order(column, is_descending), None
    while True:
        page = page_runs(shelf.stores, order=order, after=after, limit=2)
        assert page.total == 7
        shown += [run.id for run in page.runs]
        after = page.next
        if after is None:
            break
        shelf.add("in between", state=RunState.PENDING, environment="elsewhere")
        file_run(shelf.stores, shelf_last(shelf), Storage.DELETED, by="ana")
    whole = page_runs(shelf.stores, order=order, limit=50)
    assert shown == [run.id for run in whole.runs]
    assert len(set(shown)) == 7


def shelf_last(shelf: Shelf) -> str:
    newest = Order("created_at", is_descending=True)
    return page_runs(shelf.stores, order=newest, limit=1).runs[0].id


def test_a_run_that_is_asked_to_end_shows_so_until_it_has(shelf: Shelf) -> None:
    shelf.add("going", state=RunState.RUNNING)
    shelf.add("ending", state=RunState.RUNNING, cancel_requested_by="bo")
    shelf.add("ended", state=RunState.CANCELED, cancel_requested_by="bo")
    for value, names in [
        ("running", ["going"]),
        ("canceling", ["ending"]),
        ("canceled", ["ended"]),
    ]:
        assert shelf.names(condition("state", Comparison.EQUALS, value)) == names


def test_archived_is_shown_and_deleted_is_not(shelf: Shelf) -> None:
    run_id = shelf.add("one")
    file_run(shelf.stores, run_id, Storage.ARCHIVED, by="bo")
    assert find_run(shelf.stores, run_id).storage is Storage.ARCHIVED
    file_run(shelf.stores, run_id, Storage.DELETED, by="bo")
    assert shelf.names() == []
    for deed in (
        lambda: find_run(shelf.stores, run_id),
        lambda: file_run(shelf.stores, run_id, Storage.AVAILABLE, by="bo"),
    ):
        with pytest.raises(NotFound):
            deed()
    with shelf.stores.db.read() as connection:
        told = read_facts(connection, subject=run_id, kinds=["run.filed"])
    assert [(f.body["before"], f.body["after"], f.by) for f in told] == [
        ("available", "archived", "bo"),
        ("archived", "deleted", "bo"),
    ]


def test_the_default_experiment_holds_what_was_filed_nowhere(shelf: Shelf) -> None:
    stores = shelf.stores
    default = default_experiment(stores, "dataops", by="ana")
    assert default_experiment(stores, "dataops", by="bo") == default
    other = create_experiment(stores, "dataops", "other", by="ana")
    shelf.add("nowhere")
    shelf.add("there", experiment_id=default.id)
    shelf.add("other", experiment_id=other.id)
    shelf.add("nowhere, in production", environment="production")
    assert shelf.names(drawer=default.drawer) == ["nowhere", "there"]
    assert shelf.names(drawer=other.drawer) == ["other"]
    newest = newest_run_at(stores, [default.drawer, other.drawer])
    assert newest == {
        default.id: "2026-01-01T00:00:02.000000Z",
        other.id: "2026-01-01T00:00:03.000000Z",
    }


def test_an_experiment_from_its_beginning_to_its_end(shelf: Shelf) -> None:
    stores = shelf.stores
    made = create_experiment(stores, "dataops", "trials", "first", by="ana")
    create_experiment(stores, "staging", "trials", by="ana")
    with pytest.raises(Conflict, match="dataops has an experiment 'trials' already"):
        create_experiment(stores, "dataops", "trials", by="bo")
    run_id = shelf.add("one", experiment_id=made.id)
    elsewhere = shelf.add("two")
    schedule = create_schedule(
        stores,
        NewSchedule("s", "dataops", PipelineChoice("p"), interval_s=60, experiment_id=made.id),
        by="ana",
    )
    for _ in range(2):
        archive_experiment(stores, made.id, by="bo")
    assert find_run(stores, run_id).storage is Storage.ARCHIVED
    assert find_run(stores, elsewhere).storage is Storage.AVAILABLE
    assert find_schedule(stores, schedule.id).is_paused
    unarchive_experiment(stores, made.id, by="bo")
    assert find_experiment(stores, made.id).storage is Storage.AVAILABLE
    assert find_run(stores, run_id).storage is Storage.ARCHIVED
    delete_experiment(stores, made.id, by="bo")
    assert [one.environment for one in list_experiments(stores)] == ["staging"]
    with pytest.raises(NotFound):
        find_experiment(stores, made.id)
    assert shelf.names() == ["one", "two"]
    with stores.db.read() as connection:
        told = read_facts(connection, subject=made.id)
    changes = [fact.body["change"] for fact in told]
    assert changes == ["created", "archived", "unarchived", "deleted"]
    create_experiment(stores, "dataops", "trials", by="ana")


def test_the_default_experiment_stays(shelf: Shelf) -> None:
    default = default_experiment(shelf.stores, "dataops", by="ana")
    with pytest.raises(Refused, match="cannot be deleted"):
        delete_experiment(shelf.stores, default.id, by="ana")
    with pytest.raises(Conflict):
        create_experiment(shelf.stores, "dataops", "Default", by="ana")
    for name in ("", "x" * 201):
        with pytest.raises(InvalidInput):
            create_experiment(shelf.stores, "dataops", name, by="ana")


def test_which_have_ended(shelf: Shelf) -> None:
    going, done = shelf.add("a", state=RunState.RUNNING), shelf.add("b")
    assert ended_among(shelf.stores, [going, done, "unknown"]) == {done, "unknown"}
    with shelf.stores.db.transaction() as tx:
        tx.execute(update(RUNS).values(state=RunState.FAILED))
    assert ended_among(shelf.stores, [going]) == {going}


def test_tasks_stand_in_the_order_of_the_plan_with_groups_before_what_is_in_them(
    shelf: Shelf,
) -> None:
    run_id = shelf.add("loops")
    rows = [
        ("report", None, 2),
        ("loop/1/train", "loop/1", 0),
        ("loop", None, 1),
        ("prepare", None, 0),
        ("loop/10", "loop", 10),
        ("loop/1", "loop", 1),
        ("loop/2", "loop", 2),
    ]
    with shelf.stores.db.transaction() as tx:
        for name, parent, position in rows:
            tx.execute(
                insert(TASKS).values(
                    run_id=run_id,
                    name=name,
                    parent=parent,
                    position=position,
                    kind="python",
                    component="c",
                    display_name=name,
                    state=TaskState.SUCCEEDED,
                    attempt=1,
                    failures=0,
                )
            )
    assert [task.name for task in list_task_records(shelf.stores, run_id)] == [
        "prepare",
        "loop",
        "loop/1",
        "loop/1/train",
        "loop/2",
        "loop/10",
        "report",
    ]


def test_a_cursor_of_a_run_that_is_gone_still_leads_on(shelf: Shelf) -> None:
    ids = [shelf.add(f"run {index}") for index in range(4)]
    page = page_runs(shelf.stores, limit=2)
    assert isinstance(page.next, Cursor)
    file_run(shelf.stores, ids[1], Storage.DELETED, by="ana")
    assert [one.id for one in page_runs(shelf.stores, after=page.next, limit=2).runs] == ids[2:]
