"""What the pages of runs show: a run, a loop in it, one iteration or group, or one task.

Each function returns the page's whole JSON. Whatever the size of the run, a page holds at most
PER_PAGE tasks or scenarios in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from seamline.app.platform import Platform
from seamline.app.register.model_outcomes import ModelState, list_outcomes
from seamline.console import grid
from seamline.console.run_list import in_order
from seamline.domain.clock import iso
from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import RunState, is_terminal
from seamline.train.record import RUNNABLE
from seamline.train.runs import read_log, show_request
from seamline.train.views.explain import explain_task
from seamline.train.views.lists import count_tasks
from seamline.train.views.loop import show_loop, show_steps
from seamline.train.views.overview import iterations_of, show_failures, show_scope, show_trail
from seamline.train.views.task import read_packages, show_outputs, show_tasks
from seamline.trust.roles import Principal, Verb

LOG_BYTES = 64 << 10
#: Beyond this, a picture of tasks says less than the cells below it.
DRAWN_TASKS = 200
#: Failures that a run's page tells of; its loops' pages tell of all of theirs.
READ_FAILURES = 100
#: Of a run that makes more, so many models are named.
SHOWN_MODELS = 20
#: Loops beside one another whose iterations are counted.
COUNTED_LOOPS = 30
#: Cells on the page of a run; the page of a loop shows all of its own.
CELLS_HERE = 2_500


@dataclass(frozen=True)
class Look:
    """Where in a run somebody looks."""

    #: A group, a loop or an iteration; None: the run as a whole.
    within: str | None = None
    task: str | None = None
    #: Where in its log; None: at its end.
    offset: int | None = None
    #: Whose log; None: the last one's.
    attempt: int | None = None
    #: Only tasks or iterations in this state.
    state: str | None = None
    #: Only iterations whose item holds these words.
    find: str = ""
    page: int = 1


def read_run(platform: Platform, principal: Principal, run_id: str, look: Look) -> dict[str, Any]:
    stores = platform.stores
    run = show_request(stores, run_id)
    place = look.task or look.within
    trail = show_trail(stores, run_id, place) if place else []
    if trail and trail[-1]["kind"] in RUNNABLE:
        shown = _read_task(platform, run_id, trail[-1], look)
    elif trail and trail[-1]["kind"] == "loop":
        shown = _read_loop(platform, run_id, trail[-1]["name"], look)
    else:
        shown = _read_scope(platform, run_id, trail[-1]["name"] if trail else None, look)
    is_over = is_terminal(RunState(run["state"]))
    models = [one.to_json() for one in list_outcomes(platform, run_id)] if not trail else []
    is_packaging = any(one["state"] is ModelState.PACKAGING for one in models)
    return {
        "run": run,
        "outputs": show_outputs(stores, run_id) if not trail else None,
        "counts": in_order(count_tasks(stores, [run_id])[run_id]),
        "failures": _read_failures(platform, run_id) if not trail else None,
        "models": _choose_models(models),
        "trail": trail,
        "scope": None,
        "loops": [],
        "loop": None,
        "task": None,
        "log": None,
        **shown,
        "look": {"state": look.state, "find": look.find, "page": look.page},
        "may_cancel": principal.may(Verb.RUN) and not is_over and not run["cancel_requested_by"],
        "may_retry": principal.may(Verb.RUN) and is_over and run["state"] != RunState.SUCCEEDED,
        "is_moving": not is_over,
        "refresh_s": 0 if is_over and not is_packaging else _refresh_s(shown),
        "now": iso(stores.clock.now()),
    }


def _choose_models(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Those that are no versions before those that are."""
    ordered = sorted(models, key=lambda one: one["state"] is ModelState.PACKAGED)
    return {
        "total": len(models),
        "refused": sum(one["state"] is ModelState.REFUSED for one in models),
        "first": ordered[:SHOWN_MODELS],
    }


def _refresh_s(shown: Mapping[str, Any]) -> int:
    """How often the page of a run that goes on is read anew: a large one more rarely."""
    loop = shown.get("loop")
    return 10 if loop and len(loop["cells"]) > CELLS_HERE else 2


def _read_failures(platform: Platform, run_id: str) -> dict[str, Any]:
    found = show_failures(platform.stores, run_id, READ_FAILURES)
    return {
        "total": found["total"],
        "groups": grid.group_failures(found["first"]),
    }


def _read_scope(platform: Platform, run_id: str, within: str | None, look: Look) -> dict[str, Any]:
    scope = _without_groups(show_scope(platform.stores, run_id, within))
    nodes = scope["nodes"]
    if within is None and [one["kind"] for one in nodes] == ["loop"]:
        # Nothing beside it to be drawn: the run is its loop.
        return _read_loop(platform, run_id, nodes[0]["name"], look)
    chosen = _choose_nodes(nodes, look)
    rows = _page(chosen, look.page)
    return {
        "scope": {
            **scope,
            "is_drawn": len(nodes) <= DRAWN_TASKS,
            "counts": grid.tally(one["state"] for one in nodes),
            "chosen": len(chosen),
            "pages": _pages(chosen),
            "rows": _with_details(platform, run_id, rows),
        },
        "loops": _count_loops(platform, run_id, nodes),
    }


def _without_groups(scope: dict[str, Any]) -> dict[str, Any]:
    """Groups stay as the `path` of what is in them, but for those that all of it is in."""
    groups = {one["name"]: one["display_name"] for one in scope["nodes"] if one["kind"] == "dag"}
    nodes = [one for one in scope["nodes"] if one["kind"] != "dag"]
    paths = [_group_path(one, groups) for one in nodes]
    shared = sum(1 for _ in takewhile(_is_one, zip(*paths, strict=False))) if paths[1:] else 0
    return {
        **scope,
        "nodes": [
            {**one, "path": "/".join(path[shared:])} for one, path in zip(nodes, paths, strict=True)
        ],
    }


def _is_one(words: Sequence[str]) -> bool:
    return len(set(words)) == 1


def _group_path(node: Mapping[str, Any], groups: Mapping[str, str]) -> list[str]:
    """The groups around a node by what people call them, as far as the scope goes.

    >>> _group_path({"parent": "a/condition-1"}, {"a": "a", "a/condition-1": "enough-rows"})
    ['a', 'enough-rows']
    """
    words: list[str] = []
    parent = node["parent"]
    while parent in groups:
        words.insert(0, groups[parent])
        parent = parent.rpartition("/")[0]
    return words


def _choose_nodes(nodes: Sequence[dict[str, Any]], look: Look) -> list[dict[str, Any]]:
    """In the plan's order; in a large scope, trouble first."""
    _check_state(look)
    kept = [one for one in nodes if look.state in (None, one["state"])]
    if len(nodes) <= DRAWN_TASKS:
        return kept
    return sorted(kept, key=lambda one: grid.ORDER.index(one["state"]))


def _with_details(
    platform: Platform, run_id: str, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    found = show_tasks(platform.stores, run_id, [one["name"] for one in rows])
    details = {one["name"]: one for one in found}
    nothing: dict[str, Any] = {"parameters": {}, "artifacts": {}}
    planned: dict[str, Any] = {"inputs": nothing, "outputs": nothing, "error": None}
    return [{**planned, **details.get(one["name"], {}), **one} for one in rows]


def _count_loops(
    platform: Platform, run_id: str, nodes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The loops of a scope with their counts; with cells, as far as there is room."""
    room = CELLS_HERE
    loops = []
    for node in [one for one in nodes if one["kind"] == "loop"][:COUNTED_LOOPS]:
        if node["is_planned"]:
            continue
        loop = show_loop(platform.stores, run_id, node["name"])
        iterations = loop.pop("iterations")
        has_room = len(iterations) <= room
        room -= len(iterations) if has_room else 0
        counts = grid.tally(one["outcome"] for one in iterations)
        loops.append({**loop, "counts": counts, "cells": iterations if has_room else None})
    return loops


def _read_loop(platform: Platform, run_id: str, name: str, look: Look) -> dict[str, Any]:
    _check_state(look)
    loop = show_loop(platform.stores, run_id, name)
    iterations = loop.pop("iterations")
    chosen = grid.pick(iterations, look.state, look.find)
    labels = grid.label_steps(loop["steps"][: grid.MAX_STEPS])
    rows = _page(chosen, look.page)
    found = show_steps(platform.stores, run_id, name, [one["index"] for one in rows], list(labels))
    is_filtered = len(chosen) < len(iterations)
    return {
        "loop": {
            **loop,
            "counts": grid.tally(one["outcome"] for one in iterations),
            "cells": iterations,
            "matching": [one["index"] for one in chosen] if is_filtered else None,
            "fields": grid.fields_of([one["item"] for one in iterations]),
            "shown_steps": labels,
            "chosen": len(chosen),
            "pages": _pages(chosen),
            "rows": [{**one, **steps} for one, steps in zip(rows, found, strict=True)],
        }
    }


def _read_task(
    platform: Platform, run_id: str, node: Mapping[str, Any], look: Look
) -> dict[str, Any]:
    stores, name = platform.stores, node["name"]
    around = iterations_of(name)
    scope = _without_groups(show_scope(stores, run_id, around[-1] if around else None))
    is_drawn = len(scope["nodes"]) <= DRAWN_TASKS
    (task,) = show_tasks(stores, run_id, [name])
    return {
        "scope": scope if is_drawn else None,
        "loops": _count_loops(platform, run_id, scope["nodes"]) if is_drawn else [],
        "task": {
            **task,
            "why": explain_task(stores, run_id, name),
            "packages": read_packages(stores, task["packages_digest"]),
        },
        "log": _read_log(platform, run_id, name, look) if node["has_log"] else None,
    }


def _read_log(platform: Platform, run_id: str, task: str, look: Look) -> dict[str, Any]:
    """From the offset, or the last LOG_BYTES of it."""
    read = partial(read_log, platform.stores, run_id, task, attempt=look.attempt)
    offset = look.offset
    if offset is None:
        offset = max(0, read(limit=1)["size_bytes"] - LOG_BYTES)
    log = read(offset=offset, limit=LOG_BYTES)
    return {**log, "previous_offset": max(0, offset - LOG_BYTES) if offset > 0 else None}


def _check_state(look: Look) -> None:
    if look.state is not None and look.state not in grid.ORDER:
        raise InvalidInput(
            f"{look.state!r} is no state of a task.", next_step=nearest(look.state, grid.ORDER)
        )


def _page(found: Sequence[Any], page: int) -> Sequence[Any]:
    return found[(page - 1) * grid.PER_PAGE : page * grid.PER_PAGE]


def _pages(found: Sequence[Any]) -> int:
    return max(1, -(-len(found) // grid.PER_PAGE))
