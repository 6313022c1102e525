"""Retry what failed in a run, in that run; what succeeded stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, update

from seamline.domain.errors import Refused
from seamline.domain.facts import RunRetried
from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.store.stores import Stores
from seamline.train.plan.load import load_plan
from seamline.train.plan.types import Plan, PlannedGroup, PlannedLoop, PlannedTask
from seamline.train.record import load_tasks
from seamline.train.rows import ARTIFACTS, ATTEMPTS, RUNS, TASKS
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


def nobody_objects(_tx: Connection, _run: Row[Any]) -> None:
    """Where no release is asked."""


def retry_run(
    stores: Stores,
    run_id: str,
    *,
    by: str,
    check: Callable[[Connection, Row[Any]], None] = nobody_objects,
) -> list[str]:
    """The paths of the tasks that are to be done again; wake the engine after.

    There may be none: where the last task was done just as the run was canceled, say. Refused while
    the run goes on, and where all is well; and where `check` says so of the run's row, in the
    transaction that begins it again.
    """
    with stores.db.transaction() as tx:
        row = find_run_row(tx, run_id)
        if not is_terminal(RunState(row.state)):
            raise Refused(
                f"Run {run_id} has not ended: it is {row.state}.",
                next_step=f"Wait for it (seamline run wait {run_id}), or cancel it first.",
            )
        if row.state == RunState.SUCCEEDED:
            raise Refused(
                f"Run {run_id} has nothing to retry: it {row.state}.",
                next_step="Re-run it with seamline run rerun, to do all of it again.",
            )
        check(tx, row)
        rows = {task.name: task for task in load_tasks(tx, run_id)}
        resets = decide_resets(load_plan(stores, row.pipeline_digest), rows)
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
    #: Those that are to be done again, also of loops that are expanded anew.
    tasks: list[str] = field(default_factory=list)

    def add(self, more: Resets) -> None:
        self.nodes += more.nodes
        self.reopened += more.reopened
        self.emptied += more.emptied
        self.tasks += more.tasks


def decide_resets(plan: Plan, rows: Mapping[str, Row[Any]]) -> Resets:
    """What failed, was canceled or never ran; and all that comes after that, however it ended."""
    return _reset_scope(plan, "", rows)


def _reset_scope(plan: Plan, prefix: str, rows: Mapping[str, Row[Any]]) -> Resets:
    seeds: list[str] = []
    groups: set[str] = set()
    loops: dict[str, Resets] = {}
    for name, node in plan.nodes.items():
        row = rows[prefix + name]
        if TaskState(row.state) not in _BAD:
            continue
        if isinstance(node, PlannedLoop) and row.items is not None:
            loops[name] = _reset_loop(node, prefix, rows)
        elif isinstance(node, PlannedGroup) and node.members:
            groups.add(name)  # By its members, or with them: it ends as they do.
        else:
            seeds.append(name)
    after = descendants_of(plan, [*seeds, *loops])
    again = after.union(seeds)
    groups.update(group for name in again.union(loops) for group in _groups_of(plan, name))
    resets = Resets()
    for name, node in plan.nodes.items():
        if name in again or name in groups:
            resets.nodes.append(prefix + name)
        if name in again and isinstance(node, PlannedTask):
            resets.tasks.append(prefix + name)
        elif name in again and isinstance(node, PlannedLoop):
            resets.emptied.append(prefix + name)
            resets.tasks += _tasks_inside(node, prefix, rows)
        elif name in loops:
            resets.add(loops[name])
    return resets


def _reset_loop(loop: PlannedLoop, prefix: str, rows: Mapping[str, Row[Any]]) -> Resets:
    """It goes on: with the iterations that did not end well, and with those that never opened."""
    path = prefix + loop.name
    resets = Resets(reopened=[path])
    for index in range(rows[path].items):
        iteration = f"{path}[{index}]"
        if TaskState(rows[iteration].state) not in _BAD:
            continue
        resets.reopened.append(iteration)
        if _is_open(loop, iteration, rows):
            resets.add(_reset_scope(loop.body, f"{iteration}/", rows))
    return resets


def _tasks_inside(loop: PlannedLoop, prefix: str, rows: Mapping[str, Row[Any]]) -> Iterator[str]:
    path = prefix + loop.name
    for index in range(rows[path].items or 0):
        iteration = f"{path}[{index}]"
        for name, node in loop.body.nodes.items() if _is_open(loop, iteration, rows) else ():
            if isinstance(node, PlannedTask):
                yield f"{iteration}/{name}"
            elif isinstance(node, PlannedLoop):
                yield from _tasks_inside(node, f"{iteration}/", rows)


def _is_open(loop: PlannedLoop, iteration: str, rows: Mapping[str, Row[Any]]) -> bool:
    """Whether what is in it has rows: all of it has, or nothing."""
    return any(f"{iteration}/{name}" in rows for name in loop.body.nodes)


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
                fresh = [one for one in plan.within(name) if one not in found]
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


def _reset(tx: Connection, run_id: str, resets: Resets) -> None:
    for loop in resets.emptied:
        # What is in it begins at its first attempt again, so nothing of earlier ones may stay.
        for table, name in ((TASKS, "name"), (ARTIFACTS, "task"), (ATTEMPTS, "task")):
            inside = table.c[name].startswith(f"{loop}[", autoescape=True)
            tx.execute(delete(table).where(table.c.run_id == run_id, inside))
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
