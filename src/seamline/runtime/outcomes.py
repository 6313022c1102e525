"""How a task ended, and the rule that reads it off what the kernel and the task left behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from seamline.runtime.processes import ProcessIdentity

_RECORD_LIMIT_BYTES = 1 << 20
_TAIL_LINES, _TAIL_BYTES = 20, 4096


class TaskEnd(StrEnum):
    SUCCEEDED = "succeeded"
    #: It raised, or exited with a code other than 0.
    FAILED = "failed"
    #: A signal ended it: a crash in native code, a limit, the kernel out of memory.
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    #: Killed on request, or with the runner that was closed.
    CANCELED = "canceled"
    #: Its zygote died under it: our fault, it may be started again.
    LOST = "lost"
    #: It never ran: no zygote, no process, no log file.
    NOT_STARTED = "not_started"


@dataclass(frozen=True)
class TaskError:
    type: str
    message: str
    #: The end of the traceback, from the user's code on; empty when there is none.
    traceback: str = ""
    #: The last lines that the task wrote, whatever ended it: at most 20, at most 4 KB.
    log_tail: str = ""


@dataclass(frozen=True)
class TaskOutcome:
    task_id: str
    end: TaskEnd
    exit_code: int | None
    signal: int | None
    started_at: datetime | None
    ended_at: datetime
    wall_s: float = 0.0
    user_s: float = 0.0
    sys_s: float = 0.0
    #: Of the task's own process; pages shared with its zygote are counted.
    peak_rss_bytes: int = 0
    error: TaskError | None = None
    #: What it had to import that its zygote did not have.
    imported: tuple[str, ...] = ()
    log_full: bool = False
    #: None when no process was started.
    process: ProcessIdentity | None = None

    @property
    def succeeded(self) -> bool:
        return self.end is TaskEnd.SUCCEEDED

    @property
    def timed_out(self) -> bool:
        return self.end is TaskEnd.TIMED_OUT

    @property
    def is_machinery(self) -> bool:
        """*errored* (ours) rather than *failed* (theirs)."""
        return self.end in (TaskEnd.LOST, TaskEnd.NOT_STARTED)


def decide_end(
    exit_code: int | None,
    signal_number: int | None,
    ended_by: str,
    recorded: TaskError | None = None,
    peak_rss_bytes: int = 0,
    memory_limit_bytes: int | None = None,
) -> tuple[TaskEnd, TaskError | None]:
    """What a task's exit status means; `ended_by` is why the zygote killed it, if it did.

    >>> decide_end(0, None, "")
    (<TaskEnd.SUCCEEDED: 'succeeded'>, None)
    >>> decide_end(0, None, "timeout")[0]  # It was done before the signal came.
    <TaskEnd.SUCCEEDED: 'succeeded'>
    >>> decide_end(None, 9, "timeout")[0]
    <TaskEnd.TIMED_OUT: 'timed_out'>
    >>> decide_end(None, 11, "")[1].message
    'SIGSEGV ended the task: its native code crashed.'
    >>> decide_end(3, None, "")[1].message
    'The task exited with code 3.'
    >>> decide_end(137, None, "")[1].message
    'The task exited with code 137, as a shell does when SIGKILL ends its command.'
    >>> decide_end(None, 9, "memory", peak_rss_bytes=5 << 20, memory_limit_bytes=4 << 20)[1].message
    'The task used more than its memory limit of 4 MiB (it had 5 MiB) and was killed.'
    """
    if exit_code == 0:
        return TaskEnd.SUCCEEDED, None
    if exit_code is not None:
        return TaskEnd.FAILED, _explain_exit(exit_code, recorded, memory_limit_bytes)
    if ended_by == "timeout":
        return TaskEnd.TIMED_OUT, TaskError(
            "Timeout", "The task did not end within its time limit and was killed."
        )
    if ended_by == "asked":
        return TaskEnd.CANCELED, TaskError("Canceled", "The task was killed on request.")
    if ended_by == "memory":
        return TaskEnd.CRASHED, TaskError(
            "MemoryLimit",
            "The task used more than its memory limit of "
            f"{_mib(memory_limit_bytes or 0)} (it had {_mib(peak_rss_bytes)}) and was killed.",
        )
    return TaskEnd.CRASHED, _explain_signal(signal_number or 0, peak_rss_bytes)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.4g} MiB"


def _explain_exit(
    code: int, recorded: TaskError | None, memory_limit_bytes: int | None
) -> TaskError:
    if recorded is not None:
        if recorded.type.endswith("MemoryError") and memory_limit_bytes is not None:
            limit = f"the task's memory limit is {_mib(memory_limit_bytes)}"
            said = (
                f"{recorded.message} ({limit})"
                if recorded.message
                else f"{limit[0].upper()}{limit[1:]}."
            )
            return replace(recorded, message=said)
        return recorded
    name = signal_name(code - 128) if code > 128 else ""
    shell = f", as a shell does when {name} ends its command" if name.startswith("SIG") else ""
    return TaskError("SystemExit", f"The task exited with code {code}{shell}.")


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _explain_signal(number: int, peak_rss_bytes: int) -> TaskError:
    name = signal_name(number)
    if number == signal.SIGKILL:
        why = (
            "killed from outside, most often by the kernel for want of memory"
            f" (its peak was {_mib(peak_rss_bytes)})"
        )
    elif number == signal.SIGXCPU:
        why = "it used up its processor time limit"
    elif number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        why = "its native code crashed"
    else:
        why = "somebody sent it"
    return TaskError(name, f"{name} ended the task: {why}.")


def read_log_tail(path: Path) -> str:
    """The last lines of a log: at most 20, and no more than 4 KB."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL_BYTES))
            text = log.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = text.splitlines()
    if size > _TAIL_BYTES and len(lines) > 1:
        del lines[0]  # Not the whole line.
    return "\n".join(lines[-_TAIL_LINES:])


def read_error(work_dir: Path) -> TaskError | None:
    record = _read_record(work_dir / "error.json")
    if not isinstance(record, Mapping):
        return None
    texts = [str(record.get(name, "")) for name in ("type", "message", "traceback")]
    return TaskError(*texts)


def read_imported(work_dir: Path) -> tuple[str, ...]:
    """Module names that the task wrote down; what is not a module name is dropped."""
    record = _read_record(work_dir / "modules.json")
    if not isinstance(record, list):
        return ()
    return tuple(n for n in record if isinstance(n, str) and n.replace(".", "_").isidentifier())


def _read_record(path: Path) -> Any:
    """JSON that user code could have written: bounded, and never an error of ours."""
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_RECORD_LIMIT_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
