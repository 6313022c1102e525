"""What a terminal shows of a run that goes on: lines of styled words, cut to fit.

Pure: from one answer of `/runs/…/progress`, the time and the size to lines. However many tasks
there are, what runs and what failed can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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

#: (text, style) by style's name as rich has it.
Words = list[tuple[str, str]]
_BAR_WIDTH = 24
_PARTS = " ▏▎▍▌▋▊▉"
_MOST_FAILED, _MOST_RUNNING, _MOST_RECENT = 6, 8, 6
_GOOD, _BAD, _BUSY, _QUIET = "green", "bold red", "cyan", "dim"
_LOOKS = {
    "succeeded": ("✓", _GOOD),
    "skipped": ("↺", _GOOD),
    "failed": ("✗", _BAD),
    "partially_failed": ("✗", "yellow"),
    "running": ("▸", _BUSY),
    "canceled": ("■", _QUIET),
    "upstream_failed": ("–", _QUIET),
    "not_triggered": ("–", _QUIET),
}


@dataclass(frozen=True)
class Size:
    columns: int
    lines: int


def draw(found: Mapping[str, Any], now: datetime, size: Size) -> list[Words]:
    """`now`: on the clock that the answer's times are from."""
    head = _head(found, now, size)
    left = max(3, size.lines - 1 - len(head))
    sections: list[list[Words]] = []
    for section in (
        _failed(_beside_tree(found, "failed"), _count(found, TaskState.FAILED), size),
        _running(_beside_tree(found, "running"), _count(found, TaskState.RUNNING), now, size),
        _retrying(_beside_tree(found, "retrying"), size),
    ):
        if section and len(section) + 4 <= left:
            sections.append(section)
            left -= len(section)
    tree = _tree(found, now, size, left)
    left -= len(tree)
    recent = _recent(_beside_tree(found, "events"), size, left)
    if not tree:
        head = head[:-1]  # Each section brings its own blank line.
    return [*head, *tree, *(line for section in sections for line in section), *recent]


def _beside_tree(found: Mapping[str, Any], what: str) -> list[Mapping[str, Any]]:
    """Those that are in loops; those of the outermost scope are in the tree, unless there are too
    many of them for one."""
    paths = ((one, one.get("name") or one.get("task") or "") for one in found[what])
    return [one for one, path in paths if "[" in path or (path and found["nodes"] is None)]


def _count(found: Mapping[str, Any], state: TaskState) -> int:
    """How many that section could tell of."""
    in_tree = sum(1 for node in found["nodes"] or () if node["state"] == state and _is_task(node))
    return int(found["tasks"].get(state, 0)) - in_tree


def _is_task(node: Mapping[str, Any]) -> bool:
    return node["kind"] not in ("dag", "loop")


# -- above -------------------------------------------------------------------------------------


def _head(found: Mapping[str, Any], now: datetime, size: Size) -> list[Words]:
    state = found["state"]
    is_canceling = found["cancel_requested_by"] and state in (RunState.PENDING, RunState.RUNNING)
    symbol, style = _LOOKS.get(state, ("○", _QUIET))
    took = seconds_between(found["started_at"], found["ended_at"] or now)
    clock = f" {say_clock(took)}" if took is not None else ""
    done_text, *counts = say_counts(found["tasks"])
    told = [say_state("canceling" if is_canceling else state) + clock, done_text]
    told += [*counts[:1], *_slots(found), *counts[1:]]
    done, total = count_done(found["tasks"])
    share = done / total if total else 0.0
    title: Words = [
        (shorten(name_of(found), max(10, size.columns - 60)), "bold"),
        (f"  {found['id']} in {plain(found['environment'])}", _QUIET),
    ]
    return [
        title,
        [(f"{symbol} ", style), (shorten(" · ".join(told), size.columns - 2), style)],
        [*bar(share, min(60, size.columns - 8)), (f" {int(share * 100)} %", _QUIET)],
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


def bar(share: float, width: int) -> Words:
    """
    >>> [text for text, _ in bar(0.28, 10)]
    ['██▊', '░░░░░░░']
    """
    eighths = int(min(1.0, max(0.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    text = "█" * full + (_PARTS[part] if part else "")
    return [(text, _GOOD), ("░" * (width - len(text)), _QUIET)]


# -- the outermost scope -----------------------------------------------------------------------


def _tree(found: Mapping[str, Any], now: datetime, size: Size, most: int) -> list[Words]:
    nodes = found["nodes"] or []
    loops = {loop["name"]: loop for loop in found["loops"]}
    parents = {node["name"]: node["parent"] for node in nodes}
    depths = {name: _depth(name, parents) for name in parents}
    names = {name: name.removeprefix(f"{parent or ''}/") for name, parent in parents.items()}
    widest = max((len(short) + 2 * depths[name] for name, short in names.items()), default=0)
    width = min(40, widest, size.columns // 2)
    lines: list[tuple[bool, str, Words]] = []
    for node in nodes:
        depth = depths[node["name"]]
        line = _node(node, names[node["name"]], depth, loops.get(node["name"]), now, width)
        is_quiet = node["state"] not in (TaskState.RUNNING, TaskState.FAILED)
        lines.append((is_quiet, node["state"], _cut(line, size.columns)))
        for loop in _inner_loops(node["name"], found["loops"]):
            deep = depth + loop["name"].count("[]")
            named = plain(loop["name"].rpartition("[]/")[2])
            shown = shorten_path(named, max(8, width - 2 * deep))
            line = [("  " * (deep + 1), ""), (shown.ljust(width - 2 * deep), ""), ("  ", "")]
            line += _loop(loop)
            lines.append((True, node["state"], _cut(line, size.columns)))
    if not found["nodes"]:
        for loop in found["loops"]:
            line = [(f"{loop['name'].replace('[]', '[…]').ljust(width)}  ", ""), *_loop(loop)]
            lines.append((False, "", _cut(line, size.columns)))
    return _folded(lines, most)


def _depth(name: str, parents: Mapping[str, str | None]) -> int:
    depth, parent = 0, parents.get(name)
    while parent is not None:
        depth, parent = depth + 1, parents.get(parent)
    return depth


def _inner_loops(name: str, loops: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [loop for loop in loops if loop["name"].startswith(f"{name}[]/")]


def _node(
    node: Mapping[str, Any],
    name: str,
    depth: int,
    loop: Mapping[str, Any] | None,
    now: datetime,
    width: int,
) -> Words:
    symbol, style = _LOOKS.get(node["state"], ("○", _QUIET))
    shown = shorten_path(plain(name), max(8, width - 2 * depth))
    words: Words = [
        ("  " * depth, ""),
        (f"{symbol} ", style),
        (shown.ljust(width - 2 * depth), _QUIET if style == _QUIET else ""),
        ("  ", ""),
    ]
    if loop is not None:
        words += _loop(loop)
        if node["display_name"] not in (node["name"], name):
            words.append((f"  {plain(node['display_name'])}", _QUIET))
        return words
    if not _is_task(node):
        return words
    return [*words, *_standing(node, now)]


def _standing(node: Mapping[str, Any], now: datetime) -> Words:
    """How a task is doing."""
    words: Words = []
    if node["state"] == TaskState.RUNNING:
        words.append((say_clock(seconds_between(node["started_at"], now) or 0), _BUSY))
    elif node["state"] == TaskState.PENDING and node["error"]:
        words.append(("goes again", "yellow"))
    elif node["wall_s"] is not None:
        words.append((say_took(node["wall_s"]), _QUIET))
    elif node["state"] != TaskState.SUCCEEDED:
        words.append((say_state(node["state"]), _QUIET))
    if node["attempt"] > 1:
        words.append((f"  attempt {node['attempt']}", _QUIET))
    if node["error"] and node["state"] != TaskState.UPSTREAM_FAILED:
        words.append((f"  {plain(node['error'])}", "red"))
    return words


def _loop(loop: Mapping[str, Any]) -> Words:
    done, total = count_done(loop["iterations"])
    failed = loop["tasks"].get(TaskState.FAILED, 0)
    words = [*bar(loop_share(loop), _BAR_WIDTH), (f"  {done:,}/{total:,}", "")]
    return [*words, (f" · {failed:,} failed", _BAD)] if failed else words


def loop_share(loop: Mapping[str, Any]) -> float:
    """How much of a loop is done, tasks of iterations that are not open yet included.

    >>> loop_share({"iterations": {"running": 1, "pending": 9}, "opened": 5,
    ...             "tasks": {"succeeded": 10, "pending": 10}})
    0.25
    """
    iterations: int = sum(loop["iterations"].values())
    done, known = count_done(loop["tasks"])
    if not known or not iterations:
        ended, _ = count_done(loop["iterations"])
        return ended / iterations if iterations else 1.0
    return done / known * int(loop["opened"]) / iterations


def _folded(lines: Sequence[tuple[bool, str, Words]], most: int) -> list[Words]:
    """All, or those that are not quiet, with how many are left out between them."""
    if len(lines) <= most:
        return [words for _, _, words in lines]
    shown: list[Words] = []
    hidden: list[str] = []
    for is_quiet, state, words in [*lines, (False, "", [])]:
        if is_quiet:
            hidden.append(state)
            continue
        if hidden:
            ended = sum(1 for one in hidden if one in ENDED_TASK)
            told = [f"{ended} ended"] * bool(ended)
            told += [f"{len(hidden) - ended} to come"] * (ended < len(hidden))
            shown.append([(f"  … {', '.join(told)}", _QUIET)])
            hidden = []
        shown.append(words)
    return shown[:-1][:most]


# -- inside of loops ---------------------------------------------------------------------------


def _failed(failed: Sequence[Mapping[str, Any]], count: int, size: Size) -> list[Words]:
    if not failed:
        return []
    lines: list[Words] = [[], [(f"failed ({count:,})", "bold")]]
    for one in failed[:_MOST_FAILED]:
        words: Words = [("  ✗ ", _BAD), (_path(one, size), ""), (_item(one), _QUIET)]
        lines.append(_cut([*words, (f"  {plain(one['sentence'])}", "red")], size.columns))
    more = count - len(failed[:_MOST_FAILED])
    return [*lines, [(f"    … and {more:,} more", _QUIET)]] if more > 0 else lines


def _running(
    running: Sequence[Mapping[str, Any]], count: int, now: datetime, size: Size
) -> list[Words]:
    if not running:
        return []
    lines: list[Words] = [[], [(f"running ({count:,})", "bold")]]
    for one in running[:_MOST_RUNNING]:
        since = say_clock(seconds_between(one["started_at"], now) or 0)
        words: Words = [("  ▸ ", _BUSY), (_path(one, size), ""), (_item(one), _QUIET)]
        words.append((f"  {since}", _BUSY))
        words += [(f"  attempt {one['attempt']}", _QUIET)] if one["attempt"] > 1 else []
        lines.append(_cut(words, size.columns))
    more = count - len(running[:_MOST_RUNNING])
    return [*lines, [(f"    … and {more:,} more", _QUIET)]] if more > 0 else lines


def _retrying(retrying: Sequence[Mapping[str, Any]], size: Size) -> list[Words]:
    if not retrying:
        return []
    lines: list[Words] = [[], [("goes again", "bold")]]
    for one in retrying[:3]:
        told = f"  attempt {one['attempt']}: {plain(one['sentence'])}"
        lines.append(_cut([("  ↻ ", "yellow"), (_path(one, size), ""), (told, "")], size.columns))
    return lines


def _recent(events: Sequence[Mapping[str, Any]], size: Size, left: int) -> list[Words]:
    """What ended last, the last first; only where there is room."""
    ended = [one for one in events if one["state"] in ENDED_TASK]
    most = min(_MOST_RECENT, left - 2, len(ended))
    if most < 2:
        return []
    lines: list[Words] = [[], [("just now", "bold")]]
    for one in reversed(ended[-most:]):
        symbol, style = _LOOKS.get(one["state"], ("○", _QUIET))
        took = "" if one["wall_s"] is None else f"  {say_took(one['wall_s'])}"
        path = shorten_path(plain(one["task"]), size.columns // 2)
        lines.append([(f"  {symbol} ", style), (path, ""), (took, _QUIET)])
    return lines


def _path(one: Mapping[str, Any], size: Size) -> str:
    return shorten_path(plain(one["name"]), size.columns // 2)


def _item(one: Mapping[str, Any]) -> str:
    """What the iteration is for, unless its index says the same."""
    index = one["name"].partition("[")[2].partition("]")[0]
    return f"  {plain(one['item'])}" if one.get("item") not in (None, "", index) else ""


def _cut(words: Words, columns: int) -> Words:
    """To the width; what comes last is what goes."""
    kept: Words = []
    left = columns
    for text, style in words:
        if left <= 0:
            break
        kept.append((shorten(text, left), style))
        left -= len(text)
    return kept
