"""The outermost scope of a run on a terminal: its tasks and groups, and loops as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from seamline.cli.run_words import (
    ENDED_TASK,
    count_done,
    plain,
    say_clock,
    say_state,
    say_took,
    seconds_between,
    shorten,
    shorten_path,
)
from seamline.domain.states import TaskState

#: (text, style) by style's name as rich has it.
Words = list[tuple[str, str]]
_BAR_WIDTH = 24
_PARTS = " ▏▎▍▌▋▊▉"
GOOD, BAD, BUSY, QUIET = "green", "bold red", "cyan", "dim"
LOOKS = {
    "succeeded": ("✓", GOOD),
    "skipped": ("↺", GOOD),
    "failed": ("✗", BAD),
    "partially_failed": ("✗", "yellow"),
    "running": ("▸", BUSY),
    "canceled": ("■", QUIET),
    "upstream_failed": ("–", QUIET),
    "not_triggered": ("–", QUIET),
}


@dataclass(frozen=True)
class Size:
    columns: int
    lines: int


def draw_tree(found: Mapping[str, Any], now: datetime, size: Size, most: int) -> list[Words]:
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
        lines.append((is_quiet, node["state"], cut(line, size.columns)))
        for loop in _inner_loops(node["name"], found["loops"]):
            deep = depth + loop["name"].count("[]")
            named = plain(loop["name"].rpartition("[]/")[2])
            shown = shorten_path(named, max(8, width - 2 * deep))
            line = [("  " * (deep + 1), ""), (shown.ljust(width - 2 * deep), ""), ("  ", "")]
            line += _loop(loop)
            lines.append((True, node["state"], cut(line, size.columns)))
    if not found["nodes"]:
        for loop in found["loops"]:
            line = [(f"{loop['name'].replace('[]', '[…]').ljust(width)}  ", ""), *_loop(loop)]
            lines.append((False, "", cut(line, size.columns)))
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
    symbol, style = LOOKS.get(node["state"], ("○", QUIET))
    shown = shorten_path(plain(name), max(8, width - 2 * depth))
    words: Words = [
        ("  " * depth, ""),
        (f"{symbol} ", style),
        (shown.ljust(width - 2 * depth), QUIET if style == QUIET else ""),
        ("  ", ""),
    ]
    if loop is not None:
        words += _loop(loop)
        if node["display_name"] not in (node["name"], name):
            words.append((f"  {plain(node['display_name'])}", QUIET))
        return words
    if not is_task(node):
        return words
    return [*words, *_standing(node, now)]


def _standing(node: Mapping[str, Any], now: datetime) -> Words:
    """How a task is doing."""
    words: Words = []
    if node["state"] == TaskState.RUNNING:
        words.append((say_clock(seconds_between(node["started_at"], now) or 0), BUSY))
    elif node["state"] == TaskState.PENDING and node["error"]:
        words.append(("goes again", "yellow"))
    elif node["wall_s"] is not None:
        words.append((say_took(node["wall_s"]), QUIET))
    elif node["state"] != TaskState.SUCCEEDED:
        words.append((say_state(node["state"]), QUIET))
    if node["attempt"] > 1:
        words.append((f"  attempt {node['attempt']}", QUIET))
    if node["error"] and node["state"] != TaskState.UPSTREAM_FAILED:
        words.append((f"  {plain(node['error'])}", "red"))
    return words


def _loop(loop: Mapping[str, Any]) -> Words:
    done, total = count_done(loop["iterations"])
    failed = loop["tasks"].get(TaskState.FAILED, 0)
    words = [*bar(loop_share(loop), _BAR_WIDTH), (f"  {done:,}/{total:,}", "")]
    return [*words, (f" · {failed:,} failed", BAD)] if failed else words


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
            shown.append([(f"  … {', '.join(told)}", QUIET)])
            hidden = []
        shown.append(words)
    return shown[:-1][:most]


def is_task(node: Mapping[str, Any]) -> bool:
    return node["kind"] not in ("dag", "loop")


def bar(share: float, width: int) -> Words:
    """
    >>> [text for text, _ in bar(0.28, 10)]
    ['██▊', '░░░░░░░']
    """
    eighths = int(min(1.0, max(0.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    text = "█" * full + (_PARTS[part] if part else "")
    return [(text, GOOD), ("░" * (width - len(text)), QUIET)]


def cut(words: Words, columns: int) -> Words:
    """To the width; what comes last is what goes."""
    kept: Words = []
    left = columns
    for text, style in words:
        if left <= 0:
            break
        kept.append((shorten(text, left), style))
        left -= len(text)
    return kept
