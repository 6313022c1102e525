"""The engine: one thread decides, a few threads each follow one task, rows say what happened.

A turn takes all events that have come, decides, commits once, and only then starts tasks: what is
not in the rows did not happen. Whatever kills this process, `recover` continues from the rows:
finished tasks are never done again, tasks that were running are started anew.
"""

from __future__ import annotations

import heapq
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from seamline.domain.errors import SeamlineError
from seamline.domain.states import RunState, TaskState
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.processes import ProcessIdentity, boot_id, end_process_group
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import Stores
from seamline.train import record
from seamline.train.attempt import LOG, WorkOrder, Workshop
from seamline.train.context import ResolvedArtifact, ResolveUri, RunContext
from seamline.train.ir import ContainerExecutor
from seamline.train.live import LiveRun, load_plan
from seamline.train.progress import Step
from seamline.train.results import UPSTREAM, TaskProblem, TaskResult, failed_with, problem_of
from seamline.train.views import explain_run

__all__ = ["Engine", "ResolveUri", "ResolvedArtifact", "RunContext", "task_environ"]

_log = logging.getLogger(__name__)
#: A task whose process is lost this often is given up.
_MAX_LOSSES = 3
#: A process that lives longer than this is written down, so that a successor can end it.
_PROCESS_NOTED_S = 0.05
_PROCESS_NOTED_AGAIN_S = 1.0
_AFTER_ERROR_S = 1.0
#: All that a task inherits from the server's environment: no secrets.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "TMPDIR")


def task_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What the `TaskRunner` is to be given as its `environ`.

    >>> task_environ({"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x"})
    {'PATH': '/bin'}
    """
    return {name: environ[name] for name in _INHERITED if name in environ}


@dataclass(frozen=True)
class _Woken:
    pass


@dataclass(frozen=True)
class _Stopped:
    pass


@dataclass(frozen=True)
class _Ended:
    run_id: str
    task: str
    attempt: int
    result: TaskResult


_Event = _Woken | _Stopped | _Ended


@dataclass
class _Turn:
    """What one turn has decided: written first, then started."""

    tx: Connection
    starts: list[WorkOrder] = field(default_factory=list)


class Engine:
    def __init__(
        self,
        stores: Stores,
        runner: TaskRunner,
        environments: EnvironmentCache,
        resolve_uri: ResolveUri,
        slots: int | None = None,
    ) -> None:
        self._stores = stores
        self._runner = runner
        self._workshop = Workshop(stores, runner, environments, resolve_uri)
        self._slots = slots or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._slots, "seamline-attempt")
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="seamline-engine", daemon=True)
        self._closing = threading.Event()
        #: Task id → the process that it runs in; filled by the runner's thread.
        self._processes: dict[str, ProcessIdentity] = {}
        # Below: the engine's thread only (and `recover`, before it starts).
        self._runs: dict[str, LiveRun] = {}
        #: Runs with ready tasks, in the order of their turns.
        self._turns: deque[str] = deque()
        self._retries: list[tuple[float, str, str]] = []
        self._running: dict[str, WorkOrder] = {}
        #: (when to write down its process, if it still runs)
        self._unnoted: deque[tuple[float, WorkOrder]] = deque()

    # -- for everybody ---------------------------------------------------------------------

    def start(self) -> None:
        """Continues what an engine before this one left, then takes new runs."""
        self.recover()
        self._thread.start()
        self.wake()

    def wake(self) -> None:
        """Look for requested and canceled runs now."""
        self._events.put(_Woken())

    def close(self) -> None:
        """Ends running tasks without recording an end: the next engine starts them anew."""
        self._closing.set()
        self._events.put(_Stopped())
        if self._thread.is_alive():
            self._thread.join()
        self._end_attempts()

    def recover(self) -> None:
        """RUNNING tasks of a dead engine are PENDING again; called by `start`."""
        lost = []
        with self._stores.db.transaction() as tx:
            for run in record.load_runs(tx, [RunState.RUNNING]):
                lost += record.reset_lost_tasks(tx, run.id)
        for row in lost:
            if row.pid is not None and row.boot_id == boot_id():
                end_process_group(ProcessIdentity(row.pid, row.pid_start_time, row.boot_id), 0)

    # -- the thread ------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._closing.is_set():
            events = self._next_events()
            if self._closing.is_set():
                return
            try:
                self._take_turn(events)
            except Exception:
                # Memory may now say more than the rows do: forget it, and begin from the rows.
                _log.exception("The engine starts over from what is recorded")
                self._start_over()

    def _next_events(self) -> list[_Event]:
        try:
            events = [self._events.get(timeout=self._patience_s())]
        except queue.Empty:
            return []
        while True:
            try:
                events.append(self._events.get_nowait())
            except queue.Empty:
                return events

    def _patience_s(self) -> float | None:
        due = [self._unnoted[0][0]] if self._unnoted else []
        if self._retries:
            due.append(self._retries[0][0])
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _take_turn(self, events: list[_Event]) -> None:
        with self._stores.db.transaction() as tx:
            turn = _Turn(tx)
            ended = [event for event in events if isinstance(event, _Ended)]
            for event in ended:
                self._on_ended(turn, event)
            if len(ended) < len(events):
                self._adopt(turn)
            self._requeue_retries()
            self._choose(turn)
            self._note_processes(turn)
        for order in turn.starts:
            self._unnoted.append((time.monotonic() + _PROCESS_NOTED_S, order))
            self._pool.submit(self._follow, order)

    def _kill(self, order: WorkOrder) -> None:
        order.is_canceled.set()
        self._runner.kill(order.task_id)

    def _end_attempts(self) -> None:
        for order in self._running.values():
            self._kill(order)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start_over(self) -> None:
        self._end_attempts()
        self._pool = ThreadPoolExecutor(self._slots, "seamline-attempt")
        self._runs.clear()
        self._turns.clear()
        self._retries.clear()
        self._running.clear()
        while not self._events.empty():
            self._events.get_nowait()
        while not self._closing.wait(_AFTER_ERROR_S):
            try:
                self.recover()
            except Exception:
                _log.exception("What is recorded cannot be read; trying again")
            else:
                self.wake()
                return

    # -- runs ------------------------------------------------------------------------------

    def _adopt(self, turn: _Turn) -> None:
        for row in record.load_runs(turn.tx, [RunState.PENDING, RunState.RUNNING]):
            known = self._runs.get(row.id)
            if known is None:
                self._begin(turn, row)
            elif row.cancel_requested_by and not known.is_canceled:
                known.row = row
                self._cancel(turn, known)

    def _begin(self, turn: _Turn, row: record.RunRow) -> None:
        try:
            plan = load_plan(self._stores, row.pipeline_digest)
        except Exception as error:  # Not one run's trouble may hold up the others.
            _log.warning("Run %s cannot be planned: %s", row.id, error)
            record.record_run_ended(
                turn.tx, self._stores, row, RunState.FAILED, (), problem_of(error).sentence
            )
            return
        if row.state is RunState.PENDING:
            record.record_run_started(turn.tx, self._stores, row)
        run = LiveRun(replace(row, state=RunState.RUNNING), plan)
        self._runs[row.id] = run
        step = run.load(turn.tx)
        if run.is_canceled:
            self._cancel(turn, run)
        else:
            self._step(turn, run, step)

    def _cancel(self, turn: _Turn, run: LiveRun) -> None:
        run.ready.clear()
        for name in run.plan.tasks:
            if run.states[name] is TaskState.PENDING:
                self._write_end(turn, run, name, TaskResult(TaskState.CANCELED))
        for name in run.running:
            self._kill(self._running[f"{run.row.id}/{name}"])
        self._finish_if_over(turn, run)

    def _finish_if_over(self, turn: _Turn, run: LiveRun) -> None:
        is_over = not run.running and (run.is_canceled or run.progress.is_over)
        if not is_over or run.row.id not in self._runs:
            return
        del self._runs[run.row.id]
        failed = run.failed_tasks()
        sentence = explain_run(run)
        record.record_run_ended(turn.tx, self._stores, run.row, run.final_state(), failed, sentence)

    # -- tasks -----------------------------------------------------------------------------

    def _step(self, turn: _Turn, run: LiveRun, step: Step) -> None:
        for name, cause in step.upstream_failed.items():
            message = f"{cause} failed, so this task was not run."
            problem = TaskProblem(UPSTREAM, "UpstreamFailed", message, cause=cause)
            self._write_end(turn, run, name, TaskResult(TaskState.UPSTREAM_FAILED, problem=problem))
        self._queue(run, step.ready)
        self._finish_if_over(turn, run)

    def _queue(self, run: LiveRun, ready: list[str]) -> None:
        if ready and not run.ready:
            self._turns.append(run.row.id)
        run.ready.extend(ready)

    def _write_end(self, turn: _Turn, run: LiveRun, name: str, result: TaskResult) -> None:
        run.keep(name, result)
        attempt = run.attempts[name]
        record.record_task_ended(turn.tx, self._stores, run.row, name, attempt, result)

    def _choose(self, turn: _Turn) -> None:
        """Fills the free slots, one task of each run in turn."""
        while self._turns and len(self._running) < self._slots:
            run = self._runs.get(self._turns.popleft())
            if run is None or not run.ready:
                continue
            name = run.ready.popleft()
            if run.ready:
                self._turns.append(run.row.id)
            self._start_task(turn, run, name)

    def _start_task(self, turn: _Turn, run: LiveRun, name: str) -> None:
        run.attempts[name] += 1
        try:
            order = run.order(name)
        except SeamlineError as error:
            result = failed_with(problem_of(error))
            self._write_end(turn, run, name, result)
            self._step(turn, run, run.progress.settle(name, result.state))
            return
        has_log = isinstance(order.task.executor, ContainerExecutor)
        log_path = f"{order.folder}/{LOG}" if has_log else None
        record.record_task_started(turn.tx, self._stores, run.row, name, order.attempt, log_path)
        run.states[name] = TaskState.RUNNING
        run.running.add(name)
        self._running[f"{run.row.id}/{name}"] = order
        turn.starts.append(order)

    def _follow(self, order: WorkOrder) -> None:
        """On a thread of the pool: one attempt from its start to its end."""

        def note(process: ProcessIdentity) -> None:
            self._processes[order.task_id] = process

        result = self._workshop.perform(order, note)
        self._processes.pop(order.task_id, None)
        ended = _Ended(order.context.run_id, order.task.name, order.attempt, result)
        self._events.put(ended)

    def _note_processes(self, turn: _Turn) -> None:
        """Writes down who runs a task, unless it was over before that was worth a write."""
        now = time.monotonic()
        while self._unnoted and self._unnoted[0][0] <= now:
            _, order = self._unnoted.popleft()
            run_id, task = order.context.run_id, order.task.name
            process = self._processes.get(order.task_id)
            if self._running.get(f"{run_id}/{task}") is not order:
                continue
            if process is None:
                self._unnoted.append((now + _PROCESS_NOTED_AGAIN_S, order))
            else:
                record.record_task_process(turn.tx, run_id, task, order.attempt, process)

    def _on_ended(self, turn: _Turn, event: _Ended) -> None:
        key = f"{event.run_id}/{event.task}"
        run = self._runs.get(event.run_id)
        order = self._running.get(key)
        if run is None or order is None or order.attempt != event.attempt:
            return
        del self._running[key]
        run.running.discard(event.task)
        if run.is_canceled:
            done = event.result.state is TaskState.SUCCEEDED
            state = TaskState.SUCCEEDED if done else TaskState.CANCELED
            self._write_end(turn, run, event.task, replace(event.result, state=state))
            self._finish_if_over(turn, run)
        elif not self._goes_again(turn, run, event):
            self._write_end(turn, run, event.task, event.result)
            self._step(turn, run, run.progress.settle(event.task, event.result.state))

    def _goes_again(self, turn: _Turn, run: LiveRun, event: _Ended) -> bool:
        """A lost process, or a failure with a retry left, makes the task PENDING again."""
        name, result = event.task, event.result
        delay_s = 0.0
        if result.is_lost:
            run.losses[name] = run.losses.get(name, 0) + 1
            if run.losses[name] >= _MAX_LOSSES:
                return False
        elif result.state is TaskState.FAILED:
            policy = run.plan.tasks[name].retry
            if policy is None or run.failures[name] >= policy.max_retries:
                return False
            factor = policy.backoff_factor ** run.failures[name]
            delay_s = min(policy.backoff_s * factor, policy.max_backoff_s)
            run.failures[name] += 1
        else:
            return False
        record.record_task_again(turn.tx, run.row, name, run.failures[name], result.problem)
        run.states[name] = TaskState.PENDING
        heapq.heappush(self._retries, (time.monotonic() + delay_s, run.row.id, name))
        return True

    def _requeue_retries(self) -> None:
        while self._retries and self._retries[0][0] <= time.monotonic():
            _, run_id, name = heapq.heappop(self._retries)
            run = self._runs.get(run_id)
            if run is not None and run.states[name] is TaskState.PENDING:
                self._queue(run, [name])
