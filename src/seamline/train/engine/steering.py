"""What the engine decides in a turn: which tasks go, go again, or stand in for one another.

Everything here happens on the engine's thread, and everything that it decides is in the `Batch` of
the turn; processes are the engine's.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from seamline.domain.errors import SeamlineError
from seamline.domain.facts import RunEnded, RunStarted
from seamline.domain.states import RunState, TaskState
from seamline.store.stores import Stores
from seamline.train import record
from seamline.train.attempts.machine import Machine
from seamline.train.attempts.order import WorkOrder
from seamline.train.attempts.volumes import end_workspace, run_workspace
from seamline.train.context import PinImage, as_named
from seamline.train.engine.batch import Batch, problem_json
from seamline.train.engine.cache import Hit
from seamline.train.engine.live import LiveRun
from seamline.train.engine.orders import make_order
from seamline.train.engine.outcome import decide_run_state, explain_run, failed_tasks, outputs_json
from seamline.train.engine.shortcuts import Shortcuts
from seamline.train.engine.turns import Turns
from seamline.train.options import Isolation
from seamline.train.results import FAILED, TaskProblem, TaskResult, failed_with, problem_of

_log = logging.getLogger(__name__)
#: A task whose process is lost this often is given up.
_MAX_LOSSES = 3
#: The longest that a queue can be waited on is 292 years, less than a time limit may be.
_MAX_PATIENCE_S = 86_400.0
#: Tasks per slot that reused workers may have been handed.
AHEAD = 4


class Steering:
    """The runs in memory, and whose turn it is."""

    def __init__(
        self,
        stores: Stores,
        slots: int,
        turns: Turns,
        machine: Machine,
        pin_image: PinImage = as_named,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._stores = stores
        self._slots = slots
        self._machine = machine
        self._pin_image = pin_image
        self.turns = turns
        #: `WorkOrder.key` → what runs.
        self.running: dict[str, WorkOrder] = {}
        self._runs: dict[str, LiveRun] = {}
        self._shortcuts: dict[str, Shortcuts] = {}
        #: Runs that this turn has changed.
        self._touched: dict[str, LiveRun] = {}
        #: (when, run, task) to offer again.
        self._retries: list[tuple[float, str, str]] = []
        #: (when, run) at which a run's time is over.
        self._deadlines: list[tuple[float, str]] = []
        self._kills: list[WorkOrder] = []
        self._closed: list[record.RunRow] = []
        #: Ended in this turn: what their tasks shared may go once that is written.
        self._over: list[tuple[str, RunState]] = []

    def knows(self, run_id: str) -> bool:
        return run_id in self._runs

    # -- runs ------------------------------------------------------------------------------

    def begin(self, batch: Batch, tx: Connection, run: LiveRun) -> None:
        row = run.row
        self._runs[row.id] = run
        with self._minding(batch, run):
            if row.state is RunState.PENDING:
                batch.update_run(row.id, state=RunState.RUNNING, started_at=batch.now)
                batch.add_fact(row, RunStarted(row.id))
                run.row = replace(row, state=RunState.RUNNING, started_at=batch.now)
            run.begin(batch, record.load_tasks(tx, row.id), record.load_artifacts(tx, row.id))
            self._shortcuts[row.id] = Shortcuts(self._stores, run, self._pin_image)
            self._touched[row.id] = run
            if run.plan.pipeline.has_workspace:
                run_workspace(self._stores, row.id)
            limit_s = run.plan.pipeline.timeout_s
            if limit_s is not None:
                left_s = limit_s - record.seconds_since(self._stores.clock, run.row.started_at)
                heapq.heappush(self._deadlines, (self._monotonic() + left_s, row.id))
            if run.is_canceled:
                self._cancel(batch, run)

    @contextmanager
    def _minding(self, batch: Batch, run: LiveRun) -> Iterator[None]:
        """Not one run's trouble may hold up the others: what nobody foresaw ends that run.

        The database's trouble is nobody's: the engine begins again from the rows.
        """
        try:
            yield
        except SQLAlchemyError:
            raise
        except Exception as error:
            if not isinstance(error, SeamlineError):
                _log.exception("Run %s cannot go on", run.row.id)
            self._give_up(batch, run.row, problem_of(error).sentence)

    def _give_up(self, batch: Batch, row: record.RunRow, sentence: str) -> None:
        batch.forget(row.id)  # It may tell half of what was decided.
        for known in (self._runs, self._shortcuts, self._touched):
            known.pop(row.id, None)
        self._kills += [one for one in self.running.values() if one.context.run_id == row.id]
        self.turns.forget(row.id)
        self.refuse(batch, row, f"The engine cannot go on with this run: {sentence}")
        self._closed.append(row)

    def refuse(self, batch: Batch, row: record.RunRow, sentence: str) -> None:
        """A run that cannot even begin."""
        batch.update_run(row.id, state=RunState.FAILED, ended_at=batch.now, error=sentence)
        ended = RunEnded(row.id, row.environment, row.pipeline, RunState.FAILED, ())
        batch.add_fact(row, ended)

    def cancel(self, batch: Batch, row: record.RunRow) -> None:
        run = self._runs[row.id]
        if not run.is_canceled:
            run.row = row
            with self._minding(batch, run):
                self._cancel(batch, run)

    def _cancel(self, batch: Batch, run: LiveRun) -> None:
        self.turns.forget(run.row.id)
        run.take_ready()
        for path in list(run.open_tasks()):
            if path not in run.running:
                batch.end_task(run.row, path, run.attempts[path], TaskResult(TaskState.CANCELED))
        self._kill_running(run)
        self._touched[run.row.id] = run

    def _kill_running(self, run: LiveRun) -> None:
        self._kills += [self.running[f"{run.row.id}/{path}"] for path in run.running]

    def take_kills(self) -> list[WorkOrder]:
        """Attempts to end now that what was decided is written."""
        kills, self._kills = self._kills, []
        return kills

    def end_workspaces(self) -> None:
        """Of runs that have ended, now that this is written."""
        for run_id, state in self._over:
            end_workspace(self._stores, run_id, state)
        self._over.clear()

    def close_rows(self, tx: Connection) -> None:
        """What is open of runs that this turn has ended before their end."""
        for row in self._closed:
            record.cancel_open_nodes(tx, row.id, self._stores.clock)
        self._closed.clear()

    def _finish(self, batch: Batch, run: LiveRun) -> None:
        is_over = not run.running and (run.is_canceled or run.is_over)
        if not is_over or run.row.id not in self._runs:
            return
        row = run.row
        del self._runs[row.id]
        del self._shortcuts[row.id]
        self.turns.forget(row.id)
        state = decide_run_state(run)
        values = {"state": state, "ended_at": batch.now, "outputs": outputs_json(run)}
        sentence = explain_run(run) or None
        batch.update_run(row.id, **values, error=sentence, fidelity=run.fidelity or row.fidelity)
        failed = tuple(failed_tasks(run))
        batch.add_fact(row, RunEnded(row.id, row.environment, row.pipeline, state, failed))
        if state is RunState.CANCELED:
            self._closed.append(row)
        if run.plan.pipeline.has_workspace:
            self._over.append((row.id, state))

    # -- time ------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """On the monotonic clock."""
        due = [heap[0][0] for heap in (self._retries, self._deadlines) if heap]
        return min(*due, self._monotonic() + _MAX_PATIENCE_S) if due else None

    def on_time(self, batch: Batch) -> None:
        now = self._monotonic()
        while self._retries and self._retries[0][0] <= now:
            _, run_id, path = heapq.heappop(self._retries)
            run = self._runs.get(run_id)
            if run is None or run.is_canceled:
                continue
            if run.state_of(path) is TaskState.PENDING:
                self._offer(run, path)
        while self._deadlines and self._deadlines[0][0] <= now:
            _, run_id = heapq.heappop(self._deadlines)
            run = self._runs.get(run_id)
            if run is not None and not run.is_canceled:
                with self._minding(batch, run):
                    self._end_overdue(batch, run)

    def _end_overdue(self, batch: Batch, run: LiveRun) -> None:
        """What runs is ended, and nothing starts any more but what runs after failures, too."""
        limit_s = run.plan.pipeline.timeout_s
        run.overdue = f"The run took longer than its {limit_s:g} s (activeDeadlineSeconds)."
        run.cut_short |= run.running
        for path in run.due_tasks():
            if run.is_barred(path) and run.state_of(path) is TaskState.PENDING:
                self._end_without_start(batch, run, path, self._overdue_result(run))
        self._kill_running(run)
        self._touched[run.row.id] = run

    def _overdue_result(self, run: LiveRun) -> TaskResult:
        return failed_with(TaskProblem(FAILED, "RunTimedOut", run.overdue))

    # -- tasks -----------------------------------------------------------------------------

    def choose(self, batch: Batch, tx: Connection) -> list[WorkOrder]:
        """What is to start: fills the free slots, one task of each team and run in turn."""
        starts: list[WorkOrder] = []
        while True:
            for run in list(self._touched.values()):
                with self._minding(batch, run):
                    self._sort_ready(batch, tx, run)
            chosen = self.turns.take() if len(self.running) < self._capacity() else None
            if chosen is None:
                break
            run_id, path = chosen
            chosen_run = self._runs.get(run_id)
            if chosen_run is not None and chosen_run.state_of(path) is TaskState.PENDING:
                with self._minding(batch, chosen_run):
                    order = self._start_task(batch, chosen_run, path)
                    starts += [order] if order else []
        for run in list(self._touched.values()):
            with self._minding(batch, run):
                self._finish(batch, run)
        self._touched.clear()
        return starts

    def _capacity(self) -> int:
        """Reused workers are handed their next tasks while they are at one: as many run at once
        as there are workers, but none of them waits for a turn of ours."""
        runs = self._runs.values()
        if all(run.row.options.isolation is Isolation.REUSE for run in runs):
            return self._slots * AHEAD
        return self._slots

    def _sort_ready(self, batch: Batch, tx: Connection, run: LiveRun) -> None:
        """What became ready: a known result stands in, or the task waits for its turn."""
        while ready := run.take_ready():
            if run.is_canceled:
                return
            hits = self._shortcuts[run.row.id].find(tx, ready)
            for path in ready:
                if run.state_of(path) is not TaskState.PENDING:
                    continue  # What became of one before it has halted the run.
                if run.is_barred(path):
                    self._end_without_start(batch, run, path, self._overdue_result(run))
                elif path in hits:
                    self._stand_in(batch, run, path, hits[path])
                else:
                    self._offer(run, path)

    def _offer(self, run: LiveRun, path: str) -> None:
        self.turns.offer(run.row.id, run.row.team, run.row.options.slots, path)

    def _stand_in(self, batch: Batch, run: LiveRun, path: str, hit: Hit) -> None:
        result = hit.result(self._stores)
        run.saw(hit.fidelity)
        batch.update_task(
            run.row.id,
            path,
            started_at=batch.now,
            cached_run_id=hit.run_id,
            cached_task=hit.task,
            fidelity=hit.fidelity,
            **self._shortcuts[run.row.id].columns(path),
        )
        batch.end_task(run.row, path, run.attempts[path], result)
        run.end_task(batch, path, result)

    def _start_task(self, batch: Batch, run: LiveRun, path: str) -> WorkOrder | None:
        run.attempts[path] += 1
        try:
            order = make_order(run, path, batch.now, self._machine)
        except SeamlineError as error:
            self._end_without_start(batch, run, path, failed_with(problem_of(error)))
            return None
        run.saw(order.fidelity)
        batch.update_task(
            run.row.id,
            path,
            state=TaskState.RUNNING,
            attempt=order.attempt,
            started_at=batch.now,
            log_path=order.log_path,
            fidelity=order.fidelity,
            pid=None,
            pid_start_time=None,
            boot_id=None,
            error=None,
            **self._shortcuts[run.row.id].columns(path),
        )
        run.started(batch, path)
        self.running[order.key] = order
        self.turns.started(run.row.id)
        return order

    def _end_without_start(self, batch: Batch, run: LiveRun, path: str, result: TaskResult) -> None:
        batch.end_task(run.row, path, run.attempts[path], result)
        self._follow_end(batch, run, path, result)

    def on_ended(self, batch: Batch, order: WorkOrder, result: TaskResult) -> None:
        if self.running.get(order.key) is not order:
            return
        del self.running[order.key]
        self.turns.ended(order.context.run_id)
        run = self._runs.get(order.context.run_id)
        if run is not None:
            run.running.discard(order.path)
            self._touched[run.row.id] = run
            with self._minding(batch, run):
                self._take_result(batch, run, order, result)

    def _take_result(
        self, batch: Batch, run: LiveRun, order: WorkOrder, result: TaskResult
    ) -> None:
        if run.is_canceled:
            done = result.state is TaskState.SUCCEEDED
            state = TaskState.SUCCEEDED if done else TaskState.CANCELED
            batch.end_task(run.row, order.path, order.attempt, replace(result, state=state))
        elif order.path in run.cut_short and result.state is not TaskState.SUCCEEDED:
            late = replace(self._overdue_result(run), outcome=result.outcome)
            self._end_attempt(batch, run, order, late)
        elif not self._goes_again(batch, run, order, result):
            self._end_attempt(batch, run, order, result)

    def _end_attempt(
        self, batch: Batch, run: LiveRun, order: WorkOrder, result: TaskResult
    ) -> None:
        batch.end_task(run.row, order.path, order.attempt, result)
        self._follow_end(batch, run, order.path, result)

    def _follow_end(self, batch: Batch, run: LiveRun, path: str, result: TaskResult) -> None:
        self._touched[run.row.id] = run
        run.end_task(batch, path, result)

    def _goes_again(self, batch: Batch, run: LiveRun, order: WorkOrder, result: TaskResult) -> bool:
        """A lost process, or a failure with a retry left, makes the task PENDING again."""
        path = order.path
        delay_s = 0.0
        if run.is_barred(path):
            return False
        if result.is_lost:
            run.losses[path] = run.losses.get(path, 0) + 1
            if run.losses[path] >= _MAX_LOSSES:
                return False
        elif result.state is TaskState.FAILED:
            policy = order.task.retry
            if policy is None or run.failures[path] >= policy.max_retries:
                return False
            delay_s = policy.delay_s(run.failures[path])
            run.failures[path] += 1
        else:
            return False
        batch.attempt_over(order, result)
        batch.update_task(
            run.row.id,
            path,
            state=TaskState.PENDING,
            failures=run.failures[path],
            error=problem_json(result.problem),
        )
        heapq.heappush(self._retries, (self._monotonic() + delay_s, run.row.id, path))
        return True
