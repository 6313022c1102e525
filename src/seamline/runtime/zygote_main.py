"""A warm fork server: a plain script, standard library only, run by a task environment's Python.

    python -I -X utf8 zygote_main.py CONTROL_FD CONFIG_JSON

It imports what tasks are likely to import, freezes the heap, and then forks one process per task:
a task starts in milliseconds with its libraries already there. It runs no user code itself.

The control channel is a socket with one JSON object per line. Requests: start, kill. Reports:
ready, started, ended, refused. End of file means that the client is gone: every task is killed
with its whole group, and the zygote ends. This works whatever thread started the zygote, which
PR_SET_PDEATHSIG does not: it fires when the parent *thread* ends. PDEATHSIG is set as well (the
client starts zygotes from one thread that lives as long as it does) for a client whose end of the
socket was inherited by somebody else.

Forking is safe in a process with one thread only. A module whose import leaves a thread behind is
left out: the zygote starts itself anew without it.

Elsewhere than Linux there is no prctl and no /proc: the end of file still ends everything, but
what a task detached from its process group is not found.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CHUNK_BYTES = 65536
#: (request, the descriptor to write output to) → exit code; runs in the child.
RunTask = Callable[[dict[str, Any], int], int]
# One thread each: tasks run side by side. jemalloc (in Arrow and Polars) would start one at import.
_ENV = {
    **dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "BLIS_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS",
            "NUMEXPR_NUM_THREADS",
        ),
        "1",
    ),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
}


# -- the kernel --------------------------------------------------------------------------------


def read_start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat: with the pid it names one process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def count_threads() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 1


def list_children() -> list[int]:
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in listed.split()]


def kill_group(pid: int) -> None:
    """The group, and the process itself, which may not have come to lead its group yet."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def reap(pid: int) -> tuple[int, resource.struct_rusage] | None:
    """Status and usage of a child that ended; None while it runs.

    It is looked at before it is reaped: until then the pid still names it, and its group can be
    killed without a chance of meeting a stranger. (macOS has no waitid before Python 3.13.)
    """
    if hasattr(os, "waitid"):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        kill_group(pid)
    ended, status, usage = os.wait4(pid, os.WNOHANG)
    return (status, usage) if ended else None


# -- the server --------------------------------------------------------------------------------


class Task:
    """A running child and its log, which is read from a pipe so that its size has a bound."""

    def __init__(self, request: dict[str, Any], log_fd: int, pipe_fd: int) -> None:
        self.id: str = request["task_id"]
        self.pid = 0
        self.log_fd = log_fd
        self.pipe_fd = pipe_fd
        self.room_bytes: int = request["log_limit_bytes"]
        self.log_full = False
        self.started = time.monotonic()
        timeout_s = request.get("timeout_s")
        self.deadline = None if timeout_s is None else self.started + timeout_s
        #: Why we killed it: "" | "timeout" | "asked".
        self.ended_by = ""

    def pump(self) -> str:
        """Moves one chunk from the pipe to the log: "moved", "empty" for now, or "closed"."""
        try:
            chunk = os.read(self.pipe_fd, _CHUNK_BYTES)
        except BlockingIOError:
            return "empty"
        if self.log_full or not chunk:
            return "moved" if chunk else "closed"
        kept = chunk[: self.room_bytes]
        self.room_bytes -= len(kept)
        if len(kept) < len(chunk):
            self.log_full = True
            kept += b"\n[seamline: the log is full; what follows is not kept, the task goes on]\n"
        try:
            os.write(self.log_fd, kept)
        except OSError:  # A full disk must not take the zygote with it.
            self.log_full = True
        return "moved"


class Zygote:
    """One selector loop: requests, children's output, children's ends, deadlines."""

    def __init__(self, control: socket.socket, run_task: RunTask) -> None:
        self.control = control
        self.run_task = run_task
        self.pending = b""
        self.tasks: dict[int, Task] = {}
        self.selector = selectors.DefaultSelector()
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)
        self.stopping = False
        self.own_children = set(list_children())

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        self.selector.register(self.control, selectors.EVENT_READ, self._on_request)
        self.selector.register(self.wake_read, selectors.EVENT_READ, self._on_signal)
        while not self.stopping:
            for key, _ in self.selector.select(self._next_deadline_s()):
                key.data()
            self._end_overdue()
        self._end_everything()

    def report(self, event: str, **values: Any) -> None:
        line = json.dumps({"event": event, **values}) + "\n"
        try:
            self.control.sendall(line.encode())
        except OSError:
            self.stopping = True

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _on_request(self) -> None:
        try:
            chunk = self.control.recv(_CHUNK_BYTES)
        except OSError:
            chunk = b""
        if not chunk:
            self.stopping = True
            return
        *lines, self.pending = (self.pending + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if request["op"] == "start":
                self._start(request)
            else:
                self._kill(request["task_id"])

    def _start(self, request: dict[str, Any]) -> None:
        fds: list[int] = []
        try:
            Path(request["work_dir"]).mkdir(parents=True, exist_ok=True)
            log = Path(request["log_path"])
            log.parent.mkdir(parents=True, exist_ok=True)
            fds.append(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
            fds.extend(os.pipe())
            request["zygote_pid"] = os.getpid()
            task = Task(request, fds[0], fds[1])
            task.pid = os.fork()
        except OSError as error:
            for fd in fds:
                os.close(fd)
            self.report("refused", task_id=request["task_id"], message=str(error))
            return
        if task.pid == 0:
            self._become_task(request, fds)
        os.close(fds[2])
        os.set_blocking(task.pipe_fd, False)
        self.tasks[task.pid] = task
        self.selector.register(task.pipe_fd, selectors.EVENT_READ, lambda: self._on_output(task))
        start_time = read_start_time(task.pid)
        self.report("started", task_id=task.id, pid=task.pid, start_time=start_time)

    def _become_task(self, request: dict[str, Any], fds: list[int]) -> NoReturn:
        """In the child: let go of all that is the zygote's, and never come back."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for other in self.tasks.values():
                os.close(other.pipe_fd)
                os.close(other.log_fd)
            for fd in (fds[0], fds[1], self.wake_read, self.wake_write):
                os.close(fd)
            self.control.close()
            self.selector.close()
            code = self.run_task(request, fds[2])
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
        finally:
            os._exit(code)

    def _kill(self, task_id: str) -> None:
        for task in self.tasks.values():
            if task.id == task_id:
                task.ended_by = task.ended_by or "asked"
                kill_group(task.pid)

    def _on_output(self, task: Task) -> None:
        if self.tasks.get(task.pid) is not task:
            return  # It ended earlier in this turn; its file numbers may be another's by now.
        if task.pump() == "closed":
            self.selector.unregister(task.pipe_fd)

    def _on_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_read, 4096)
        for task in list(self.tasks.values()):
            end = reap(task.pid)
            if end is not None:
                self._report_end(task, *end)
        self._end_orphans()

    def _report_end(self, task: Task, status: int, usage: resource.struct_rusage) -> None:
        del self.tasks[task.pid]
        if task.pipe_fd in self.selector.get_map():
            self.selector.unregister(task.pipe_fd)
        # A pipe holds 64 KiB; the bound is for a writer that detached itself and goes on.
        for _ in range(64):
            if task.pump() != "moved":
                break
        os.close(task.pipe_fd)
        os.close(task.log_fd)
        signaled = os.WIFSIGNALED(status)
        unit = 1 if sys.platform == "darwin" else 1024
        self.report(
            "ended",
            task_id=task.id,
            exit_code=None if signaled else os.WEXITSTATUS(status),
            signal=os.WTERMSIG(status) if signaled else None,
            ended_by=task.ended_by,
            peak_rss_bytes=usage.ru_maxrss * unit,
            user_s=usage.ru_utime,
            sys_s=usage.ru_stime,
            wall_s=time.monotonic() - task.started,
            log_full=task.log_full,
        )

    def _end_orphans(self) -> None:
        """What ended tasks left behind in sessions of their own.

        Each task adopts its orphans while it lives, and the zygote adopts them after (both are
        subreapers): a child that is neither a task nor older than all tasks is such a one.
        """
        for pid in list_children():
            if pid not in self.tasks and pid not in self.own_children:
                kill_group(pid)
                os.waitpid(pid, os.WNOHANG)

    def _next_deadline_s(self) -> float | None:
        deadlines = [t.deadline for t in self.tasks.values() if t.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for task in self.tasks.values():
            if task.deadline is not None and task.deadline <= now:
                task.deadline = None
                task.ended_by = task.ended_by or "timeout"
                kill_group(task.pid)

    def _end_everything(self) -> None:
        until = time.monotonic() + 5.0
        for pid in list(self.tasks):
            kill_group(pid)
        while time.monotonic() < until:
            for pid in list_children():
                kill_group(pid)
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.002)
            except ChildProcessError:
                return


# -- the start ---------------------------------------------------------------------------------


def preload(names: list[str], left_out: list[str]) -> tuple[list[str], str]:
    """Imports what it can; (what it could not, the first module that started a thread)."""
    failed = []
    for name in names:
        if name in left_out or any(name.startswith(other + ".") for other in left_out):
            continue
        try:
            importlib.import_module(name)
        except BaseException as error:  # Best effort: the task itself will say what is wrong.
            failed.append(f"{name}: {error!r}")
        if count_threads() > 1:
            return failed, name
    return failed, ""


def load_task_main() -> ModuleType:
    """Our other file, by its path: our folder is not on `sys.path`, where its file names would
    stand for packages that users import."""
    path = Path(__file__).with_name("task_main.py")
    spec = importlib.util.spec_from_file_location("seamline_task_main", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(arguments: list[str]) -> None:
    control_fd, config = int(arguments[0]), json.loads(arguments[1])
    task_main = load_task_main()
    task_main.control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(_ENV)
    if config["kind"] == "kfp":
        os.environ["_KFP_RUNTIME"] = "true"
    left_out: list[str] = config["left_out"]
    failed, threaded = preload(config["preload"], left_out)
    if threaded:
        os.set_inheritable(control_fd, True)
        again = json.dumps({**config, "left_out": [*left_out, threaded]})
        script = [sys.executable, "-I", "-X", "utf8", __file__, str(control_fd), again]
        os.execv(sys.executable, script)  # noqa: S606  (the very program that runs)
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    gc.collect()
    gc.freeze()
    zygote = Zygote(control, task_main.run_task)
    zygote.report("ready", pid=os.getpid(), left_out=left_out, failed=failed)
    # From here on tasks may run: on the client's death they must be ended, not just we.
    task_main.control_process(_PR_SET_PDEATHSIG, signal.SIGTERM)
    task_main.control_process(_PR_SET_CHILD_SUBREAPER, 1)
    zygote.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
