"""A run's news as one entry per change: for a pipe, and as JSON lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seamline.cli.run_words import plain, say_state, say_time, say_took
from seamline.domain.states import TaskState

_STARTED = {"wall_s": None, "cached_from": None, "sentence": "", "goes_again": False}


class Changes:
    """Takes one answer after another; each change is told once, in order of time."""

    def __init__(self) -> None:
        self._running: set[tuple[str, int]] = set()

    def take(self, found: Mapping[str, Any]) -> list[dict[str, Any]]:
        entries = [
            {**event, "run_id": found["id"], "sentence": event["sentence"] or _why(event, found)}
            for event in found["events"]
        ]
        # What runs is as of now; while older events are still to come, it has to wait.
        if not found["has_more"]:
            now_running = {(one["name"], one["attempt"]): one for one in found["running"]}
            begun = now_running.keys() - self._running
            entries += [_start(found["id"], now_running[key]) for key in begun]
            self._running = set(now_running)
        return sorted(entries, key=_order)


def _order(entry: Mapping[str, Any]) -> tuple[str, bool, str]:
    """By time; of one moment, what ended comes before what started in its place."""
    is_start = entry["task"] is not None and entry["state"] == TaskState.RUNNING
    return entry["at"][: len("2026-01-02T03:04:05.00")], is_start, entry["at"]


def _why(event: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What there is to say of a run's end; a run that was retried has had others before it."""
    is_end = event["task"] is None and event["state"] == found["state"]
    return str(found["sentence"]) if is_end and event["at"] >= (found["ended_at"] or "") else ""


def _start(run_id: str, task: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at": task["started_at"],
        "task": task["name"],
        "state": TaskState.RUNNING.value,
        "attempt": task["attempt"],
        **_STARTED,
        "run_id": run_id,
    }


def say_change(entry: Mapping[str, Any]) -> str:
    """
    >>> at = "2026-01-02T03:04:05.000000Z"
    >>> plainly = {**_STARTED, "at": at, "task": "loop[3]/train", "run_id": "r", "attempt": 1}
    >>> say_change({**plainly, "state": "succeeded", "wall_s": 0.24}).partition(" ")[2]
    'loop[3]/train succeeded 0.2 s'
    >>> again = {**plainly, "state": "failed", "sentence": "ValueError: no", "goes_again": True}
    >>> say_change(again).partition(" ")[2]
    'loop[3]/train failed, attempt 1, and goes again: ValueError: no'
    """
    return plain(f"{say_time(entry['at'])} {_say(entry)}")


def _say(entry: Mapping[str, Any]) -> str:
    because = f": {entry['sentence']}" if entry["sentence"] else ""
    if entry["task"] is None:
        return f"run {entry['run_id']} {say_state(entry['state'])}{because}"
    text = f"{entry['task']} {say_state(entry['state'])}"
    if entry["wall_s"] is not None:
        text += f" {say_took(entry['wall_s'])}"
    if entry["cached_from"]:
        text += f", from run {entry['cached_from']}"
    if entry["goes_again"]:
        return f"{text}, attempt {entry['attempt']}, and goes again{because}"
    if entry["attempt"] > 1:
        text += f", attempt {entry['attempt']}"
    return text + because
