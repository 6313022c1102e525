"""A run in the engine's memory: its scopes, what can start, and what has come out so far."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from seamline.domain.errors import InvalidInput, SeamlineError
from seamline.domain.states import Fidelity, TaskState, is_terminal, weaker
from seamline.train.artifacts import Artifact
from seamline.train.attempts.order import WORKSPACE
from seamline.train.engine.batch import Batch
from seamline.train.ir.values import presentable
from seamline.train.options import FailurePolicy
from seamline.train.plan.node_rows import iteration_row, node_row
from seamline.train.plan.progress import Ended, Step, is_inside
from seamline.train.plan.scope import OpenLoop, OpenScope, Place, Shared, read_items
from seamline.train.plan.types import MAX_NODES, Plan, PlannedLoop, PlannedTask
from seamline.train.record import RunRow
from seamline.train.results import UPSTREAM, TaskProblem, TaskResult, problem_of
from seamline.train.run_names import RunNames


class LiveRun:
    """Fresh, or built from rows: a restarted engine continues where the rows stop."""

    def __init__(self, row: RunRow, plan: Plan, folder: Path) -> None:
        """`folder`: the run's own, absolute."""
        self.row = row
        self.plan = plan
        self.names = RunNames(run_names(row, folder))
        self._shared = Shared(self.names)
        self.root = OpenScope(self._shared, plan, row.arguments, {}, Place())
        self.attempts: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self.losses: dict[str, int] = {}
        #: Why it is being ended before its time, if it is; and which attempts that has cut short.
        self.overdue = ""
        self.cut_short: set[str] = set()
        #: The weakest way in which a task of it has run.
        self.fidelity: Fidelity | None = None
        #: Paths of tasks whose processes live.
        self.running: set[str] = set()
        #: Tasks that can start, for `take_ready`.
        self._ready: list[str] = []
        #: Path → (scope, name in it), of the nodes of all open scopes.
        self._where: dict[str, tuple[OpenScope, str]] = {}
        self._work: deque[tuple[OpenScope, Step]] = deque()
        self._count = 0
        #: The first that failed by itself.
        self._failed = ""
        self._halted = ""

    # -- beginning -------------------------------------------------------------------------

    def begin(
        self,
        batch: Batch,
        rows: Sequence[Row[Any]],
        artifacts: Mapping[tuple[str, str], Artifact],
    ) -> None:
        """Takes over what has happened so far, if anything; called once."""
        made: dict[str, dict[str, Artifact]] = {}
        for (task, output), artifact in artifacts.items():
            made.setdefault(task, {})[output] = artifact
        self._count = len(self.plan.nodes)
        self._restore(batch, self.root, {row.name: row for row in rows}, made)
        if not self.is_canceled:
            self._settle_work(batch)

    def _restore(
        self,
        batch: Batch,
        scope: OpenScope,
        rows: Mapping[str, Row[Any]],
        made: Mapping[str, Mapping[str, Artifact]],
    ) -> None:
        self._enter(scope)
        for name, node in scope.plan.nodes.items():
            path = scope.path_of(name)
            row = rows[path]
            self.attempts[path], self.failures[path] = row.attempt, row.failures
            self.saw(Fidelity(row.fidelity) if row.fidelity else None)
            if row.state != TaskState.PENDING:
                scope.started.add(name)
            if is_terminal(TaskState(row.state)):
                problem = TaskProblem(**json.loads(row.error)) if row.error else None
                scope.blame(name, problem)
                self._keep_end(scope, name, TaskState(row.state), _cause_of(path, problem))
                outputs = json.loads(row.outputs) if row.outputs else {}
                scope.keep(name, outputs, made.get(path, {}))
            if isinstance(node, PlannedLoop) and row.items is not None:
                self._restore_loop(batch, scope, node, rows, made)
        step = scope.progress.resume(scope.ends)
        self._work.append((scope, step))

    def _restore_loop(
        self,
        batch: Batch,
        scope: OpenScope,
        node: PlannedLoop,
        rows: Mapping[str, Row[Any]],
        made: Mapping[str, Mapping[str, Artifact]],
    ) -> None:
        loop = self._make_loop(scope, node)
        self._count += _size(loop)
        first = next(iter(node.body.nodes), None)
        closed: set[int] = set()
        for index, item in enumerate(loop.items):
            path = loop.path_at(index)
            row = rows[path]
            is_closed = is_terminal(TaskState(row.state))
            if first is not None and f"{path}/{first}" in rows:
                inner = self._open_scope(loop, index, item)
                inner.is_closed = is_closed
                if row.state != TaskState.PENDING:
                    inner.started.add("")
                self._restore(batch, inner, rows, made)
            if is_closed:
                closed.add(index)
            if is_closed and row.error:
                loop.blame(_cause_of(path, TaskProblem(**json.loads(row.error))))
        loop.left -= len(closed)
        known = closed.union(loop.scopes)
        loop.waiting = [index for index in loop.waiting if index not in known]

    # -- what happened ---------------------------------------------------------------------

    def saw(self, fidelity: Fidelity | None) -> None:
        """A task of it ran this way."""
        if fidelity is not None:
            self.fidelity = weaker(self.fidelity or fidelity, fidelity)

    def take_ready(self) -> list[str]:
        """Paths of the tasks that became ready since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def locate(self, path: str) -> tuple[OpenScope, str]:
        return self._where[path]

    def task(self, path: str) -> PlannedTask:
        scope, name = self._where[path]
        node = scope.plan.nodes[name]
        assert isinstance(node, PlannedTask)
        return node

    def state_of(self, path: str) -> TaskState:
        scope, name = self._where[path]
        if path in self.running:
            return TaskState.RUNNING
        end = scope.ends.get(name)
        return end.state if end else TaskState.PENDING

    @property
    def is_canceled(self) -> bool:
        return self.row.cancel_requested_by is not None

    @property
    def is_over(self) -> bool:
        return self.root.progress.is_over

    def is_barred(self, path: str) -> bool:
        """The run is being ended, and this does not run after failures."""
        scope, name = self._where[path]
        is_exempt = scope.place.is_exempt or scope.progress.is_exempt(name)
        return bool(self._halted or self.overdue) and not is_exempt

    def due_tasks(self) -> list[str]:
        """Paths of the tasks that run, or could."""
        return [
            path
            for path in self.open_tasks()
            if self._where[path][0].progress.is_due(self._where[path][1])
        ]

    def started(self, batch: Batch, path: str) -> None:
        """The first of a group, iteration or loop marks all that it is in."""
        scope, name = self._where[path]
        self.running.add(path)
        self._mark_started(batch, scope, scope.plan.nodes[name].gate.group)

    def _mark_started(self, batch: Batch, scope: OpenScope, holder: str | None) -> None:
        """`holder`: the group or loop of the scope that begins, if it is in one."""
        running = {"state": TaskState.RUNNING, "started_at": batch.now}
        inside: OpenScope | None = scope
        while inside is not None:
            while holder is not None and holder not in inside.started:
                inside.started.add(holder)
                batch.update_task(self.row.id, inside.path_of(holder), **running)
                holder = inside.plan.nodes[holder].gate.group
            loop = inside.place.loop
            if loop is None or "" in inside.started:
                return
            inside.started.add("")
            batch.update_task(self.row.id, inside.place.path, **running)
            inside, holder = loop.scope, loop.node.name

    def end_task(self, batch: Batch, path: str, result: TaskResult) -> None:
        """The task's own end is the caller's to write."""
        scope, name = self._where[path]
        self.running.discard(path)
        scope.keep(name, result.parameters, result.artifacts)
        scope.blame(name, result.problem)
        cause = _cause_of(path, result.problem)
        self._keep_end(scope, name, result.state, cause)
        self._work.append((scope, scope.progress.settle(name, result.state, cause)))
        self._settle_work(batch)

    def _keep_end(self, scope: OpenScope, name: str, state: TaskState, cause: str) -> None:
        scope.ends[name] = Ended(state, cause)
        if state is TaskState.FAILED and cause == scope.path_of(name):
            self._failed = self._failed or cause

    def _halt(self, batch: Batch, cause: str) -> None:
        """Failure policy *fast*: nothing starts any more but what runs after failures, too."""
        self._halted = cause
        for scope in self._scopes():
            self._halt_scope(batch, scope)
        self._ready = [path for path in self._ready if not self._has_ended(path)]
        self._settle_work(batch)

    def _halt_scope(self, batch: Batch, scope: OpenScope) -> None:
        if scope.place.is_exempt:
            return
        for name in scope.progress.halt(self._halted):
            loop = scope.loops.get(name)
            if loop is not None:
                self._skip_waiting(batch, loop)
            elif scope.path_of(name) not in self.running:
                end = Ended(TaskState.UPSTREAM_FAILED, self._halted)
                self._end_node(batch, scope, name, end)
                self._work.append((scope, scope.progress.settle(name, end.state, end.cause)))

    def _skip_waiting(self, batch: Batch, loop: OpenLoop) -> None:
        for index in loop.waiting:
            problem = upstream_problem(self._halted)
            path = loop.path_at(index)
            batch.end_node(self.row, path, TaskState.UPSTREAM_FAILED, problem)
        loop.left -= len(loop.waiting)
        loop.blame(self._halted if loop.waiting else "")
        loop.waiting = []
        if loop.left == 0:
            self._end_loop(batch, loop)

    def _has_ended(self, path: str) -> bool:
        scope, name = self._where[path]
        return name in scope.ends

    # -- what follows from it --------------------------------------------------------------

    def _settle_work(self, batch: Batch) -> None:
        """A queue, not a recursion: chains of loops may be long."""
        while self._work:
            scope, step = self._work.popleft()
            for name, end in step.ended.items():
                self._end_node(batch, scope, name, end)
            for name in step.ready:
                node = scope.plan.nodes[name]
                if not isinstance(node, PlannedLoop):
                    self._ready.append(scope.path_of(name))
                elif name in scope.loops:
                    self._continue_loop(batch, scope.loops[name])
                else:
                    self._begin_loop(batch, scope, node)
            if scope.progress.is_over and scope.place.loop is not None:
                self._end_iteration(batch, scope, scope.place.loop)
        is_fast = self.row.options.failure_policy is FailurePolicy.FAST
        if is_fast and self._failed and not self._halted:
            self._halt(batch, self._failed)

    def _end_node(self, batch: Batch, scope: OpenScope, name: str, end: Ended) -> None:
        path = scope.path_of(name)
        self._keep_end(scope, name, end.state, end.cause)
        problem = problem_of(end.error) if end.error else None
        if end.state is TaskState.UPSTREAM_FAILED:
            problem = upstream_problem(end.cause, self.attempts[path] > 0)
        elif end.state is TaskState.FAILED and problem is None:
            problem = inside_problem(end.cause)
        scope.blame(name, problem)
        if isinstance(scope.plan.nodes[name], PlannedTask):
            result = TaskResult(end.state, problem=problem)
            batch.end_task(self.row, path, self.attempts[path], result)
        else:
            batch.end_node(self.row, path, end.state, problem)

    # -- loops -----------------------------------------------------------------------------

    def _make_loop(self, scope: OpenScope, node: PlannedLoop) -> OpenLoop:
        """Raises InvalidInput when there is nothing to go over."""
        items = read_items(node, scope)
        loop = OpenLoop(
            node=node,
            scope=scope,
            items=items,
            parameters=scope.parameters_of(node.parameters, node.name),
            artifacts=scope.artifacts_of(node.artifacts),
            waiting=list(range(len(items) - 1, -1, -1)),
            left=len(items),
        )
        scope.loops[node.name] = loop
        return loop

    def _begin_loop(self, batch: Batch, scope: OpenScope, node: PlannedLoop) -> None:
        path = scope.path_of(node.name)
        try:
            loop = self._make_loop(scope, node)
            self._check_size(loop)
        except SeamlineError as error:
            end = Ended(TaskState.FAILED, path, error)
            self._end_node(batch, scope, node.name, end)
            self._work.append((scope, scope.progress.settle(node.name, end.state, path)))
            return
        self._mark_started(batch, scope, node.name)
        batch.update_task(self.row.id, path, items=len(loop.items))
        for index, item in enumerate(loop.items):
            batch.insert_task(self.row.id, iteration_row(loop, index, _shown_item(item)))
        self._continue_loop(batch, loop)

    def _check_size(self, loop: OpenLoop) -> None:
        wanted = self._count + _size(loop)
        if wanted > MAX_NODES:
            raise InvalidInput(
                f"The loop {loop.path!r} has {len(loop.items)} items of "
                f"{len(loop.node.body.nodes)} tasks: the run would have {wanted} nodes, and "
                f"{MAX_NODES} are allowed.",
                next_step="Split it into several runs.",
            )
        self._count = wanted

    def _continue_loop(self, batch: Batch, loop: OpenLoop) -> None:
        """Opens as many iterations as may run at once."""
        if self._halted and not self._is_exempt(loop):
            self._skip_waiting(batch, loop)
            return
        limit = loop.node.loop.parallelism or len(loop.items)
        while loop.waiting and loop.left - len(loop.waiting) < limit:
            index = loop.waiting.pop()
            inner = self._open_scope(loop, index, loop.items[index])
            self._enter(inner)
            for position, node in enumerate(inner.plan.nodes.values()):
                batch.insert_task(self.row.id, node_row(inner.place.path, position, node))
            self._work.append((inner, inner.progress.begin()))
        if loop.left == 0 and loop.node.name not in loop.scope.ends:
            self._end_loop(batch, loop)

    def _is_exempt(self, loop: OpenLoop) -> bool:
        outer = loop.scope
        return outer.place.is_exempt or outer.progress.is_exempt(loop.node.name)

    def _open_scope(self, loop: OpenLoop, index: int, item: Any) -> OpenScope:
        place = Place(loop.path_at(index), loop, index, self._is_exempt(loop))
        parameters, artifacts = loop.scope_inputs(item)
        inner = OpenScope(self._shared, loop.node.body, parameters, artifacts, place)
        loop.scopes[index] = inner
        return inner

    def _enter(self, scope: OpenScope) -> None:
        for name in scope.plan.nodes:
            path = scope.path_of(name)
            self._where[path] = (scope, name)
            self.attempts.setdefault(path, 0)
            self.failures.setdefault(path, 0)

    def _end_iteration(self, batch: Batch, scope: OpenScope, loop: OpenLoop) -> None:
        if scope.is_closed:
            return
        scope.is_closed = True
        path = scope.place.path
        failed = (end.cause for end in scope.ends.values() if end.state is TaskState.FAILED)
        cause = next(failed, scope.progress.cause)
        state, problem = _end_of_holder(path, cause), None
        if state is TaskState.FAILED:
            problem = inside_problem(cause)
        elif state is TaskState.UPSTREAM_FAILED:
            problem = upstream_problem(cause)
        batch.end_node(self.row, path, state, problem)
        loop.left -= 1
        loop.blame(cause)
        self._continue_loop(batch, loop)

    def _end_loop(self, batch: Batch, loop: OpenLoop) -> None:
        name, scope = loop.node.name, loop.scope
        end = Ended(_end_of_holder(loop.path, loop.cause), loop.cause)
        self._end_node(batch, scope, name, end)
        self._work.append((scope, scope.progress.settle(name, end.state, end.cause)))

    # -- all of it -------------------------------------------------------------------------

    def _scopes(self) -> Iterator[OpenScope]:
        """In the order of the plan and of the items."""
        pending = [self.root]
        while pending:
            scope = pending.pop()
            yield scope
            inner = [one for loop in scope.loops.values() for one in loop.in_order()]
            pending.extend(reversed(inner))

    def problem_of(self, path: str) -> TaskProblem:
        """Of what did not end well."""
        return self._shared.problems[path]

    def all_ends(self) -> Iterator[tuple[str, OpenScope, str, Ended]]:
        """(path, scope, name, end) of every task, group and loop that has ended."""
        for scope in self._scopes():
            for name, end in scope.ends.items():
                yield scope.path_of(name), scope, name, end

    def open_tasks(self) -> Iterator[str]:
        """Paths of tasks that have not ended."""
        for scope in self._scopes():
            for task in scope.plan.tasks():
                if task.name not in scope.ends:
                    yield scope.path_of(task.name)


def run_names(row: RunRow, folder: Path) -> dict[str, str]:
    return {
        "pipeline_root": str(folder),
        "workspace_path": str(folder / WORKSPACE),
        "pipeline_job_name": row.display_name,
        "pipeline_job_uuid": row.id,
        "pipeline_job_resource_name": row.id,
        "pipeline_job_create_time_utc": row.created_at,
        "pipeline_job_schedule_time_utc": row.scheduled_for or row.created_at,
    }


def _size(loop: OpenLoop) -> int:
    """Rows of its iterations and of what is in them, but for the loops in it."""
    return len(loop.items) * (1 + len(loop.node.body.nodes))


def _end_of_holder(path: str, cause: str) -> TaskState:
    if not cause:
        return TaskState.SUCCEEDED
    # Else the run was halted by what failed elsewhere.
    return TaskState.FAILED if is_inside(cause, path) else TaskState.UPSTREAM_FAILED


def upstream_problem(cause: str, is_again: bool = False) -> TaskProblem:
    message = f"{cause} failed, so this task was not run{' again' if is_again else ''}."
    return TaskProblem(UPSTREAM, "UpstreamFailed", message, cause=cause)


def inside_problem(cause: str) -> TaskProblem:
    return TaskProblem(UPSTREAM, "FailedInside", f"{cause} failed.", cause=cause)


def _cause_of(path: str, problem: TaskProblem | None) -> str:
    if problem is None:
        return ""
    return problem.cause or path


def _shown_item(item: Any) -> str:
    shown = item.uri if isinstance(item, Artifact) else presentable(item)
    return json.dumps(shown)
