"""Running tasks: each in a process of its own, forked from a warm zygote of its environment.

`TaskRunner` keeps one zygote per (environment, kind of task), started at first use. All its work
happens on one thread of its own, which lives as long as the runner: zygotes are started there
(see zygote.py), and `on_started` and the callbacks of futures are called there, so they must
return quickly and not wait for another task.

A task that had to import something tells (`modules.json`); a successor of the zygote that has it
imported is then warmed in the background and takes over for the tasks that follow.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Self

from seamline.domain.clock import Clock
from seamline.domain.digests import short
from seamline.domain.errors import Conflict, Unavailable
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.outcomes import (
    TaskEnd,
    TaskError,
    TaskOutcome,
    decide_end,
    read_error,
    read_imported,
)
from seamline.runtime.processes import ProcessIdentity, boot_id, end_process_group
from seamline.runtime.zygote import Zygote

__all__ = [
    "Limits",
    "TaskEnd",
    "TaskError",
    "TaskKind",
    "TaskOutcome",
    "TaskRunner",
    "TaskSpec",
    "zygote_key",
]

_log = logging.getLogger(__name__)
_MOST_GENERATIONS = 8
_IDLE_CHECK_S = 30.0
_CLOSE_S = 10.0


class TaskKind(StrEnum):
    #: A lightweight KFP component: `function` of `source`, executor input from `input_path`.
    KFP = "kfp"
    #: `function(payload: dict) -> dict` of `source`, from `input_path` to `output_path`.
    SCRIPT = "script"


@dataclass(frozen=True)
class Limits:
    #: Private writable memory of each process of the task.
    memory_bytes: int | None = None
    cpu_s: float | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class TaskSpec:
    task_id: str
    kind: TaskKind
    #: Name a KFP source `ephemeral_component.py` so that its worker processes can import it.
    source: Path
    input_path: Path
    #: The task's own folder and working directory; error.json and modules.json appear in it.
    work_dir: Path
    log_path: Path
    environment: PythonEnvironment
    #: For SCRIPT; a KFP task writes where its executor input says.
    output_path: Path | None = None
    function: str = "main"
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    #: When given, the task refuses a source with other bytes (law 2).
    source_digest: str | None = None


OnStarted = Callable[[ProcessIdentity], None]


def zygote_key(environment: PythonEnvironment, kind: TaskKind) -> str:
    """Which zygote serves a task: sets that the host satisfies share one."""
    return f"{kind}:{'host' if environment.is_host else environment.digest}"


class _Flight:
    """A task from `start` to its outcome."""

    def __init__(self, spec: TaskSpec, on_started: OnStarted | None) -> None:
        self.spec = spec
        self.on_started = on_started
        self.future: Future[TaskOutcome] = Future()
        self.sent = False
        self.kill_asked = False
        self.identity: ProcessIdentity | None = None
        self.started_at: datetime | None = None


class _Warm:
    """A zygote and the tasks that are with it."""

    def __init__(self, key: str, kind: TaskKind, python: Path, since: datetime) -> None:
        self.key = key
        self.kind = kind
        self.python = python
        self.zygote: Zygote
        self.tried: tuple[str, ...] = ()
        self.ready = False
        self.retired = False
        self.flights: dict[str, _Flight] = {}
        self.idle_since = since


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
    ) -> None:
        """`preload`: zygote key → modules; `environ` is what zygotes inherit (default: ours)."""
        self._clock = clock
        self._run_dir = run_dir
        self._idle_s = idle_s
        self._log_limit_bytes = log_limit_bytes
        self._environ = dict(os.environ if environ is None else environ)
        self._boot_id = boot_id()
        self._lock = Lock()
        self._closed = False
        self._flights: dict[str, _Flight] = {}
        self._preload = {key: tuple(names) for key, names in (preload or {}).items()}
        # Below: touched by the loop's thread only.
        self._current: dict[str, _Warm] = {}
        self._successors: dict[str, _Warm] = {}
        self._living: set[_Warm] = set()
        self._left_out: dict[str, tuple[str, ...]] = {}
        self._generations: dict[str, int] = {}
        self._serial = 0
        self._loop = asyncio.new_event_loop()
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
        flight = _Flight(spec, on_started)
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
        self._post(self._end_idle)

    @property
    def preload(self) -> dict[str, tuple[str, ...]]:
        """Zygote key → modules, with what tasks taught: keep it for the next runner."""
        with self._lock:
            return dict(self._preload)

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

    # -- zygotes ---------------------------------------------------------------------------

    def _launch(self, warm: _Warm, preload: Iterable[str]) -> None:
        """Raises OSError when the environment's interpreter does not start."""
        self._serial += 1
        label = "host" if warm.key.endswith(":host") else short(warm.key.partition(":")[2])
        name = f"zygote-{warm.kind}-{label}-{self._serial}.log"
        # One's own are tried first: without them no task of this kind can run.
        own = ("kfp.dsl.executor",) if warm.kind is TaskKind.KFP else ()
        warm.tried = tuple(dict.fromkeys((*own, *preload)))
        warm.zygote = Zygote(
            warm.python,
            warm.kind,
            warm.tried,
            self._left_out.get(warm.key, ()),
            self._run_dir / name,
            self._environ,
        )
        self._living.add(warm)
        self._loop.add_reader(warm.zygote.socket, self._on_readable, warm)

    def _send(self, warm: _Warm, message: Mapping[str, Any]) -> None:
        warm.zygote.send(message)
        if warm.zygote.has_unsent:
            self._loop.add_writer(warm.zygote.socket, self._on_writable, warm)

    def _on_writable(self, warm: _Warm) -> None:
        warm.zygote.flush()
        if not warm.zygote.has_unsent:
            self._loop.remove_writer(warm.zygote.socket)

    def _on_readable(self, warm: _Warm) -> None:
        reports = warm.zygote.receive()
        if reports is None:
            self._on_gone(warm)
            return
        for report in reports:
            if report["event"] == "ready":
                self._on_ready(warm, report)
                continue
            flight = warm.flights.get(report["task_id"])
            if flight is None:
                continue
            if report["event"] == "started":
                self._on_started(flight, report)
            elif report["event"] == "refused":
                self._abandon(warm, flight, TaskEnd.NOT_STARTED, report["message"])
            else:
                self._on_ended(warm, flight, report)

    def _on_ready(self, warm: _Warm, report: Mapping[str, Any]) -> None:
        self._left_out[warm.key] = tuple(report["left_out"])
        warm.ready = True
        if self._successors.get(warm.key) is warm:
            del self._successors[warm.key]
            before = self._current.get(warm.key)
            self._current[warm.key] = warm
            warm.idle_since = self._clock.now()
            if before is not None:
                self._retire(before)
            self._warm_successor(warm.key)  # for what was learned while it warmed up
        for flight in warm.flights.values():
            self._send_flight(warm, flight)

    def _retire(self, warm: _Warm) -> None:
        """No new tasks; it ends when those that it has are done."""
        warm.retired = True
        if self._current.get(warm.key) is warm:
            del self._current[warm.key]
        if not warm.flights:
            warm.zygote.end()

    def _on_gone(self, warm: _Warm) -> None:
        self._loop.remove_reader(warm.zygote.socket)
        self._loop.remove_writer(warm.zygote.socket)
        code = warm.zygote.close()
        self._living.discard(warm)
        for known in (self._current, self._successors):
            if known.get(warm.key) is warm:
                del known[warm.key]
        waiting = [flight for flight in warm.flights.values() if not flight.sent]
        for flight in [flight for flight in warm.flights.values() if flight.sent]:
            if flight.identity is not None:
                end_process_group(flight.identity, 0)
            why = f"The process that started task {flight.spec.task_id} ended (code {code})."
            self._abandon(warm, flight, TaskEnd.LOST, why)
        if waiting and not warm.ready and not self._closed and len(warm.tried) > 1:
            self._replace_without_preload(warm, waiting)
        else:
            said = warm.zygote.read_log_tail()
            for flight in waiting:
                why = f"The environment's Python does not start (code {code}): {said}"
                self._abandon(warm, flight, TaskEnd.NOT_STARTED, why)
        if self._closed and not self._living:
            self._loop.stop()

    def _replace_without_preload(self, dead: _Warm, waiting: Sequence[_Flight]) -> None:
        """A module crashed the interpreter at import: go on without any."""
        with self._lock:
            self._preload.pop(dead.key, None)
        self._generations[dead.key] = _MOST_GENERATIONS
        for flight in waiting:
            del dead.flights[flight.spec.task_id]
            self._dispatch(flight)

    def _learn(self, key: str, imported: Iterable[str]) -> None:
        """What a task had to import, the zygotes of its key have from now on."""
        if not imported or self._closed:
            return
        with self._lock:
            known = self._preload.get(key, ())
            self._preload[key] = tuple(dict.fromkeys((*known, *imported)))
        self._warm_successor(key)

    def _warm_successor(self, key: str) -> None:
        """Starts one when the present zygote lacks something that tasks import."""
        current = self._current.get(key)
        generation = self._generations.get(key, 0)
        if current is None or key in self._successors or generation >= _MOST_GENERATIONS:
            return
        preload = self._preload.get(key, ())
        # What was left out (it starts a thread at import) is imported by each task, as before.
        left_out = {name.partition(".")[0] for name in self._left_out.get(key, ())}
        lacking = [name for name in preload if name.partition(".")[0] not in left_out]
        if self._closed or set(lacking) <= set(current.tried):
            return
        self._generations[key] = generation + 1
        successor = _Warm(key, current.kind, current.python, self._clock.now())
        try:
            self._launch(successor, preload)
        except OSError:
            _log.exception("No successor for zygote %s", key)
            return
        self._successors[key] = successor

    def _first_preload(self, key: str) -> tuple[str, ...]:
        """What its tasks import, or else what tasks of the other kind do: the libraries are one."""
        if self._generations.get(key, 0) >= _MOST_GENERATIONS:
            return self._preload.get(key, ())  # none, after one that crashed
        other = {str(kind) for kind in TaskKind} - {key.partition(":")[0]}
        of_other = [self._preload.get(f"{kind}:{key.partition(':')[2]}", ()) for kind in other]
        return self._preload.get(key) or next((names for names in of_other if names), ())

    def _end_idle(self) -> None:
        now = self._clock.now()
        for warm in list(self._current.values()):
            if not warm.flights and (now - warm.idle_since).total_seconds() >= self._idle_s:
                self._retire(warm)

    def _check_idle(self) -> None:
        self._end_idle()
        self._loop.call_later(_IDLE_CHECK_S, self._check_idle)

    def _begin_close(self) -> None:
        if not self._living:
            self._loop.stop()
        for warm in self._living:
            warm.retired = True
            if warm.ready:
                warm.zygote.end()
            else:
                warm.zygote.kill()  # Still importing: it has no tasks and hears nothing.
        self._loop.call_later(_CLOSE_S, self._force_close)

    def _force_close(self) -> None:
        for warm in list(self._living):
            self._on_gone(warm)

    # -- tasks -----------------------------------------------------------------------------

    def _dispatch(self, flight: _Flight) -> None:
        spec = flight.spec
        key = zygote_key(spec.environment, spec.kind)
        warm = self._current.get(key)
        if warm is None:
            warm = _Warm(key, spec.kind, spec.environment.python, self._clock.now())
            try:
                self._launch(warm, self._first_preload(key))
            except OSError as error:
                why = f"{spec.environment.python} does not start: {error}."
                self._abandon(warm, flight, TaskEnd.NOT_STARTED, why)
                return
            self._current[key] = warm
        warm.flights[spec.task_id] = flight
        if warm.ready:
            self._send_flight(warm, flight)

    def _send_flight(self, warm: _Warm, flight: _Flight) -> None:
        spec = flight.spec
        flight.sent = True
        self._send(
            warm,
            {
                "op": "start",
                "task_id": spec.task_id,
                "kind": spec.kind,
                "source": str(spec.source.absolute()),
                "source_digest": spec.source_digest,
                "function": spec.function,
                "input_path": str(spec.input_path.absolute()),
                "output_path": spec.output_path and str(spec.output_path.absolute()),
                "work_dir": str(spec.work_dir.absolute()),
                "log_path": str(spec.log_path.absolute()),
                "log_limit_bytes": self._log_limit_bytes,
                "env": dict(spec.env),
                "memory_bytes": spec.limits.memory_bytes,
                "cpu_s": spec.limits.cpu_s,
                "timeout_s": spec.limits.timeout_s,
            },
        )

    def _kill(self, task_id: str) -> None:
        for warm in self._living:
            flight = warm.flights.get(task_id)
            if flight is None:
                continue
            flight.kill_asked = True
            if flight.sent:
                self._send(warm, {"op": "kill", "task_id": task_id})
            else:
                self._abandon(warm, flight, TaskEnd.CANCELED, "Killed before it started.")
            return

    def _on_started(self, flight: _Flight, report: Mapping[str, Any]) -> None:
        flight.started_at = self._clock.now()
        flight.identity = ProcessIdentity(report["pid"], report["start_time"], self._boot_id)
        if flight.on_started is not None:
            try:
                flight.on_started(flight.identity)
            except Exception:
                _log.exception("on_started of task %s", flight.spec.task_id)

    def _on_ended(self, warm: _Warm, flight: _Flight, report: Mapping[str, Any]) -> None:
        code, number, peak = report["exit_code"], report["signal"], report["peak_rss_bytes"]
        recorded = read_error(flight.spec.work_dir) if code else None
        end, error = decide_end(code, number, report["ended_by"], recorded, peak)
        imported = () if code is None else read_imported(flight.spec.work_dir)
        outcome = TaskOutcome(
            task_id=flight.spec.task_id,
            end=end,
            exit_code=code,
            signal=number,
            started_at=flight.started_at,
            ended_at=self._clock.now(),
            wall_s=report["wall_s"],
            user_s=report["user_s"],
            sys_s=report["sys_s"],
            peak_rss_bytes=peak,
            error=error,
            imported=imported,
            log_full=report["log_full"],
            process=flight.identity,
        )
        self._finish(warm, flight, outcome)
        self._learn(warm.key, imported)

    def _abandon(self, warm: _Warm, flight: _Flight, end: TaskEnd, why: str) -> None:
        """An outcome for a task that nobody saw end."""
        now = self._clock.now()
        if flight.kill_asked or self._closed:
            end = TaskEnd.CANCELED
        wall_s = 0.0 if flight.started_at is None else (now - flight.started_at).total_seconds()
        error = TaskError(end.name.title().replace("_", ""), why)
        outcome = TaskOutcome(
            flight.spec.task_id, end, None, None, flight.started_at, now, wall_s, error=error,
            process=flight.identity,
        )  # fmt: skip
        self._finish(warm, flight, outcome)

    def _finish(self, warm: _Warm, flight: _Flight, outcome: TaskOutcome) -> None:
        warm.flights.pop(outcome.task_id, None)
        warm.idle_since = outcome.ended_at
        with self._lock:
            self._flights.pop(outcome.task_id, None)
        flight.future.set_result(outcome)
        if warm.retired and not warm.flights and warm in self._living:
            warm.zygote.end()
