"""The life of a process that a zygote forked: it waits for its task, and then either runs that one
and ends, or serves one task after another.

Standard library only. On its control socket comes one request a line. A process that serves again
answers each with a line that says how the task ended; with a last line (`retire`) it ends itself,
and a request that it has not answered by then it has not touched.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import gc
import io
import json
import os
import resource
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from .process_state import ProcessState
from .task_kernel import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    end_children,
    read_resident_bytes,
)
from .task_main import TaskProcess, finish_process, list_lasting_threads

_CHUNK_BYTES = 65536
#: A worker that has done so much, or grown so much, makes room for a fresh one.
_MOST_TASKS = 1000
_GROWTH_FACTOR, _GROWTH_BYTES = 2, 256 << 20
_MOST_FILES = 64


def begin_life(zygote_pid: int, output_fd: int, prctl: Callable[[int, int], object]) -> None:
    """A session of its own, the default signals, output to the pipe."""
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != zygote_pid:
        os._exit(1)  # The zygote died before the kernel knew that we go with it.
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    open_streams(output_fd)


def open_streams(output_fd: int) -> None:
    """New ones: the old were made for a file, which can seek, and a pipe cannot."""
    for stream_fd in (1, 2):
        os.dup2(output_fd, stream_fd)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(fd, "w", closefd=False)),
            "utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        for fd in (1, 2)
    )


def flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def wait_and_run(control: socket.socket, output_fd: int, process: TaskProcess) -> NoReturn:
    requests = Requests(control)
    request = requests.next()
    if request is None:
        os._exit(0)
    if request["reuse"]:
        Worker(control, output_fd, process).serve(request, requests)
    control.close()
    os.close(output_fd)
    code = process.perform(request, finish_process)
    flush_streams()
    os._exit(code)


class Requests:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._unread = b""

    def next(self) -> dict[str, Any] | None:
        """None when there will be no more."""
        while b"\n" not in self._unread:
            try:
                chunk = self._control.recv(_CHUNK_BYTES)
            except OSError:
                return None
            if not chunk:
                return None
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        request: dict[str, Any] = json.loads(line)
        return request


class Worker:
    """Serves tasks until one leaves something behind that cannot be put back."""

    def __init__(self, control: socket.socket, output_fd: int, process: TaskProcess) -> None:
        self._control = control
        self._output_fd = output_fd
        self._process = process
        self._pid = os.getpid()
        self._null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._peak_fd = _open_peak_reset()
        os.chdir("/")
        # From here on what is new is few: to collect it after each task takes microseconds.
        gc.collect()
        gc.freeze()
        weakref.finalize(self, int).detach()  # Its first use is a call at exit: no task's.
        self._state = ProcessState()
        self._exit_calls = _count_exit_calls()
        self._files = _count_files()
        self._threads = threading.active_count()
        self._first_bytes = read_resident_bytes(self._pid)
        self._done = 0
        self._must_retire = False

    def serve(self, request: dict[str, Any] | None, requests: Requests) -> NoReturn:
        while request is not None:
            report, has_imported = self._run(request)
            try:
                self._say(report)
            except BaseException:  # A task has closed what it did not open.
                os._exit(report["exit_code"])
            # After the report: whoever waits for the task does not wait for this.
            try:
                self._clean(request, has_imported)
            except BaseException:  # What it takes to go on is gone.
                self._must_retire = True
            if self._must_retire:
                self._say({"retire": True})
                break
            request = requests.next()
        os._exit(0)

    def _say(self, message: dict[str, Any]) -> None:
        self._control.sendall(json.dumps(message).encode() + b"\n")

    def _run(self, request: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The report; whether the task imported something new."""
        before, modules = _read_usage(), len(sys.modules)
        if self._peak_fd is not None:
            os.write(self._peak_fd, b"5")  # The peak is counted from here.
        context = contextvars.copy_context()
        code = context.run(self._process.perform, request, self._finish)
        flush_streams()
        if os.getpid() != self._pid:
            os._exit(code)  # A fork that the task made has come back from it.
        after, peak = _read_usage(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report = {
            "exit_code": code,
            "user_s": after[0] - before[0],
            "sys_s": after[1] - before[1],
            "peak_rss_bytes": peak * (1 if sys.platform == "darwin" else 1024),
        }
        return report, len(sys.modules) != modules

    def _finish(self) -> None:
        """As `finish_process`, as far as there is something to finish."""
        if list_lasting_threads() or _count_exit_calls() > self._exit_calls:
            finish_process()
            self._must_retire = True
        if end_children() or threading.active_count() > self._threads:
            self._must_retire = True

    def _clean(self, request: dict[str, Any], has_imported: bool) -> None:
        self._done += 1
        if not self._state.restore(request["source"], request["work_dir"]):
            self._must_retire = True
        self._restore_streams()
        gc.collect()
        if has_imported:
            gc.freeze()
        grown = self._first_bytes * _GROWTH_FACTOR + _GROWTH_BYTES
        if (
            self._done >= _MOST_TASKS
            or request.get("cpu_s") is not None  # Its hard limit cannot be lifted.
            or read_resident_bytes(self._pid) > grown
            or _count_files() > self._files + _MOST_FILES
        ):
            self._must_retire = True

    def _restore_streams(self) -> None:
        os.dup2(self._null_fd, 0)
        if sys.stdout.closed or sys.stderr.closed:
            open_streams(self._output_fd)
            self._state = ProcessState()
        else:
            os.dup2(self._output_fd, 1)
            os.dup2(self._output_fd, 2)


def _read_usage() -> tuple[float, float]:
    """Seconds in user and in system mode, ended children included."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime for one in both), sum(one.ru_stime for one in both)


def _count_exit_calls() -> int:
    count: int = atexit._ncallbacks()
    return count


def _count_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    except OSError:
        return 0


def _open_peak_reset() -> int | None:
    try:
        return os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return None
