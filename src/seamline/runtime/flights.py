"""A task from its start to its outcome, and how an outcome is made from what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from typing import Any

from seamline.runtime.outcomes import (
    TaskEnd,
    TaskError,
    TaskOutcome,
    decide_end,
    read_error,
    read_imported,
    read_log_tail,
)
from seamline.runtime.processes import ProcessIdentity
from seamline.runtime.specs import OnStarted, TaskKind, TaskSpec


class Flight:
    """Touched by the runner's thread only, but for its future."""

    def __init__(self, spec: TaskSpec, on_started: OnStarted | None) -> None:
        self.spec = spec
        self.on_started = on_started
        self.future: Future[TaskOutcome] = Future()
        #: Whether its zygote was told of it.
        self.sent = False
        self.kill_asked = False
        #: The processors that it stays on; none: all.
        self.cpus: tuple[int, ...] = ()
        self.identity: ProcessIdentity | None = None
        self.started_at: datetime | None = None


def outcome_of(flight: Flight, report: Mapping[str, Any], now: datetime) -> TaskOutcome:
    """Of a task whose zygote saw it end."""
    code, number, peak = report["exit_code"], report["signal"], report["peak_rss_bytes"]
    recorded = read_error(flight.spec.work_dir) if code else None
    memory = flight.spec.limits.memory_bytes
    end, error = decide_end(code, number, report["ended_by"], recorded, peak, memory)
    return TaskOutcome(
        task_id=flight.spec.task_id,
        end=end,
        exit_code=code,
        signal=number,
        started_at=flight.started_at,
        ended_at=now,
        wall_s=report["wall_s"],
        user_s=report["user_s"],
        sys_s=report["sys_s"],
        peak_rss_bytes=peak,
        error=error and replace(error, log_tail=read_log_tail(flight.spec.log_path)),
        imported=_read_imported(flight.spec) if code is not None else (),
        log_full=report["log_full"],
        process=flight.identity,
    )


def _read_imported(spec: TaskSpec) -> tuple[str, ...]:
    """A command imports nothing, whatever it wrote."""
    return () if spec.kind is TaskKind.COMMAND else read_imported(spec.work_dir)


def outcome_unseen(flight: Flight, end: TaskEnd, why: str, now: datetime) -> TaskOutcome:
    """Of a task that nobody saw end."""
    wall_s = 0.0 if flight.started_at is None else (now - flight.started_at).total_seconds()
    tail = read_log_tail(flight.spec.log_path) if flight.identity is not None else ""
    error = TaskError(end.name.title().replace("_", ""), why, log_tail=tail)
    return TaskOutcome(
        flight.spec.task_id, end, None, None, flight.started_at, now, wall_s, error=error,
        process=flight.identity,
    )  # fmt: skip
