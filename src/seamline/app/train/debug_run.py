"""A run in the calling process, without a server: breakpoints work, one task at a time.

Everything that it makes is in a workspace of its own, so nothing that was changed by hand while it
stood still can be taken for a result; `datasets://` and `models://` are read from another one.
"""

from __future__ import annotations

import getpass
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.app.train.resolve_uri import resolve_uri
from seamline.domain.clock import Clock, SystemClock
from seamline.domain.errors import Refused, Unavailable
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.promote.environments import TRAINING
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.flights import Flight, outcome_unseen
from seamline.runtime.in_process import run_in_process
from seamline.runtime.outcomes import TaskEnd, TaskOutcome
from seamline.runtime.specs import OnStarted, TaskKind, TaskSpec
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import Stores, open_stores
from seamline.train.arguments import parse_arguments
from seamline.train.attempts.machine import Machine
from seamline.train.context import ResolvedArtifact, RunContext
from seamline.train.engine.engine import Engine, task_environ
from seamline.train.options import Isolation, RunOptions
from seamline.train.plan.load import plan_of
from seamline.train.runs import cancel_run, request_run, run_state, show_run

#: What a person does who has seen enough: Ctrl-C, or `q` in the debugger.
_STOPS = frozenset({"KeyboardInterrupt", "bdb.BdbQuit"})


@dataclass(frozen=True)
class Watcher:
    """Is told what happens, on the thread that called `debug_run`."""

    on_start: Callable[[str], None]
    on_end: Callable[[TaskOutcome], None]
    #: With what a task raised, while everything still is as it was then.
    on_error: Callable[[BaseException], None] | None = None


@dataclass(frozen=True)
class _Waiting:
    spec: TaskSpec
    future: Future[TaskOutcome]


class CallersThread:
    """Starts tasks as the engine asks; those in Python run on the thread that calls `serve`."""

    def __init__(self, others: TaskRunner, clock: Clock, watcher: Watcher) -> None:
        self._others = others
        self._clock = clock
        self._watcher = watcher
        #: None: look whether it is over.
        self._todo: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        #: What the person has stopped, with how that ended: told once the run is to end.
        self._stopped: tuple[_Waiting, TaskOutcome] | None = None

    def start(self, spec: TaskSpec, on_started: OnStarted | None = None) -> Future[TaskOutcome]:
        if spec.kind is TaskKind.COMMAND:
            return self._others.start(spec, on_started)
        waiting = _Waiting(spec, Future())
        with self._lock:
            if self._is_closed:
                raise Unavailable(f"Task {spec.task_id} cannot start: the run was ended.")
            self._todo.put(waiting)
        return waiting.future

    def kill(self, task_id: str) -> None:
        """What runs on the caller's thread ends by itself; `close` lets go of what waits."""
        self._others.kill(task_id)

    def wake(self) -> None:
        self._todo.put(None)

    def serve(self, is_over: Callable[[], bool]) -> bool:
        """Runs tasks until it is over; False as soon as the person wants no more."""
        try:
            while not is_over():
                waiting = self._todo.get()
                if waiting is not None and not self._run(waiting):
                    return False
        except KeyboardInterrupt:
            return False
        return True

    def close(self) -> None:
        """Lets go of what was stopped, and of what waits."""
        with self._lock:
            self._is_closed = True
        if self._stopped is not None:
            stopped, outcome = self._stopped
            stopped.future.set_result(outcome)
            self._stopped = None
        while not self._todo.empty():
            waiting = self._todo.get()
            if waiting is not None:
                flight, now = Flight(waiting.spec, None), self._clock.now()
                ended = outcome_unseen(flight, TaskEnd.CANCELED, "The run was ended.", now)
                waiting.future.set_result(ended)

    def _run(self, waiting: _Waiting) -> bool:
        self._watcher.on_start(waiting.spec.task_id)
        try:
            outcome = run_in_process(waiting.spec, self._clock, self._watcher.on_error)
        except Exception as error:  # The attempt's thread makes a failed task of it.
            waiting.future.set_exception(error)
            return True
        except KeyboardInterrupt:
            waiting.future.set_exception(Unavailable("The run was ended."))
            raise
        self._watcher.on_end(outcome)
        if outcome.error is not None and outcome.error.type in _STOPS:
            self._stopped = (waiting, outcome)
            return False
        waiting.future.set_result(outcome)
        return True


def debug_run(
    settings: Settings,
    folder: Path,
    ir: bytes,
    *,
    arguments: Mapping[str, Any],
    texts: Mapping[str, str],
    watcher: Watcher,
) -> dict[str, Any]:
    """The run once it has ended, as `show_run` has it. `folder` becomes its workspace.

    Call it from the main thread. The workspace of `settings` is where URIs are read from.
    """
    clock = SystemClock()
    given = {**arguments, **parse_arguments(plan_of(ir).parameters, texts)}
    environ = task_environ(os.environ)
    machine = Machine(environ, host_containers=settings.host_containers, in_process=True)
    with ExitStack() as stack:
        stores = open_stores(folder.absolute(), clock)
        stack.callback(stores.db.close)
        run_id = request_run(
            stores,
            ir,
            arguments=given,
            environment=TRAINING,
            by=getpass.getuser(),
            options=RunOptions(isolation=Isolation.IN_PROCESS, enable_cache=False),
            machine=machine,
        )
        others = stack.enter_context(TaskRunner(clock, stores.root / "zygotes", environ=environ))
        sources = _Sources(settings, clock)
        stack.callback(sources.close)
        thread = CallersThread(others, clock, watcher)
        environments = EnvironmentCache(stores.root / "environments", Path(sys.executable))
        engine = Engine(stores, thread, environments, sources.resolve, slots=1, machine=machine)
        stack.callback(engine.close)
        stack.callback(thread.close)
        stores.db.on_commit(thread.wake)
        engine.start()

        def is_over() -> bool:
            return is_terminal(run_state(stores, run_id))

        if not thread.serve(is_over):
            _end(stores, engine, thread, run_id, is_over)
        return show_run(stores, run_id)


def _end(
    stores: Stores,
    engine: Engine,
    thread: CallersThread,
    run_id: str,
    is_over: Callable[[], bool],
) -> None:
    with suppress(Refused):  # It may be over by now.
        cancel_run(stores, run_id, by=getpass.getuser())
        engine.wake()
    thread.close()
    thread.serve(is_over)


class _Sources:
    """The workspace that URIs are read from, opened when the first is."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._stores: Stores | None = None

    def resolve(self, uri: str, context: RunContext) -> ResolvedArtifact:
        """On the attempt's thread: there is one at a time."""
        if self._stores is None:
            root = self._settings.workspace.resolve()
            if not root.is_dir():
                raise Unavailable(
                    f"{uri} is read from the workspace {root}, and there is none.",
                    next_step="Name it: seamline --workspace FOLDER run debug …",
                )
            url = self._settings.database_url or None
            self._stores = open_stores(root, self._clock, database_url=url)
        return resolve_uri(self._stores, uri, context)

    def close(self) -> None:
        if self._stores is not None:
            self._stores.db.close()
