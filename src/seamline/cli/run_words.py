"""How runs and tasks are put into words: plain text, the same on a terminal and in a pipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from seamline.domain.clock import from_iso
from seamline.domain.states import RunState, TaskState, is_terminal

ENDED_RUN = frozenset(state.value for state in RunState if is_terminal(state))
ENDED_TASK = frozenset(state.value for state in TaskState if is_terminal(state))
#: Of a run that has ended like this, a command that waited for it fails.
BAD_END = frozenset({RunState.FAILED.value, RunState.CANCELED.value})
_COLOURED = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NUMBERED = re.compile(r"([^\d]+|^)(\d*)")
_WORDS = {
    TaskState.PENDING.value: "waiting",
    TaskState.SKIPPED.value: "cached",
    TaskState.UPSTREAM_FAILED.value: "not run",
    TaskState.NOT_TRIGGERED.value: "left out",
}
#: In this order counts are told, besides those that run.
_TOLD = (
    TaskState.FAILED,
    TaskState.SKIPPED,
    TaskState.UPSTREAM_FAILED,
    TaskState.NOT_TRIGGERED,
    TaskState.CANCELED,
)


def say_state(state: str) -> str:
    """
    >>> say_state("skipped"), say_state("partially_failed")
    ('cached', 'partially failed')
    """
    return _WORDS.get(state, state.replace("_", " "))


def say_took(seconds: float) -> str:
    """
    >>> [say_took(s) for s in (0.04, 0.25, 59.94, 59.96, 3599.9, 7260)]
    ['0.04 s', '0.2 s', '59.9 s', '1 min 0 s', '1 h 0 min', '2 h 1 min']
    """
    if seconds < 0.1:
        return f"{max(0.0, seconds):.2f} s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def say_clock(seconds: float) -> str:
    """Of something that goes on: a number that does not jump about.

    >>> say_clock(5.9), say_clock(83), say_clock(3723)
    ('0:05', '1:23', '1:02:03')
    """
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def say_time(at: str) -> str:
    """The time of day, on the clock of whoever reads it."""
    return from_iso(at).astimezone().strftime("%H:%M:%S")


def say_moment(at: str | None) -> str:
    """Day and time, on the clock of whoever reads it."""
    return from_iso(at).astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "-"


def seconds_between(start: str | None, end: str | datetime | None) -> float | None:
    if start is None or end is None:
        return None
    until = end if isinstance(end, datetime) else from_iso(end)
    return max(0.0, (until - from_iso(start)).total_seconds())


def count_done(tasks: Mapping[str, int]) -> tuple[int, int]:
    """
    >>> count_done({"succeeded": 3, "failed": 1, "running": 2})
    (4, 6)
    """
    return sum(tasks[state] for state in tasks if state in ENDED_TASK), sum(tasks.values())


def say_counts(tasks: Mapping[str, int]) -> list[str]:
    """
    >>> say_counts({"succeeded": 1200, "failed": 1, "running": 2, "skipped": 3})
    ['1,204 of 1,206 tasks', '1 failed', '3 cached']
    """
    done, total = count_done(tasks)
    first = f"{done:,} of {total:,} task{'s' * (total != 1)}"
    return [first, *(f"{tasks[one]:,} {say_state(one)}" for one in _TOLD if tasks.get(one))]


def plain(text: str) -> str:
    """One line that moves no cursor, whatever a task's error said.

    >>> plain("a\\x1b[31mb\\x1b[0m\\nc\\x07")
    'ab c '
    """
    text = _COLOURED.sub("", text)
    return "".join(letter if letter.isprintable() else " " for letter in text)


def shorten(text: str, width: int) -> str:
    """
    >>> shorten("ValueError: no rows", 10), shorten("abc", 10)
    ('ValueErro…', 'abc')
    """
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def shorten_path(path: str, width: int) -> str:
    """The ends of a path say most.

    >>> shorten_path("scenarios[31]/train-scenario/enough-rows/train", 30)
    'scenarios[31]/…/train'
    >>> shorten_path("for-loop-1[2]/train", 30), shorten_path("a-long-name-for-a-task", 10)
    ('for-loop-1[2]/train', 'a-long-na…')
    """
    if len(path) <= width or "/" not in path:
        return shorten(path, width)
    first, _, rest = path.partition("/")
    tail = rest[-max(8, width - len(first) - 3) :]
    return f"{first}/…/{tail.partition('/')[2]}" if "/" in tail else f"{first}/…{tail}"


def natural(path: str) -> list[tuple[str, int]]:
    """To sort paths as people count.

    >>> sorted(["loop[10]/a", "loop[2]/a"], key=natural)
    ['loop[2]/a', 'loop[10]/a']
    """
    return [(text, int(number or 0)) for text, number in _NUMBERED.findall(path)]


def name_of(found: Mapping[str, Any]) -> str:
    """What people call a run: its own name, where it has one, else its pipeline."""
    named = found["display_name"] not in ("", found["id"])
    return plain(str(found["display_name"] if named else found["pipeline"]))


def quote_path(path: str) -> str:
    """As a shell takes it: brackets are patterns there.

    >>> quote_path("for-loop-1[3]/train"), quote_path("train")
    ("'for-loop-1[3]/train'", 'train')
    """
    return f"'{path}'" if "[" in path or " " in path else path
