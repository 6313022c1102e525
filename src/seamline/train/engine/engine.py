"""The engine: one thread that decides and writes, a pool of threads that follow attempts.

The rows say what has happened; the memory is built from them. Each turn takes the events that have
come, decides what follows from them, writes all of it in one transaction, and only then starts
processes: whoever is killed anywhere in between leaves rows that a successor goes on from.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy import Connection

from seamline.domain.states import Fidelity, RunState
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.processes import ProcessIdentity, boot_id, end_process_group
from seamline.store.stores import Stores
from seamline.train import record
from seamline.train.attempts.attempt import Workshop
from seamline.train.attempts.machine import Machine
from seamline.train.attempts.order import WorkOrder, run_folder
from seamline.train.attempts.volumes import sweep_workspaces
from seamline.train.context import (
    FindIndex,
    PinImage,
    ResolvedArtifact,
    ResolveUri,
    RunContext,
    Runner,
    as_named,
)
from seamline.train.engine.batch import Batch, process_columns
from seamline.train.engine.counts import EngineCounts
from seamline.train.engine.live import LiveRun
from seamline.train.engine.steering import AHEAD, Steering
from seamline.train.engine.turns import Turns
from seamline.train.plan.load import load_plan
from seamline.train.results import TaskResult, problem_of

__all__ = ["Engine", "ResolveUri", "ResolvedArtifact", "RunContext", "task_environ"]

_log = logging.getLogger(__name__)
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
    order: WorkOrder
    result: TaskResult


_Event = _Woken | _Stopped | _Ended


@dataclass
class _Memory:
    """What the engine's thread knows; thrown away, and built anew from the rows, after an error."""

    steering: Steering
    #: (when to write down its process, if it still runs)
    unnoted: deque[tuple[float, WorkOrder]] = field(default_factory=deque)


class Engine:
    def __init__(
        self,
        stores: Stores,
        runner: Runner,
        environments: EnvironmentCache,
        resolve_uri: ResolveUri,
        slots: int | None = None,
        team_slots: Callable[[str], int | None] = lambda _team: None,
        machine: Machine | None = None,
        find_index: FindIndex = lambda _environment, _requirements: None,
        pin_image: PinImage = as_named,
    ) -> None:
        self._stores = stores
        self._runner = runner
        self._machine = machine or Machine(task_environ(os.environ))
        self._pin_image = pin_image
        self._workshop = Workshop(
            stores, runner, environments, resolve_uri, self._machine, find_index, pin_image
        )
        self._slots = slots or os.cpu_count() or 1
        self._team_slots = team_slots
        self._pool = ThreadPoolExecutor(self._slots * AHEAD, "seamline-attempt")
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="seamline-engine", daemon=True)
        self._closing = threading.Event()
        #: Task id → the process that it runs in; filled by the runner's thread.
        self._processes: dict[str, ProcessIdentity] = {}
        # Below: the engine's thread only (and `recover`, before it starts).
        self._memory = self._fresh_memory()

    # -- for everybody ---------------------------------------------------------------------

    def start(self) -> None:
        """Continues what an engine before this one left, then takes new runs."""
        self.recover()
        sweep_workspaces(self._stores)
        self._thread.start()
        self.wake()

    def wake(self) -> None:
        """Look for requested, retried and canceled runs now."""
        self._events.put(_Woken())

    def close(self) -> None:
        """Ends running tasks without recording an end: the next engine starts them anew."""
        self._closing.set()
        self._events.put(_Stopped())
        if self._thread.is_alive():
            self._thread.join()
        self._end_attempts()

    @property
    def machine(self) -> Machine:
        """What tasks run on."""
        return self._machine

    @property
    def slots(self) -> int:
        """Tasks that run at the same time, of all runs together."""
        return self._slots

    def counts(self) -> EngineCounts:
        return self._memory.steering.turns.counts()

    def recover(self) -> None:
        """RUNNING tasks of a dead engine are PENDING again; called by `start`."""
        lost = []
        with self._stores.db.transaction() as tx:
            for run in record.load_runs(tx, [RunState.RUNNING]):
                lost += record.reset_lost_tasks(tx, run.id)
        for row in lost:
            if row.pid is not None and row.boot_id == boot_id():
                end_process_group(ProcessIdentity(row.pid, row.pid_start_time, row.boot_id), 0)
            fidelity = Fidelity(row.fidelity) if row.fidelity else None
            self._workshop.end_leftovers(row.run_id, row.name, row.attempt, fidelity)

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
        due = [self._memory.steering.next_due()]
        if self._memory.unnoted:
            due.append(self._memory.unnoted[0][0])
        known = [when for when in due if when is not None]
        return max(0.0, min(known) - time.monotonic()) if known else None

    def _take_turn(self, events: list[_Event]) -> None:
        steering = self._memory.steering
        batch = Batch(self._stores)
        with self._stores.db.transaction(is_relaxed=True) as tx:
            ended = [event for event in events if isinstance(event, _Ended)]
            for event in ended:
                steering.on_ended(batch, event.order, event.result)
            if len(ended) < len(events):
                steering.turns.refresh()
                self._adopt(batch, tx)
            steering.on_time(batch)
            starts = steering.choose(batch, tx)
            self._note_processes(batch)
            batch.flush(tx)
            steering.close_rows(tx)
        if batch.is_final:
            self._stores.db.sync()
        steering.end_workspaces()
        for order in steering.take_kills():
            self._kill(order)
        for order in starts:
            self._memory.unnoted.append((time.monotonic() + _PROCESS_NOTED_S, order))
            self._pool.submit(self._follow, order)

    def _adopt(self, batch: Batch, tx: Connection) -> None:
        steering = self._memory.steering
        for row in record.load_runs(tx, [RunState.PENDING, RunState.RUNNING]):
            if not steering.knows(row.id):
                self._begin(batch, tx, row)
            elif row.cancel_requested_by:
                steering.cancel(batch, row)

    def _begin(self, batch: Batch, tx: Connection, row: record.RunRow) -> None:
        try:
            folder = self._stores.root.absolute() / run_folder(row.id)
            run = LiveRun(row, load_plan(self._stores, row.pipeline_digest), folder)
        except Exception as error:  # Not one run's trouble may hold up the others.
            _log.warning("Run %s cannot be planned: %s", row.id, error)
            self._memory.steering.refuse(batch, row, problem_of(error).sentence)
            return
        self._memory.steering.begin(batch, tx, run)

    def _kill(self, order: WorkOrder) -> None:
        order.is_canceled.set()
        self._runner.kill(order.task_id)
        run_id = order.context.run_id
        self._workshop.end_leftovers(run_id, order.path, order.attempt, order.fidelity)

    def _end_attempts(self) -> None:
        for order in self._memory.steering.running.values():
            self._kill(order)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fresh_memory(self) -> _Memory:
        turns = Turns(self._team_slots)
        return _Memory(Steering(self._stores, self._slots, turns, self._machine, self._pin_image))

    def _start_over(self) -> None:
        self._end_attempts()
        self._pool = ThreadPoolExecutor(self._slots * AHEAD, "seamline-attempt")
        self._memory = self._fresh_memory()
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

    # -- attempts --------------------------------------------------------------------------

    def _follow(self, order: WorkOrder) -> None:
        """On a thread of the pool: one attempt from its start to its end."""

        def note(process: ProcessIdentity) -> None:
            self._processes[order.task_id] = process

        result = self._workshop.perform(order, note)
        self._processes.pop(order.task_id, None)
        self._events.put(_Ended(order, result))

    def _note_processes(self, batch: Batch) -> None:
        """Writes down who runs a task, unless it was over before that was worth a write."""
        now = time.monotonic()
        unnoted = self._memory.unnoted
        while unnoted and unnoted[0][0] <= now:
            _, order = unnoted.popleft()
            process = self._processes.get(order.task_id)
            if self._memory.steering.running.get(order.key) is not order:
                continue
            if process is None:
                unnoted.append((now + _PROCESS_NOTED_AGAIN_S, order))
            else:
                batch.update_task(order.context.run_id, order.path, **process_columns(process))
