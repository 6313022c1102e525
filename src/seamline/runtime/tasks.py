"""Running tasks: each in a process of its own, forked from a warm zygote of its environment.

All the work of a `TaskRunner` happens on one thread of its own, which lives as long as the runner:
zygotes are started there (see zygote.py), and `on_started` and the callbacks of futures are called
there, so they must return quickly and not wait for another task.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Self

from seamline.domain.clock import Clock
from seamline.domain.errors import Conflict, Unavailable
from seamline.runtime.flights import Flight, outcome_of, outcome_unseen
from seamline.runtime.outcomes import TaskEnd, TaskError, TaskOutcome
from seamline.runtime.processes import ProcessIdentity, boot_id, end_process_group
from seamline.runtime.processors import ProcessorShares, list_processors
from seamline.runtime.specs import (
    Limits,
    OnStarted,
    TaskIsolation,
    TaskKind,
    TaskSpec,
    write_request,
    zygote_key,
)
from seamline.runtime.zygotes import WarmZygote, Zygotes

__all__ = [
    "Limits",
    "OnStarted",
    "TaskEnd",
    "TaskError",
    "TaskIsolation",
    "TaskKind",
    "TaskOutcome",
    "TaskRunner",
    "TaskSpec",
    "zygote_key",
]

_log = logging.getLogger(__name__)
_IDLE_CHECK_S = 30.0
_WORKER_IDLE_S = 60.0
_CLOSE_S = 10.0


class TaskRunner:
    """Thread-safe. A task that crashes takes neither the runner nor other tasks with it."""

    def __init__(
        self,
        clock: Clock,
        run_dir: Path,
        preload: Mapping[str, Sequence[str]] | None = None,
        *,
        idle_s: float = 600.0,
        log_limit_bytes: int = 16 << 20,
        environ: Mapping[str, str] | None = None,
        most_workers: int | None = None,
    ) -> None:
        """`preload`: zygote key → modules; `environ` is what zygotes inherit (default: ours).

        `most_workers` of each zygote serve REUSED tasks (default: as many as processors); tasks
        that find all of them busy wait.
        """
        self._clock = clock
        self._idle_s = idle_s
        self._log_limit_bytes = log_limit_bytes
        self._boot_id = boot_id()
        self._lock = Lock()
        self._closed = False
        self._flights: dict[str, Flight] = {}
        self._processors = ProcessorShares(list_processors())
        self._loop = asyncio.new_event_loop()
        self._zygotes = Zygotes(
            self._loop,
            clock,
            run_dir,
            os.environ if environ is None else environ,
            preload or {},
            {
                "workers": most_workers or os.cpu_count() or 1,
                "idle_s": min(idle_s, _WORKER_IDLE_S),
            },
            self,
        )
        self._loop.call_later(_IDLE_CHECK_S, self._check_idle)
        self._thread = Thread(target=self._loop.run_forever, name="seamline-tasks", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- for everybody ---------------------------------------------------------------------

    def start(self, spec: TaskSpec, on_started: OnStarted | None = None) -> Future[TaskOutcome]:
        """The future always gets an outcome, never an exception.

        Raises Conflict when a task with this id is running, Unavailable after `close`.
        """
        flight = Flight(spec, on_started)
        with self._lock:
            if self._closed:
                raise Unavailable(
                    f"Task {spec.task_id} cannot start: this server is stopping.",
                    next_step="Start it again on the server that follows.",
                )
            if spec.task_id in self._flights:
                raise Conflict(
                    f"Task {spec.task_id} is already running.",
                    next_step="Wait for it, or give the new attempt its own id.",
                )
            self._flights[spec.task_id] = flight
            flight.future.set_running_or_notify_cancel()
            self._loop.call_soon_threadsafe(self._dispatch, flight)
        return flight.future

    def kill(self, task_id: str) -> None:
        """Kills the task with everything it started; nothing happens when it has ended."""
        self._post(self._kill, task_id)

    def end_idle(self) -> None:
        """Ends zygotes that had nothing to do for `idle_s`; also done every half minute."""
        self._post(self._zygotes.end_idle, self._idle_s)

    @property
    def preload(self) -> dict[str, tuple[str, ...]]:
        """Zygote key → modules, with what tasks taught: keep it for the next runner."""
        return self._zygotes.preload

    def close(self) -> None:
        """Kills what runs (outcome: canceled) and ends the zygotes."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._loop.call_soon_threadsafe(self._begin_close)
        self._thread.join()
        self._loop.close()

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(function, *arguments)

    def _check_idle(self) -> None:
        self._zygotes.end_idle(self._idle_s)
        self._loop.call_later(_IDLE_CHECK_S, self._check_idle)

    def _begin_close(self) -> None:
        if not self._zygotes.living:
            self._loop.stop()
        self._zygotes.begin_close()
        self._loop.call_later(_CLOSE_S, self._zygotes.force_close)

    # -- tasks -----------------------------------------------------------------------------

    def _dispatch(self, flight: Flight) -> None:
        spec = flight.spec
        try:
            warm = self._zygotes.obtain(spec)
        except OSError as error:
            why = f"{spec.environment.python} does not start: {error}."
            self._abandon(flight, TaskEnd.NOT_STARTED, why)
            return
        warm.flights[spec.task_id] = flight
        if warm.ready:
            self._send_flight(warm, flight)

    def _send_flight(self, warm: WarmZygote, flight: Flight) -> None:
        flight.sent = True
        flight.cpus = self._processors.take(flight.spec.limits.cpu_cores)
        request = write_request(flight.spec, self._log_limit_bytes, flight.cpus)
        self._zygotes.send(warm, request)

    def _kill(self, task_id: str) -> None:
        for warm in self._zygotes.living:
            flight = warm.flights.get(task_id)
            if flight is None:
                continue
            flight.kill_asked = True
            if flight.sent:
                self._zygotes.send(warm, {"op": "kill", "task_id": task_id})
            else:
                self._abandon(flight, TaskEnd.CANCELED, "Killed before it started.", warm)
            return

    def _abandon(
        self, flight: Flight, end: TaskEnd, why: str, warm: WarmZygote | None = None
    ) -> None:
        """An outcome for a task that nobody saw end."""
        if flight.kill_asked or self._closed:
            end = TaskEnd.CANCELED
        self._finish(flight, outcome_unseen(flight, end, why, self._clock.now()), warm)

    def _finish(self, flight: Flight, outcome: TaskOutcome, warm: WarmZygote | None) -> None:
        with self._lock:
            self._flights.pop(outcome.task_id, None)
        if warm is not None:
            warm.flights.pop(outcome.task_id, None)
            self._zygotes.released(warm)
        self._processors.give_back(flight.cpus)
        flight.future.set_result(outcome)

    # -- what the zygotes say --------------------------------------------------------------

    def on_ready(self, warm: WarmZygote) -> None:
        for flight in warm.flights.values():
            self._send_flight(warm, flight)

    def on_report(self, warm: WarmZygote, report: Mapping[str, Any]) -> None:
        flight = warm.flights.get(report["task_id"])
        if flight is None:
            return
        if report["event"] == "refused":
            self._abandon(flight, TaskEnd.NOT_STARTED, report["message"], warm)
            return
        if flight.identity is None or flight.identity.pid != report["pid"]:
            self._on_started(flight, report)
        if report["event"] == "ended":
            self._on_ended(warm, flight, report)

    def _on_ended(self, warm: WarmZygote, flight: Flight, report: Mapping[str, Any]) -> None:
        try:
            outcome = outcome_of(flight, report, self._clock.now())
        except Exception as error:  # Whoever waits must hear of it, whatever the task left us.
            _log.exception("The outcome of task %s", flight.spec.task_id)
            why = f"What became of task {flight.spec.task_id} cannot be told: {error}."
            self._abandon(flight, TaskEnd.LOST, why, warm)
            return
        self._finish(flight, outcome, warm)
        self._zygotes.learn(warm.key, flight.spec, outcome.imported)

    def on_gone(self, warm: WarmZygote, code: int) -> None:
        waiting = [flight for flight in warm.flights.values() if not flight.sent]
        for flight in [flight for flight in warm.flights.values() if flight.sent]:
            if flight.identity is not None:
                end_process_group(flight.identity, 0)
            why = f"The process that started task {flight.spec.task_id} ended (code {code})."
            self._abandon(flight, TaskEnd.LOST, why, warm)
        if waiting and not warm.ready and not self._closed and warm.has_extra:
            self._zygotes.forget_preload(warm.key)
            for flight in waiting:
                del warm.flights[flight.spec.task_id]
                self._dispatch(flight)
        else:
            said = warm.zygote.read_log_tail()
            for flight in waiting:
                why = f"The environment's Python does not start (code {code}): {said}"
                self._abandon(flight, TaskEnd.NOT_STARTED, why, warm)
        if self._closed and not self._zygotes.living:
            self._loop.stop()

    def _on_started(self, flight: Flight, report: Mapping[str, Any]) -> None:
        flight.started_at = self._clock.now() - timedelta(seconds=report["wall_s"])
        flight.identity = ProcessIdentity(report["pid"], report["start_time"], self._boot_id)
        if flight.on_started is not None:
            try:
                flight.on_started(flight.identity)
            except Exception:
                _log.exception("on_started of task %s", flight.spec.task_id)
