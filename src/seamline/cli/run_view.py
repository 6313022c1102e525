"""What a terminal shows of a run that goes on: lines of styled words, cut to fit.

Pure: from one answer of `/runs/…/progress`, the time and the size to lines. However many tasks
there are, what runs and what failed can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from seamline.cli.run_tree import (
    BAD,
    BUSY,
    LOOKS,
    QUIET,
    Size,
    Words,
    bar,
    cut,
    draw_tree,
    is_task,
)
from seamline.cli.run_words import (
    ENDED_TASK,
    count_done,
    name_of,
    plain,
    say_clock,
    say_counts,
    say_state,
    say_took,
    seconds_between,
    shorten,
    shorten_path,
)
from seamline.domain.states import RunState, TaskState

_MOST_FAILED, _MOST_RUNNING, _MOST_RECENT = 6, 8, 6


def draw(found: Mapping[str, Any], now: datetime, size: Size) -> list[Words]:
    """`now`: on the clock that the answer's times are from."""
    head = _head(found, now, size)
    left = max(3, size.lines - 1 - len(head))
    sections: list[list[Words]] = []
    for section in (
        _failed(_besidedraw_tree(found, "failed"), _count(found, TaskState.FAILED), size),
        _running(_besidedraw_tree(found, "running"), _count(found, TaskState.RUNNING), now, size),
        _retrying(_besidedraw_tree(found, "retrying"), size),
    ):
        if section and len(section) + 4 <= left:
            sections.append(section)
            left -= len(section)
    tree = draw_tree(found, now, size, left)
    left -= len(tree)
    recent = _recent(_besidedraw_tree(found, "events"), size, left)
    if not tree:
        head = head[:-1]  # Each section brings its own blank line.
    return [*head, *tree, *(line for section in sections for line in section), *recent]


def _besidedraw_tree(found: Mapping[str, Any], what: str) -> list[Mapping[str, Any]]:
    """Those that are in loops; those of the outermost scope are in the tree, unless there are too
    many of them for one."""
    paths = ((one, one.get("name") or one.get("task") or "") for one in found[what])
    return [one for one, path in paths if "[" in path or (path and found["nodes"] is None)]


def _count(found: Mapping[str, Any], state: TaskState) -> int:
    """How many that section could tell of."""
    in_tree = sum(1 for node in found["nodes"] or () if node["state"] == state and is_task(node))
    return int(found["tasks"].get(state, 0)) - in_tree


# -- above -------------------------------------------------------------------------------------


def _head(found: Mapping[str, Any], now: datetime, size: Size) -> list[Words]:
    state = found["state"]
    is_canceling = found["cancel_requested_by"] and state in (RunState.PENDING, RunState.RUNNING)
    symbol, style = LOOKS.get(state, ("○", QUIET))
    took = seconds_between(found["started_at"], found["ended_at"] or now)
    clock = f" {say_clock(took)}" if took is not None else ""
    done_text, *counts = say_counts(found["tasks"])
    told = [say_state("canceling" if is_canceling else state) + clock, done_text]
    told += [*counts[:1], *_slots(found), *counts[1:]]
    done, total = count_done(found["tasks"])
    share = done / total if total else 0.0
    title: Words = [
        (shorten(name_of(found), max(10, size.columns - 60)), "bold"),
        (f"  {found['id']} in {plain(found['environment'])}", QUIET),
    ]
    return [
        title,
        [(f"{symbol} ", style), (shorten(" · ".join(told), size.columns - 2), style)],
        [*bar(share, min(60, size.columns - 8)), (f" {int(share * 100)} %", QUIET)],
        [],
    ]


def _slots(found: Mapping[str, Any]) -> list[str]:
    """Why it is not faster, or why nothing happens."""
    slots, running = found["slots"], found["tasks"].get(TaskState.RUNNING, 0)
    own = found["options"].get("slots")
    told = [f"{slots['busy']} of {slots['of']} slots"]
    if own is not None:
        told = [f"{running} of its {own} slots"]
    is_waiting = not running and found["tasks"].get(TaskState.PENDING) and not found["retrying"]
    if is_waiting and slots["busy"] >= slots["of"]:
        told.append("waits for a slot")
    return told


# -- inside of loops ---------------------------------------------------------------------------


def _failed(failed: Sequence[Mapping[str, Any]], count: int, size: Size) -> list[Words]:
    if not failed:
        return []
    lines: list[Words] = [[], [(f"failed ({count:,})", "bold")]]
    for one in failed[:_MOST_FAILED]:
        words: Words = [("  ✗ ", BAD), (_path(one, size), ""), (_item(one), QUIET)]
        lines.append(cut([*words, (f"  {plain(one['sentence'])}", "red")], size.columns))
    more = count - len(failed[:_MOST_FAILED])
    return [*lines, [(f"    … and {more:,} more", QUIET)]] if more > 0 else lines


def _running(
    running: Sequence[Mapping[str, Any]], count: int, now: datetime, size: Size
) -> list[Words]:
    if not running:
        return []
    lines: list[Words] = [[], [(f"running ({count:,})", "bold")]]
    for one in running[:_MOST_RUNNING]:
        since = say_clock(seconds_between(one["started_at"], now) or 0)
        words: Words = [("  ▸ ", BUSY), (_path(one, size), ""), (_item(one), QUIET)]
        words.append((f"  {since}", BUSY))
        words += [(f"  attempt {one['attempt']}", QUIET)] if one["attempt"] > 1 else []
        lines.append(cut(words, size.columns))
    more = count - len(running[:_MOST_RUNNING])
    return [*lines, [(f"    … and {more:,} more", QUIET)]] if more > 0 else lines


def _retrying(retrying: Sequence[Mapping[str, Any]], size: Size) -> list[Words]:
    if not retrying:
        return []
    lines: list[Words] = [[], [("goes again", "bold")]]
    for one in retrying[:3]:
        told = f"  attempt {one['attempt']}: {plain(one['sentence'])}"
        lines.append(cut([("  ↻ ", "yellow"), (_path(one, size), ""), (told, "")], size.columns))
    return lines


def _recent(events: Sequence[Mapping[str, Any]], size: Size, left: int) -> list[Words]:
    """What ended last, the last first; only where there is room."""
    ended = [one for one in events if one["state"] in ENDED_TASK]
    most = min(_MOST_RECENT, left - 2, len(ended))
    if most < 2:
        return []
    lines: list[Words] = [[], [("just now", "bold")]]
    for one in reversed(ended[-most:]):
        symbol, style = LOOKS.get(one["state"], ("○", QUIET))
        took = "" if one["wall_s"] is None else f"  {say_took(one['wall_s'])}"
        path = shorten_path(plain(one["task"]), size.columns // 2)
        lines.append([(f"  {symbol} ", style), (path, ""), (took, QUIET)])
    return lines


def _path(one: Mapping[str, Any], size: Size) -> str:
    return shorten_path(plain(one["name"]), size.columns // 2)


def _item(one: Mapping[str, Any]) -> str:
    """What the iteration is for, unless its index says the same."""
    index = one["name"].partition("[")[2].partition("]")[0]
    return f"  {plain(one['item'])}" if one.get("item") not in (None, "", index) else ""
