"""What a follower is told of a real run: each change once, in order, and no more than fits."""

import threading
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from seamline.domain.errors import InvalidInput, NotFound
from seamline.store.stores import Stores
from seamline.train.again import retry_run
from seamline.train.options import RunOptions
from seamline.train.runs import cancel_run, read_log
from seamline.train.views.events import Bookmark, read_bookmark
from seamline.train.views.following import MOST_FAILED, say_item, show_progress, stamps_of

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def odd(n: int) -> int:
    if n % 2 == 0:
        raise ValueError(f"{n} is even")
    return n


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def pass_once_open(gate: str) -> int:
    import time
    from pathlib import Path

    deadline = time.monotonic() + 60
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return 1


@dsl.component(base_image=IMAGE)
def third_time(folder: str) -> int:
    from pathlib import Path

    tries = len(list(Path(folder).iterdir()))
    print("try", tries + 1)
    Path(folder, f"{tries}").touch()
    if tries < 2:
        raise RuntimeError(f"try {tries + 1}")
    return tries


@dsl.pipeline
def grid(n: int = 1):
    first = add(n=n)
    with dsl.ParallelFor(["JFK", "LGA"]) as _, dsl.ParallelFor([1, 2, 3]) as i:
        one = odd(n=i)
        add(n=one.output, by=first.output)


@dsl.pipeline
def stubborn(folder: str):
    third_time(folder=folder).set_retry(2, backoff_duration="0s")


@dsl.pipeline
def gated(gate: str):
    add(n=pass_once_open(gate=gate).output)


@dsl.pipeline
def many_failures():
    with dsl.ParallelFor(list(range(0, 2 * (MOST_FAILED + 5), 2))) as i:
        odd(n=i)


def pages(stores: Stores, run_id: str, limit: int) -> list[dict[str, Any]]:
    """All events, read page by page."""
    found = show_progress(stores, run_id, limit=limit)
    events = list(found["events"])
    while found["has_more"]:
        assert len(found["events"]) == limit
        found = show_progress(stores, run_id, read_bookmark(found["cursor"]), limit=limit)
        events += found["events"]
    return events


@pytest.fixture
def ran(house: Any, compile_ir: Any) -> str:
    return str(house.run(compile_ir(grid), n=5)["id"])


def test_each_end_is_told_once_and_the_runs_own_around_them(house: Any, ran: str) -> None:
    whole = show_progress(house.stores, ran, limit=1000)
    events = whole["events"]
    told = [one["task"] for one in events if one["task"]]
    assert len(told) == len(set(told)) == sum(whole["tasks"].values()) == 13
    ends = {one["task"]: one["state"] for one in events}
    assert ends["for-loop-2[0]/for-loop-4[0]/odd"] == "succeeded"
    assert ends["for-loop-2[1]/for-loop-4[1]/add-2"] == "upstream_failed"
    failed = next(one for one in events if one["task"] == "for-loop-2[0]/for-loop-4[1]/odd")
    assert failed["sentence"] == "ValueError: 2 is even" and failed["wall_s"] > 0
    assert (events[0]["task"], events[0]["state"]) == (None, "running")
    assert (events[-1]["task"], events[-1]["state"]) == (None, "partially_failed")
    assert [one["at"] for one in events] == sorted(one["at"] for one in events)


@pytest.mark.parametrize("limit", [1, 4, 7])
def test_pages_of_any_size_tell_the_same(house: Any, ran: str, limit: int) -> None:
    assert pages(house.stores, ran, limit) == pages(house.stores, ran, 1000)


def test_who_has_read_all_is_told_nothing_twice(house: Any, ran: str) -> None:
    found = show_progress(house.stores, ran, limit=1000)
    again = show_progress(house.stores, ran, read_bookmark(found["cursor"]))
    assert again["events"] == [] and again["cursor"] == found["cursor"]


def test_only_the_newest(house: Any, ran: str) -> None:
    last = pages(house.stores, ran, 1000)[-3:]
    found = show_progress(house.stores, ran, newest=True, limit=3)
    assert found["events"] == last
    assert not found["has_more"]


def test_counts_of_loops_and_what_they_are_made_of(house: Any, ran: str) -> None:
    found = show_progress(house.stores, ran)
    outer, inner = found["loops"]
    assert (outer["name"], inner["name"]) == ("for-loop-2", "for-loop-2[]/for-loop-4")
    assert outer["iterations"] == {"failed": 2}
    assert inner["iterations"] == {"succeeded": 4, "failed": 2}
    assert outer["tasks"] == inner["tasks"] == {"succeeded": 8, "failed": 2, "upstream_failed": 2}
    assert (outer["opened"], inner["opened"]) == (2, 6)
    assert [one["name"] for one in found["nodes"]] == ["add", "for-loop-2"]
    assert found["running"] == found["retrying"] == []


def test_failures_say_which_item_they_are_of(house: Any, ran: str) -> None:
    failed = show_progress(house.stores, ran)["failed"]
    assert {(one["name"], one["item"]) for one in failed} == {
        ("for-loop-2[0]/for-loop-4[1]/odd", "JFK"),
        ("for-loop-2[1]/for-loop-4[1]/odd", "LGA"),
    }


def test_cached_tasks_say_whose_result_it_is(house: Any, compile_ir: Any, ran: str) -> None:
    again = house.run(compile_ir(grid), RunOptions(enable_cache=True), n=5)["id"]
    events = pages(house.stores, again, 1000)
    cached = [one for one in events if one["state"] == "skipped"]
    assert len(cached) == 9 and {one["cached_from"] for one in cached} == {ran}


def test_attempts_that_go_again_are_told_in_their_place(
    house: Any, compile_ir: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "tries"
    folder.mkdir()
    run_id = house.run(compile_ir(stubborn), folder=str(folder))["id"]
    events = pages(house.stores, run_id, 2)
    assert [
        (one["state"], one["attempt"], one["goes_again"], one["sentence"])
        for one in events
        if one["task"]
    ] == [
        ("failed", 1, True, "RuntimeError: try 1"),
        ("failed", 2, True, "RuntimeError: try 2"),
        ("succeeded", 3, False, ""),
    ]
    texts = [
        read_log(house.stores, run_id, "third-time", attempt=attempt)["text"].splitlines()[0]
        for attempt in (1, 2, 3)
    ]
    assert texts == ["try 1", "try 2", "try 3"]
    assert read_log(house.stores, run_id, "third-time", attempt=1)["is_complete"]
    with pytest.raises(NotFound, match="Known: 1 to 3"):
        read_log(house.stores, run_id, "third-time", attempt=4)


def test_while_it_goes_on_and_after_a_retry(house: Any, compile_ir: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_id = house.request(compile_ir(gated), gate=str(gate))
    house.wait_for(lambda: bool(show_progress(house.stores, run_id)["running"]))
    going = show_progress(house.stores, run_id)
    (running,) = going["running"]
    assert (running["name"], running["attempt"], running["item"]) == ("pass-once-open", 1, None)
    assert going["state"] == "running" and going["sentence"] == ""
    cancel_run(house.stores, run_id, by="ana")
    house.engine.wake()
    house.finish(run_id)
    ended = show_progress(house.stores, run_id, read_bookmark(going["cursor"]))
    assert {one["task"]: one["state"] for one in ended["events"]} == {
        "add": "canceled",
        "pass-once-open": "canceled",
        None: "canceled",
    }
    gate.touch()
    retry_run(house.stores, run_id, by="ana")
    house.engine.wake()
    house.finish(run_id)
    later = show_progress(house.stores, run_id, read_bookmark(ended["cursor"]))
    assert [(one["task"], one["state"]) for one in later["events"]] == [
        (None, "retried"),
        (None, "running"),
        ("pass-once-open", "succeeded"),
        ("add", "succeeded"),
        (None, "succeeded"),
    ]


def test_the_stamp_changes_with_each_commit_that_matters_and_with_no_other(
    house: Any, compile_ir: Any, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run_id = house.request(compile_ir(gated), gate=str(gate))
    house.wait_for(lambda: bool(show_progress(house.stores, run_id)["running"]))
    seen: list[str] = []
    lock = threading.Lock()

    def look() -> None:
        stamp = stamps_of(house.stores, [run_id])[run_id]
        with lock:
            if not seen or seen[-1] != stamp:
                seen.append(stamp)

    look()
    look()
    assert len(seen) == 1
    house.run(compile_ir(grid), n=1)
    look()
    assert len(seen) == 1, "another run is nobody's news"
    cancel_run(house.stores, run_id, by="ana")
    look()
    assert len(seen) == 2, "that it is asked to end is"
    gate.touch()
    house.engine.wake()
    house.finish(run_id)
    look()
    assert len(seen) == 3
    assert stamps_of(house.stores, ["none"]) == {}


def test_what_is_named_is_bounded_and_what_is_counted_is_not(house: Any, compile_ir: Any) -> None:
    run_id = house.run(compile_ir(many_failures))["id"]
    found = show_progress(house.stores, run_id, limit=5)
    assert len(found["failed"]) == MOST_FAILED
    assert found["tasks"]["failed"] == MOST_FAILED + 5
    assert len(found["events"]) == 5 and found["has_more"]


@pytest.mark.parametrize("text", ["", "1", "1.2", "a.b.c", "1.2.XYZ", "1.2.ab.c", "-1.0."])
def test_a_cursor_that_was_made_up_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no cursor"):
        read_bookmark(text)


def test_a_cursor_is_read_as_it_was_written() -> None:
    assert read_bookmark(str(Bookmark(7, 2, "0af"))) == Bookmark(7, 2, "0af")


def test_an_unknown_run_names_the_nearest(house: Any, ran: str) -> None:
    with pytest.raises(NotFound, match=f"Did you mean {ran}"):
        show_progress(house.stores, ran[:-1] + ("0" if ran[-1] != "0" else "1"))


def test_a_long_item_is_cut() -> None:
    assert len(say_item({"text": "x" * 500})) == 60
