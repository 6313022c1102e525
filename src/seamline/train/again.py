"""Retry what failed in a run, in that run; what succeeded stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, update

from seamline.domain.errors import Refused
from seamline.domain.facts import RunRetried
from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.store.stores import Stores
from seamline.train.plan import Plan, PlannedGroup, PlannedLoop, PlannedTask
from seamline.train.plans import load_plan
from seamline.train.record import load_tasks
from seamline.train.rows import ARTIFACTS, RUNS, TASKS
from seamline.train.runs import find_run_row

#: What a retry does again.
_BAD = frozenset({TaskState.FAILED, TaskState.UPSTREAM_FAILED, TaskState.CANCELED})
_FRESH = {
    "state": TaskState.PENDING,
    "failures": 0,
    "started_at": None,
    "ended_at": None,
    "error": None,
    "outputs": None,
    "cached_run_id": None,
    "cached_task": None,
}


def retry_run(stores: Stores, run_id: str, *, by: str) -> list[str]:
    """The paths of the tasks that will run again; wake the engine after.

    Refused while the run goes on, and where nothing failed.
    """
    with stores.db.transaction() as tx:
        row = find_run_row(tx, run_id)
        if not is_terminal(RunState(row.state)):
            raise Refused(
                f"Run {run_id} has not ended: it is {row.state}.",
                next_step=f"Wait for it (seamline run wait {run_id}), or cancel it first.",
            )
        rows = {task.name: task for task in load_tasks(tx, run_id)}
        resets = decide_resets(load_plan(stores, row.pipeline_digest), rows)
        if not resets.tasks:
            raise Refused(
                f"Run {run_id} has nothing to retry: it {row.state}.",
                next_step="Re-run it with seamline run rerun, to do all of it again.",
            )
        _reset(tx, run_id, resets)
        values = {"state": RunState.PENDING, "ended_at": None, "error": None, "outputs": None}
        tx.execute(
            update(RUNS).where(RUNS.c.id == run_id).values(cancel_requested_by=None, **values)
        )
        fact = RunRetried(run_id, tuple(resets.tasks))
        stores.facts.append(tx, fact, by=by, caused_by=row.request_fact)
    return resets.tasks


@dataclass
class Resets:
    """Nodes, by path."""

    #: Begin anew.
    nodes: list[str] = field(default_factory=list)
    #: Loops and iterations that go on: what is in them is kept, or reset by itself.
    reopened: list[str] = field(default_factory=list)
    #: Loops that are expanded anew, since what they are over may differ now.
    emptied: list[str] = field(default_factory=list)
    #: Those of `nodes` that are tasks.
    tasks: list[str] = field(default_factory=list)


def decide_resets(plan: Plan, rows: Mapping[str, Row[Any]]) -> Resets:
    """What failed, was canceled or never ran; and all that comes after that, however it ended."""
    resets = Resets()
    _reset_scope(plan, "", rows, resets)
    return resets


def _reset_scope(plan: Plan, prefix: str, rows: Mapping[str, Row[Any]], resets: Resets) -> bool:
    """Whether anything in this scope is to be done again."""
    seeds: list[str] = []
    inside: list[str] = []
    for name, node in plan.nodes.items():
        row = rows[prefix + name]
        if isinstance(node, PlannedLoop) and row.items is not None:
            if row.state != TaskState.SUCCEEDED and _reset_loop(node, prefix, rows, resets):
                inside.append(name)
        elif TaskState(row.state) in _BAD and not _holds_failures(plan, name):
            seeds.append(name)
    after = descendants_of(plan, [*seeds, *inside])
    again = [name for name in plan.nodes if name in after or name in seeds]
    for name in again:
        node, path = plan.nodes[name], prefix + name
        resets.nodes.append(path)
        if isinstance(node, PlannedLoop):
            resets.emptied.append(path)
        if isinstance(node, PlannedTask):
            resets.tasks.append(path)
    touched = {*again, *inside}
    groups = {group for name in touched for group in _groups_of(plan, name)} - touched
    resets.nodes += [prefix + group for group in groups]
    resets.reopened += [prefix + name for name in inside if name not in after]
    return bool(touched)


def _holds_failures(plan: Plan, name: str) -> bool:
    """A group that ended badly through its members is reset with them, not by itself."""
    node = plan.nodes[name]
    return isinstance(node, PlannedGroup) and bool(node.members)


def _reset_loop(
    loop: PlannedLoop, prefix: str, rows: Mapping[str, Row[Any]], resets: Resets
) -> bool:
    path = prefix + loop.name
    is_touched = False
    for index in range(rows[path].items):
        iteration = f"{path}[{index}]"
        if any(f"{iteration}/{name}" in rows for name in loop.body.nodes):
            is_bad = _reset_scope(loop.body, f"{iteration}/", rows, resets)
        else:
            is_bad = TaskState(rows[iteration].state) in _BAD
        if is_bad:
            resets.reopened.append(iteration)
            is_touched = True
    return is_touched


def descendants_of(plan: Plan, names: Iterable[str]) -> set[str]:
    """Every node that waits for one of these, directly or not; a group with all that is in it."""
    waiting: dict[str, list[str]] = {}
    for name, node in plan.nodes.items():
        for upstream in node.gate.after:
            waiting.setdefault(upstream, []).append(name)
    found: set[str] = set()
    pending = list(names)
    while pending:
        ended = pending.pop()
        for source in (ended, *_groups_of(plan, ended)):
            for name in waiting.get(source, ()):
                fresh = [one for one in _with_members(plan, name) if one not in found]
                found.update(fresh)
                pending.extend(fresh)
    return found


def _groups_of(plan: Plan, name: str) -> list[str]:
    groups: list[str] = []
    group = plan.nodes[name].gate.group
    while group is not None:
        groups.append(group)
        group = plan.nodes[group].gate.group
    return groups


def _with_members(plan: Plan, name: str) -> list[str]:
    found = [name]
    for one in found:
        node = plan.nodes[one]
        if isinstance(node, PlannedGroup):
            found.extend(node.members)
    return found


def _reset(tx: Connection, run_id: str, resets: Resets) -> None:
    for loop in resets.emptied:
        inside = TASKS.c.name.startswith(f"{loop}[", autoescape=True)
        tx.execute(delete(TASKS).where(TASKS.c.run_id == run_id, inside))
        made = ARTIFACTS.c.task.startswith(f"{loop}[", autoescape=True)
        tx.execute(delete(ARTIFACTS).where(ARTIFACTS.c.run_id == run_id, made))
    _update(tx, run_id, resets.nodes, {**_FRESH, "items": None})
    _update(tx, run_id, resets.reopened, _FRESH)
    for chunk in _chunks(resets.tasks):
        tx.execute(
            delete(ARTIFACTS).where(ARTIFACTS.c.run_id == run_id, ARTIFACTS.c.task.in_(chunk))
        )


def _update(
    tx: Connection, run_id: str, names: Sequence[str], values: Mapping[str, object]
) -> None:
    for chunk in _chunks(names):
        where = (TASKS.c.run_id == run_id) & TASKS.c.name.in_(chunk)
        tx.execute(update(TASKS).where(where).values(**values))


def _chunks(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + 500] for start in range(0, len(names), 500)]
