"""A task in the calling process, for debugging: breakpoints work, and nothing is between.

The one place where the code of a task runs outside of a process made for it. It is for a person
at a terminal (or in an IDE), and never for a server.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable

from seamline.domain.clock import Clock
from seamline.domain.errors import Refused
from seamline.runtime.flights import Flight, outcome_of
from seamline.runtime.outcomes import TaskOutcome
from seamline.runtime.process_state import ProcessState
from seamline.runtime.processes import current_identity
from seamline.runtime.specs import TaskKind, TaskSpec, write_request
from seamline.runtime.task_main import TaskProcess


def run_in_process(
    spec: TaskSpec, clock: Clock, on_error: Callable[[BaseException], None] | None = None
) -> TaskOutcome:
    """As a task of its own, but for three things: there are no limits, standard input and output
    stay the caller's (so there is no log), and what it starts is not ended.

    Call it from the main thread. `on_error` is for a post-mortem: it gets what the function
    raised, in the task's folder and environment, before these are put back. Raises Refused for a
    command, and for a task whose environment is not the one that this interpreter runs in.
    """
    if spec.kind is TaskKind.COMMAND:
        raise Refused(
            f"Task {spec.task_id} is a command: it cannot run in this process.",
            next_step="Run it as a process of its own.",
        )
    if not spec.environment.is_host:
        raise Refused(
            f"Task {spec.task_id} needs packages that this interpreter does not have: its "
            f"environment is {spec.environment.digest}.",
            next_step="Install the component's requirements here, or run it in its own process.",
        )
    flight = Flight(spec, None)
    flight.started_at, flight.identity = clock.now(), current_identity()
    request = write_request(spec, log_limit_bytes=0, cpus=())
    request |= {"memory_bytes": None, "cpu_s": None}
    spec.work_dir.mkdir(parents=True, exist_ok=True)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    state = ProcessState()
    try:
        if spec.kind is TaskKind.KFP:
            os.environ["_KFP_RUNTIME"] = "true"  # kfp then imports the half that tasks need.
        code = TaskProcess(on_error).perform(request, _leave_running)
    finally:
        state.restore(request["source"], request["work_dir"])
    after = resource.getrusage(resource.RUSAGE_SELF)
    report = {
        "exit_code": code,
        "signal": None,
        "ended_by": "",
        "peak_rss_bytes": after.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "user_s": after.ru_utime - before.ru_utime,
        "sys_s": after.ru_stime - before.ru_stime,
        "wall_s": time.monotonic() - began,
        "log_full": False,
    }
    return outcome_of(flight, report, clock.now())


def _leave_running() -> None:
    """Threads and exit handlers are those of the caller's process too."""
