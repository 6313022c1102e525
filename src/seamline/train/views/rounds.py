"""A task of a pipeline, in each round of the loops around it: how it ended there, what it made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, Row, select

from seamline.domain.errors import not_found
from seamline.domain.states import TaskState
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact
from seamline.train.plan.types import NodeKind, Plan, PlannedLoop, all_tasks, find_node
from seamline.train.record import artifact_of
from seamline.train.rows import ARTIFACTS, TASKS

_INDEX = re.compile(r"\[\d+\](?=/|$)")
#: States in which a task has left its outputs.
MADE = frozenset({TaskState.SUCCEEDED, TaskState.SKIPPED})


@dataclass(frozen=True)
class Round:
    #: The task's path, with indexes ("scenarios[3]/train-one/train").
    task: str
    #: None when this round was not begun.
    state: TaskState | None
    #: What the loops around the task are at: the fields of their items, inner loops' first. An item
    #: that is no object is a field called like its loop.
    item: Mapping[str, Any]
    ended_at: str | None = None
    #: The run whose result stands in.
    cached_run: str | None = None
    #: That run's own path of the task.
    cached_task: str | None = None

    @property
    def has_made(self) -> bool:
        return self.state in MADE

    def beside(self, path: str) -> str:
        """Another task of the same round, or of one around it, by its path without indexes."""
        words, mine = path.split("/"), self.task.split("/")
        pairs = zip(words, mine, strict=False)
        shared = sum(1 for _ in takewhile(lambda two: two[0] == without_indexes(two[1]), pairs))
        return "/".join([*mine[:shared], *words[shared:]])


def without_indexes(path: str) -> str:
    """
    >>> without_indexes("scenarios[3]/for-loop-1[0]/train")
    'scenarios/for-loop-1/train'
    """
    return _INDEX.sub("", path)


def is_of_other_round(path: str, of: str) -> bool:
    """Whether a task belongs to another round of a loop that the task `of` is in, too.

    >>> is_of_other_round("each[1]/read", "each[3]/train"), is_of_other_round("read", "each[3]/fit")
    (True, False)
    """
    for mine, other in zip(of.split("/"), path.split("/"), strict=False):
        if mine != other:
            return without_indexes(mine) == without_indexes(other)
    return False


def find_output(plan: Plan, task: str, output: str, prefix: str = "") -> str:
    """The path without indexes of the task, which may be given without the prefix that all have.

    NotFound names the nearest task, or output.
    """
    tasks = dict(all_tasks(plan))
    path = task if task in tasks else prefix + task
    if path not in tasks:
        raise not_found("task", task, [known.removeprefix(prefix) for known in tasks])
    made = tasks[path].component.output_artifacts
    if output not in made:
        raise not_found(f"artifact that {task!r} puts out", output, made)
    return path


def loops_around(plan: Plan, path: str) -> list[tuple[str, str]]:
    """(path, what people call it) of each loop around a task, outermost first."""
    words = path.split("/")
    found = []
    for place in range(1, len(words)):
        _, node = find_node(plan, "/".join(words[:place]))
        if isinstance(node, PlannedLoop):
            found.append(("/".join(words[:place]), node.display_name))
    return found


def list_rounds(stores: Stores, run_id: str, plan: Plan, path: str) -> list[Round]:
    """In the loops' order, those that did not begin among them; one if no loop is around it."""
    loops = loops_around(plan, path)
    leaf = path.rpartition("/")[2]
    with stores.db.read() as connection:
        tasks = {
            row.name: row
            for row in _tasks(connection, run_id, leaf)
            if without_indexes(row.name) == path
        }
        rounds = _iterations(connection, run_id, dict(loops)) if loops else {}
    if not loops:
        return [_round(path, tasks.get(path), {})]
    innermost = loops[-1][0]
    inside = path.removeprefix(innermost)
    return [
        _round(place + inside, tasks.get(place + inside), item)
        for place, item in rounds.items()
        if without_indexes(place) == innermost
    ]


def list_made(stores: Stores, run_id: str, path: str, output: str) -> dict[str, Artifact]:
    """Path with indexes → what the task has made there."""
    made = ARTIFACTS.c
    query = select(ARTIFACTS).where(made.run_id == run_id, made.output == output)
    query = query.where(made.task.endswith(path.rpartition("/")[2], autoescape=True))
    with stores.db.read() as connection:
        rows = connection.execute(query).all()
    return {row.task: artifact_of(row) for row in rows if without_indexes(row.task) == path}


def list_read(stores: Stores, run_id: str, scheme: str) -> list[tuple[str, Artifact]]:
    """(task, artifact) of what the run's importers found under such an address."""
    found = ARTIFACTS.c
    query = select(ARTIFACTS).where(
        found.run_id == run_id, found.uri.startswith(scheme, autoescape=True)
    )
    with stores.db.read() as connection:
        return [(row.task, artifact_of(row)) for row in connection.execute(query)]


def _tasks(connection: Connection, run_id: str, leaf: str) -> Iterator[Any]:
    task = TASKS.c
    columns = select(task.name, task.state, task.ended_at, task.cached_run_id, task.cached_task)
    query = columns.where(task.run_id == run_id, task.name.endswith(leaf, autoescape=True))
    yield from connection.execute(query)


def _iterations(
    connection: Connection, run_id: str, loops: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Iteration → the fields of its item and of those around it."""
    task = TASKS.c
    query = select(task.name, task.parent, task.item).where(
        task.run_id == run_id, task.kind == NodeKind.ITERATION
    )
    found: dict[str, dict[str, Any]] = {}
    for row in sorted(connection.execute(query), key=lambda row: _indexes(row.name)):
        called = loops.get(without_indexes(row.name))
        if called is not None:
            item = json.loads(row.item)
            fields = item if isinstance(item, dict) else {called: item}
            found[row.name] = {**_around(found, row.parent), **fields}
    return found


def _indexes(path: str) -> list[int]:
    """Orders rounds as they come, each before those inside of it.

    >>> sorted(["a[10]", "a[2]/b[0]", "a[2]"], key=_indexes)
    ['a[2]', 'a[2]/b[0]', 'a[10]']
    """
    return [int(index[1:-1]) for index in _INDEX.findall(path)]


def _around(found: Mapping[str, dict[str, Any]], path: str) -> dict[str, Any]:
    """Of the nearest iteration that holds this path."""
    while path:
        if path in found:
            return found[path]
        path = path.rpartition("/")[0]
    return {}


def _round(path: str, row: Row[Any] | None, item: Mapping[str, Any]) -> Round:
    if row is None:
        return Round(path, None, item)
    state = TaskState(row.state)
    return Round(path, state, item, row.ended_at, row.cached_run_id, row.cached_task)
