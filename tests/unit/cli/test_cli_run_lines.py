"""One line per change, told once."""

from __future__ import annotations

from typing import Any

from seamline.cli.run_lines import Changes, say_change

EVENT: dict[str, Any] = {
    "task": None,
    "state": "running",
    "attempt": 0,
    "wall_s": None,
    "cached_from": None,
    "sentence": "",
    "goes_again": False,
}


def at(second: float) -> str:
    return f"2026-01-01T00:00:{second:09.6f}Z"


def event(second: float, **more: Any) -> dict[str, Any]:
    return {**EVENT, "at": at(second), **more}


def going(task: str, second: float, attempt: int = 1) -> dict[str, Any]:
    return {"name": task, "attempt": attempt, "started_at": at(second)}


def answer(*events: dict[str, Any], running: Any = (), **more: Any) -> dict[str, Any]:
    plain = {"id": "0195", "state": "running", "sentence": "", "ended_at": None, "has_more": False}
    return {**plain, "events": list(events), "running": list(running), **more}


def told(changes: Changes, found: dict[str, Any]) -> list[str]:
    return [say_change(one).partition(" ")[2] for one in changes.take(found)]


def test_a_run_from_its_beginning_to_its_end() -> None:
    changes = Changes()
    assert told(changes, answer(event(0), running=[going("load", 0.1)])) == [
        "run 0195 running",
        "load running",
    ]
    assert told(changes, answer(running=[going("load", 0.1)])) == []
    ended = event(2, task="load", state="succeeded", attempt=1, wall_s=1.9)
    cached = event(2, task="fit", state="skipped", cached_from="0194")
    assert told(changes, answer(ended, cached, running=[going("keep", 2.1)])) == [
        "load succeeded 1.9 s",
        "fit cached, from run 0194",
        "keep running",
    ]
    failed = event(3, task="keep", state="failed", attempt=1, wall_s=1.0, sentence="OSError: full")
    last = event(3.1, state="failed")
    end = {"state": "failed", "sentence": "keep failed: OSError: full.", "ended_at": at(3)}
    assert told(changes, answer(failed, last, **end)) == [
        "keep failed 1.0 s: OSError: full",
        "run 0195 failed: keep failed: OSError: full.",
    ]


def test_retries_are_told_with_their_attempts() -> None:
    changes = Changes()
    assert told(changes, answer(running=[going("fit", 1)])) == ["fit running"]
    again = event(2, task="fit", state="failed", attempt=1, sentence="OSError", goes_again=True)
    assert told(changes, answer(again, running=[going("fit", 3, attempt=2)])) == [
        "fit failed, attempt 1, and goes again: OSError",
        "fit running, attempt 2",
    ]


def test_what_started_waits_until_all_that_ended_before_is_told() -> None:
    changes = Changes()
    first = event(1, task="a", state="succeeded")
    assert told(changes, answer(first, running=[going("c", 3)], has_more=True)) == ["a succeeded"]
    second = event(2, task="b", state="succeeded")
    assert told(changes, answer(second, running=[going("c", 3)])) == ["b succeeded", "c running"]


def test_what_ended_comes_before_what_took_its_place() -> None:
    """An engine starts the next task in the turn that it writes the end of the last in."""
    ended = event(1.000004, task="a", state="succeeded")
    found = answer(ended, running=[going("b", 1.000001)])
    assert told(Changes(), found) == ["a succeeded", "b running"]


def test_only_the_last_end_of_a_run_has_its_sentence() -> None:
    """A run that was retried has ended before."""
    found = answer(
        event(1, state="failed"),
        event(2, state="retried"),
        event(5, state="failed"),
        state="failed",
        sentence="fit failed.",
        ended_at=at(5),
    )
    assert told(Changes(), found) == [
        "run 0195 failed",
        "run 0195 retried",
        "run 0195 failed: fit failed.",
    ]


def test_a_line_is_one_line_without_control_characters() -> None:
    evil = event(1, task="a", state="failed", sentence="ValueError: \x1b[31mred\x1b[0m\nmore\r\x07")
    (line,) = told(Changes(), answer(evil))
    assert line.rstrip() == "a failed: ValueError: red more"
