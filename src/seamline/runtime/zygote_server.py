"""The zygote at work: one selector loop over requests, children's output and ends, and deadlines.

Standard library only. A child is forked ahead of its task, so that a task finds one that has done
everything but the task itself; a child becomes a worker, which serves again, when its task asks
for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from .task_child import begin_life, wait_and_run
from .task_kernel import kill_group, list_children, list_family, read_start_time, reap
from .task_limits import LimitWatch
from .task_log import TaskLog
from .task_main import TaskProcess

_CHUNK_BYTES = 65536
#: After forks the zygote has to copy each page that it writes to: once for all of them.
_SPARES = 2
#: Most tasks are over sooner; then one report says it all.
_TOLD_AFTER_S = 0.005


class Running:
    """A task in a child."""

    def __init__(self, request: dict[str, Any], line: bytes) -> None:
        self.id: str = request["task_id"]
        #: As it came.
        self.request, self.line = request, line
        self.started = time.monotonic()
        self.is_told = False
        timeout_s = request.get("timeout_s")
        self.deadline = None if timeout_s is None else self.started + timeout_s
        #: Why we killed it: "" | "timeout" | "asked" | "memory".
        self.ended_by = ""


class Child:
    """A process of ours: a spare one, one with a task, or a worker between two."""

    def __init__(self, control: socket.socket, pipe_fd: int) -> None:
        self.pid = 0
        self.start_time = 0
        self.control = control
        self.log = TaskLog(pipe_fd)
        self.running: Running | None = None
        #: Whose tasks it serves, when it serves again.
        self.share: str | None = None
        self.unread = b""
        self.idle_since = 0.0
        self.spent_s = (0.0, 0.0)

    def kill(self) -> None:
        family = list_family(self.pid)[1:]
        kill_group(self.pid)  # First: it must not see its children die, and end well after all.
        for pid in family:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


class ZygoteServer:
    def __init__(
        self,
        control: socket.socket,
        process: TaskProcess,
        config: dict[str, Any],
        prctl: Callable[[int, int], object],
    ) -> None:
        self.control = control
        self.process = process
        self.kind: str = config["kind"]
        self.most_workers: int = config["workers"]
        #: An idle worker ends after so long.
        self.idle_s: float = config["idle_s"]
        self.prctl = prctl
        self.pid = os.getpid()
        self.pending = b""
        self.children: dict[int, Child] = {}
        #: Forked ahead of their tasks.
        self.spares: list[Child] = []
        #: Tasks for workers that are all busy.
        self.waiting: deque[tuple[dict[str, Any], bytes]] = deque()
        self.limits = LimitWatch()
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
            ready = self.selector.select(0) if not self.spares else []
            if not ready:
                # Only now that nobody waits for us: a fork takes a while.
                self._prepare_spares()
                ready = self.selector.select(self._patience_s())
            for key, _ in ready:
                key.data()
            self._do_what_is_due()
        self._end_everything()

    def report(self, event: str, **values: Any) -> None:
        line = json.dumps({"event": event, **values}) + "\n"
        try:
            self.control.sendall(line.encode())
        except OSError:
            self.stopping = True

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    # -- requests --------------------------------------------------------------------------

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
                self._start(request, line)
            else:
                self._kill(request["task_id"])

    def _start(self, request: dict[str, Any], line: bytes) -> None:
        try:
            child = self._find_worker(request["share"]) if request["reuse"] else self._take_child()
            if child is None:
                self.waiting.append((request, line))
                return
            self._give(child, request, line)
        except OSError as error:
            self.report("refused", task_id=request["task_id"], message=str(error))

    def _kill(self, task_id: str) -> None:
        for child in self.children.values():
            if child.running is not None and child.running.id == task_id:
                child.running.ended_by = child.running.ended_by or "asked"
                child.kill()
                return
        for one in self.waiting:
            if one[0]["task_id"] == task_id:
                self.waiting.remove(one)
                self.report("refused", task_id=task_id, message="Killed before it started.")
                return

    # -- children --------------------------------------------------------------------------

    def _prepare_spares(self) -> None:
        if self.spares:
            return
        with contextlib.suppress(OSError):  # No room for one now: its task will say so.
            for _ in range(_SPARES):
                self.spares.append(self._fork())

    def _take_child(self) -> Child:
        return self.spares.pop() if self.spares else self._fork()

    def _find_worker(self, share: str) -> Child | None:
        """One that is free, or a new one in its place; None when all are busy."""
        workers = [child for child in self.children.values() if child.share is not None]
        idle = [child for child in workers if child.running is None]
        for child in idle:
            if child.share == share:
                return child
        if len(workers) >= self.most_workers:
            if not idle:
                return None
            self._dismiss(min(idle, key=lambda child: child.idle_since))
        child = self._take_child()
        child.share = share
        self.selector.register(child.control, selectors.EVENT_READ, lambda: self._on_worker(child))
        return child

    def _dismiss(self, child: Child) -> None:
        """An idle worker: with nothing to hear any more it ends."""
        child.share = None
        self._unregister(child.control)
        child.control.close()

    def _fork(self) -> Child:
        ours, theirs = socket.socketpair()
        pipe_fd, output_fd = os.pipe()
        child = Child(ours, pipe_fd)
        try:
            child.pid = os.fork()
        except OSError:
            for end in (ours, theirs):
                end.close()
            for fd in (pipe_fd, output_fd):
                os.close(fd)
            raise
        if child.pid == 0:
            self._become_child(child, theirs, output_fd)
        theirs.close()
        os.close(output_fd)
        os.set_blocking(pipe_fd, False)
        child.start_time = read_start_time(child.pid)
        self.children[child.pid] = child
        self.selector.register(pipe_fd, selectors.EVENT_READ, lambda: self._on_output(child))
        return child

    def _become_child(self, child: Child, control: socket.socket, output_fd: int) -> NoReturn:
        """Let go of all that is the zygote's, and never come back."""
        try:
            signal.set_wakeup_fd(-1)
            for other in (child, *self.children.values()):
                other.control.close()
                other.log.close_all()
            self.control.close()
            self.selector.close()
            os.close(self.wake_read)
            os.close(self.wake_write)
            begin_life(self.pid, output_fd, self.prctl)
            with contextlib.suppress(Exception):  # The task itself will say what is wrong.
                self.process.rehearse(self.kind)
            wait_and_run(control, output_fd, self.process)
        finally:
            os._exit(1)

    # -- a task ----------------------------------------------------------------------------

    def _give(self, child: Child, request: dict[str, Any], line: bytes) -> None:
        try:
            if not os.path.isdir(request["work_dir"]):  # noqa: PTH112
                os.makedirs(request["work_dir"])  # noqa: PTH103
            child.log.open(request["log_path"], request["log_limit_bytes"])
            child.running = Running(request, line)
            self.limits.begin(child.pid, request)
        except OSError:
            child.running = None
            child.idle_since = time.monotonic()
            if child.share is None:
                self.spares.append(child)
            raise
        with contextlib.suppress(OSError):  # It has died: the signal that says so is on its way.
            child.control.sendall(line + b"\n")
        if child.share is None:
            child.control.close()

    def _report_start(self, child: Child, running: Running) -> None:
        running.is_told = True
        self.report(
            "started",
            task_id=running.id,
            pid=child.pid,
            start_time=child.start_time,
            wall_s=time.monotonic() - running.started,
        )

    def _on_output(self, child: Child) -> None:
        if child.pid in self.children and child.log.pump() == "closed":
            self._unregister(child.log.pipe_fd)

    def _on_worker(self, child: Child) -> None:
        if child.pid in self.children:
            self._hear(child)

    def _hear(self, child: Child) -> None:
        """What a worker says of its task's end, if it says something."""
        try:
            chunk = child.control.recv(_CHUNK_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._unregister(child.control)
            return
        *lines, child.unread = (child.unread + chunk).split(b"\n")
        try:
            for line in lines:
                self._take_word(child, json.loads(line))
        except (ValueError, TypeError, KeyError):
            child.kill()  # A task has written where it had no business.
        self._serve_waiting()

    def _take_word(self, child: Child, said: dict[str, Any]) -> None:
        if "retire" in said:
            self._retire(child)
            return
        spent_s = (child.spent_s[0] + said["user_s"], child.spent_s[1] + said["sys_s"])
        child.spent_s, child.idle_since = spent_s, time.monotonic()
        self._report_end(child, **said)

    def _retire(self, child: Child) -> None:
        """A worker that ends itself; what it was given in the meantime it has not touched."""
        running, child.running = child.running, None
        self._dismiss(child)
        if running is not None:
            self.limits.end(child.pid)
            child.log.finish()
            self.waiting.appendleft((running.request, running.line))

    def _serve_waiting(self) -> None:
        for _ in range(len(self.waiting)):
            self._start(*self.waiting.popleft())

    def _report_end(
        self,
        child: Child,
        *,
        exit_code: int | None,
        signal: int | None = None,
        user_s: float,
        sys_s: float,
        peak_rss_bytes: int,
    ) -> None:
        running, child.running = child.running, None
        if running is None:
            return
        memory = self.limits.end(child.pid)
        log_full = child.log.finish()
        self.report(
            "ended",
            task_id=running.id,
            pid=child.pid,
            start_time=child.start_time,
            exit_code=exit_code,
            signal=signal,
            ended_by="memory" if memory else running.ended_by,
            peak_rss_bytes=max(peak_rss_bytes, memory),
            user_s=user_s,
            sys_s=sys_s,
            wall_s=time.monotonic() - running.started,
            log_full=log_full,
        )

    # -- ends ------------------------------------------------------------------------------

    def _on_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_read, 4096)
        for child in list(self.children.values()):
            end = reap(child.pid)
            if end is not None:
                self._bury(child, *end)
        self._end_orphans()
        self._serve_waiting()

    def _bury(self, child: Child, status: int, usage: resource.struct_rusage) -> None:
        del self.children[child.pid]
        if child.share is not None:
            self._hear(child)
        was_killed = os.WIFSIGNALED(status)
        unit = 1 if sys.platform == "darwin" else 1024
        self._report_end(
            child,
            exit_code=None if was_killed else os.WEXITSTATUS(status),
            signal=os.WTERMSIG(status) if was_killed else None,
            user_s=max(0.0, usage.ru_utime - child.spent_s[0]),
            sys_s=max(0.0, usage.ru_stime - child.spent_s[1]),
            peak_rss_bytes=usage.ru_maxrss * unit,
        )
        if child in self.spares:
            self.spares.remove(child)
        self._unregister(child.control)
        self._unregister(child.log.pipe_fd)
        child.control.close()
        child.log.close_all()

    def _unregister(self, file: socket.socket | int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(file)

    def _end_orphans(self) -> None:
        """What ended tasks left behind in sessions of their own.

        Each child adopts its orphans while it lives, and the zygote adopts them after (both are
        subreapers): a child that is neither one of ours nor older is such a one.
        """
        for pid in list_children():
            if pid not in self.children and pid not in self.own_children:
                kill_group(pid)
                os.waitpid(pid, os.WNOHANG)

    def _patience_s(self) -> float | None:
        due = [when for child in self.children.values() for when in self._moments_of(child)]
        if self.limits.next_look is not None:
            due.append(self.limits.next_look)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _moments_of(self, child: Child) -> Iterator[float]:
        """When there will be something to do for it, if nothing happens before."""
        running = child.running
        if running is None:
            if child.share is not None:
                yield child.idle_since + self.idle_s
            return
        if not running.is_told:
            yield running.started + _TOLD_AFTER_S
        if running.deadline is not None:
            yield running.deadline

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        too_big = self.limits.look(now)
        for child in list(self.children.values()):
            running = child.running
            if running is None:
                if child.share is not None and child.idle_since + self.idle_s <= now:
                    self._dismiss(child)
                continue
            if not running.is_told and running.started + _TOLD_AFTER_S <= now:
                self._report_start(child, running)
            if child.pid in too_big:
                child.kill()
            elif running.deadline is not None and running.deadline <= now:
                running.deadline = None
                running.ended_by = running.ended_by or "timeout"
                child.kill()

    def _end_everything(self) -> None:
        until = time.monotonic() + 5.0
        for child in list(self.children.values()):
            child.kill()
        while time.monotonic() < until:
            for pid in list_children():
                kill_group(pid)
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.002)
            except ChildProcessError:
                break
        self.limits.close()
