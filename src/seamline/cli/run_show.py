"""`seamline run show`: bounded, however many tasks a run has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from seamline.cli.client import Client
from seamline.cli.command import command, table
from seamline.cli.run_models import read_models, say_models
from seamline.cli.run_words import (
    ENDED_RUN,
    name_of,
    natural,
    plain,
    quote_path,
    say_counts,
    say_moment,
    say_state,
    say_took,
    seconds_between,
    shorten,
)
from seamline.domain.errors import NotFound

#: Rows and failures that are listed unless all are asked for.
_MOST_ROWS, _MOST_FAILURES, _MOST_NOTES = 40, 5, 10
_HOLDERS = frozenset({"dag", "loop", "iteration"})
_QUIET = frozenset({"succeeded", "skipped", "pending", "upstream_failed", "not_triggered"})
_LONG_VALUE, _LONG_SENTENCE = 100, 300
Task = Mapping[str, Any]


@command()
@click.argument("run_id", metavar="RUN")
@click.option("--within", metavar="PATH", help="Only what is in that group, loop or iteration.")
@click.option("--failed", is_flag=True, help="Only what failed by itself, all of it.")
@click.option("--all", "show_all", is_flag=True, help="Every task, those in loops too.")
def show(
    client: Client, run_id: str, within: str | None, failed: bool, show_all: bool
) -> tuple[Any, str]:
    """One run: what failed and why, what became of its models, and what to do.

    A loop is one line with its counts; --within 'LOOP[3]' shows its fourth iteration.
    """
    found = client.get(f"/runs/{run_id}", within=within)
    if within is not None and not found["tasks"]:
        raise NotFound(
            f"There is nothing in {within!r} of run {run_id}.",
            next_step="It is a task, or an iteration that has not begun; or the loop has fewer: "
            f"seamline run show {run_id}.",
        )
    if failed:
        found = {**found, "tasks": failures_of(found["tasks"])}
        return found, say_failures(found, most=None) or f"Nothing failed in run {run_id}."
    if within is None:
        found = {**found, "models": read_models(client, run_id)}
    return found, say_run(found, within=within, show_all=show_all)


def say_run(
    found: Mapping[str, Any],
    within: str | None = None,
    show_all: bool = False,
    can_go_on: bool = True,
) -> str:
    """`can_go_on`: commands that go on from here are told, too. Where it is known what became of
    the run's models, that is in `models`."""
    tasks = found["tasks"]
    if within is not None:
        parts = [f"run {found['id']}, within {within}", _rows(tasks, within, show_all)]
        return "\n\n".join(parts)
    failed = say_failures(found, most=_MOST_FAILURES)
    steps = _next_steps(found) if can_go_on else ""
    models = say_models(found["id"], found.get("models", ()))
    parts = [_head(found), _rows(tasks, None, show_all), models, failed, steps]
    return "\n\n".join(part for part in parts if part)


# -- what it is --------------------------------------------------------------------------------


def _head(found: Mapping[str, Any]) -> str:
    counts = Counter(task["state"] for task in found["tasks"] if task["kind"] not in _HOLDERS)
    took = seconds_between(found["started_at"], found["ended_at"])
    told = [say_state(found["state"]), *([f"after {say_took(took)}"] if took is not None else [])]
    lines = [
        f"{name_of(found)}  {found['id']}",
        f"{' '.join(told)} · {' · '.join(say_counts(counts))}",
        "",
        *(f"{name:<12}{text}" for name, text in _facts(found)),
    ]
    notes = found["notes"]
    lines += [f"{'note':<12}{plain(note)}" for note in notes[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        lines.append(f"{'note':<12}… and {len(notes) - _MOST_NOTES} more (--json)")
    return "\n".join(lines)


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    origin = found["reference"] or found["pipeline"]
    facts = [
        ("pipeline", f"{plain(origin)} in {found['environment']}"),
        ("requested", f"by {found['requested_by']}, {say_moment(found['created_at'])}"),
    ]
    for name in ("team", "reuses_run"):
        facts += [(name.replace("_run", ""), str(found[name]))] if found[name] else []
    if found["arguments"]:
        facts.append(("arguments", _values(found["arguments"])))
    if found["options"]:
        facts.append(("options", _values(found["options"])))
    facts.append(("ran as", say_state(found["fidelity"])))
    outputs = (found["outputs"] or {}).get("parameters") or {}
    known = {name: value for name, value in outputs.items() if value is not None}
    return [*facts, ("outputs", _values(known))] if known else facts


def _values(values: Mapping[str, Any]) -> str:
    texts = (
        v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values.values()
    )
    pairs = zip(values, texts, strict=True)
    return plain("  ".join(f"{name}={shorten(text, _LONG_VALUE)}" for name, text in pairs))


# -- its tasks ---------------------------------------------------------------------------------


def _rows(tasks: Sequence[Task], within: str | None, show_all: bool) -> str:
    shown = list(tasks) if show_all else [one for one in tasks if is_in_scope(one, within)]
    left_out: list[Task] = []
    if not show_all and len(shown) > _MOST_ROWS:
        loud = [one for one in shown if one["state"] not in _QUIET][:_MOST_ROWS]
        names = {one["name"] for one in (loud or shown[:_MOST_ROWS])}
        left_out = [one for one in shown if one["name"] not in names]
        shown = [one for one in shown if one["name"] in names]
    counts = _iterations(tasks)
    # Of the run as a whole, what failed is told below.
    rows = [_row(one, counts.get(one["name"]), within is not None) for one in _in_order(shown)]
    text = table(rows, ["task", "state", "took", ""], "There is nothing in it.")
    if left_out:
        states = Counter(say_state(one["state"]) for one in left_out)
        told = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
        text += f"\n… and {told}: --all shows them, --within PATH what is in one."
    return text


def is_in_scope(task: Task, within: str | None) -> bool:
    """Whether a task lies right there, and not in a loop below.

    >>> is_in_scope({"name": "loop[3]/train", "kind": "python"}, None)
    False
    >>> is_in_scope({"name": "loop[3]/train", "kind": "python"}, "loop[3]")
    True
    >>> is_in_scope({"name": "loop[3]", "kind": "iteration"}, "loop")
    True
    """
    rest = str(task["name"])
    if within is not None:
        rest = rest.removeprefix(within)
        if task["kind"] == "iteration" and rest.count("[") == 1:
            return "/" not in rest
    return "[" not in rest


def _iterations(tasks: Sequence[Task]) -> dict[str, Counter[str]]:
    """Loop → its iterations by state."""
    found: dict[str, Counter[str]] = {}
    for task in tasks:
        if task["kind"] == "iteration":
            found.setdefault(task["group"], Counter())[task["state"]] += 1
    return found


def _in_order(tasks: Sequence[Task]) -> list[Task]:
    """What is in a group follows it."""
    inside: dict[str | None, list[Task]] = {}
    names = {task["name"] for task in tasks}
    for task in tasks:
        group = task["group"] if task["group"] in names else None
        inside.setdefault(group, []).append(task)
    ordered: list[Task] = []
    pending = list(reversed(inside.get(None, [])))
    while pending:
        task = pending.pop()
        ordered.append(task)
        pending += reversed(inside.get(task["name"], []))
    return ordered


def _row(task: Task, iterations: Counter[str] | None, says_why: bool) -> dict[str, Any]:
    took = task["wall_s"]
    if took is None and task["kind"] in _HOLDERS:
        took = seconds_between(task["started_at"], task["ended_at"])
    return {
        "task": plain(task["name"]),
        "state": say_state(task["state"]),
        "took": None if took is None else say_took(took),
        "": _remark(task, iterations, says_why),
    }


def _remark(task: Task, iterations: Counter[str] | None, says_why: bool) -> str:
    if iterations is not None:
        told = ", ".join(f"{n:,} {say_state(state)}" for state, n in iterations.most_common())
        called = plain(task["display_name"])
        return told if called == task["name"].rpartition("/")[2] else f"{told}  ({called})"
    if task["kind"] == "iteration":
        return shorten(plain(json.dumps(task["item"], ensure_ascii=False)), _LONG_VALUE)
    if task["cached_from"]:
        return f"from run {task['cached_from']['run_id']}"
    told = f"attempt {task['attempt']}" if task["attempt"] > 1 else ""
    if says_why and task["error"] and task["error"]["kind"] != "upstream":
        return f"{told}{': ' if told else ''}{shorten(_sentence(task), _LONG_VALUE)}"
    return told


# -- what failed, and what to do ---------------------------------------------------------------


def failures_of(tasks: Sequence[Task]) -> list[Task]:
    """Those that failed by themselves, not through something in them or before them."""
    failed = (one for one in tasks if one["state"] == "failed" and one["error"])
    found = [one for one in failed if one["error"]["kind"] != "upstream"]
    return sorted(found, key=lambda one: natural(one["name"]))


def say_failures(found: Mapping[str, Any], most: int | None) -> str:
    failed = failures_of(found["tasks"])
    if not failed:
        return ""
    lines = [f"failed ({len(failed):,})"]
    for one in failed[:most]:
        said = shorten(_sentence(one), _LONG_SENTENCE)
        lines.append(f"  {plain(one['name'])}{_item_of(one, found['tasks'])}: {said}")
    if most is not None and len(failed) > most:
        lines.append(
            f"  … and {len(failed) - most:,} more: seamline run show {found['id']} --failed"
        )
    return "\n".join(lines)


def _sentence(task: Task) -> str:
    error = task["error"]
    return plain(" ".join(f"{error['type']}: {error['message']}".split()))


def _item_of(task: Task, tasks: Sequence[Task]) -> str:
    """Which scenario it is, in words: of the outermost iteration, where its item is an object."""
    place = f"{task['name'].partition(']')[0]}]"
    items = (one["item"] for one in tasks if one["name"] == place)
    item = next(items, None)
    if not isinstance(item, dict):
        return ""
    told = ", ".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in item.items())
    return f" ({shorten(plain(told), _LONG_VALUE)})"


def _next_steps(found: Mapping[str, Any]) -> str:
    """Commands that can be copied."""
    run_id = found["id"]
    if found["state"] not in ENDED_RUN:
        return f"next\n  seamline run follow {run_id}"
    failed = failures_of(found["tasks"])
    steps = []
    logged = next((one for one in failed if one["has_log"]), None)
    if logged is not None:
        steps.append(f"seamline run logs {run_id} {quote_path(logged['name'])}")
    if any(one["state"] in ("failed", "canceled", "upstream_failed") for one in found["tasks"]):
        steps.append(f"seamline run retry {run_id} --follow")
    return "next\n" + "\n".join(f"  {step}" for step in steps) if steps else ""
