"""The zygote at work: one selector loop over requests, children's output and ends, and deadlines.

Standard library only.
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
from typing import Any

from .task_kernel import kill_group, list_children, reap
from .task_limits import LimitWatch
from .task_main import TaskProcess
from .zygote_children import Child, Children, Running

_CHUNK_BYTES = 65536
#: Most tasks are over sooner; then one report says it all.
_TOLD_AFTER_S = 0.005


class ZygoteServer:
    def __init__(
        self,
        control: socket.socket,
        process: TaskProcess,
        config: dict[str, Any],
        prctl: Callable[[int, int], object],
    ) -> None:
        self.control = control
        #: An idle worker ends after so long.
        self.idle_s: float = config["idle_s"]
        self.pending = b""
        #: Tasks for workers that are all busy.
        self.waiting: deque[tuple[dict[str, Any], bytes]] = deque()
        self.limits = LimitWatch()
        self.selector = selectors.DefaultSelector()
        self.children = Children(
            self.selector, process, config, prctl, self._on_worker, self._let_go
        )
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
            ready = self.selector.select(0) if not self.children.has_spare else []
            if not ready:
                # Only now that nobody waits for us: a fork takes a while.
                self.children.prepare_spares()
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

    def _let_go(self) -> None:
        self.control.close()
        os.close(self.wake_read)
        os.close(self.wake_write)

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
            if request["reuse"]:
                child = self.children.find_worker(request["share"])
            else:
                child = self.children.take()
            if child is None:
                self.waiting.append((request, line))
            else:
                self._give(child, request, line)
        except OSError as error:
            self.report("refused", task_id=request["task_id"], message=str(error))

    def _kill(self, task_id: str) -> None:
        for child in self.children:
            if child.running is not None and child.running.id == task_id:
                child.running.ended_by = child.running.ended_by or "asked"
                child.kill()
                return
        for one in self.waiting:
            if one[0]["task_id"] == task_id:
                self.waiting.remove(one)
                self.report("refused", task_id=task_id, message="Killed before it started.")
                return

    # -- a task ----------------------------------------------------------------------------

    def _give(self, child: Child, request: dict[str, Any], line: bytes) -> None:
        try:
            if not os.path.isdir(request["work_dir"]):  # noqa: PTH112
                os.makedirs(request["work_dir"])  # noqa: PTH103
            child.log.open(request["log_path"], request["log_limit_bytes"])
            child.running = Running(request, line)
            self.limits.begin(child.pid, request)
        except OSError:
            self.children.put_back(child)
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
            self.children.silence(child)
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
        self.children.dismiss(child)
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
        for child in self.children:
            end = reap(child.pid)
            if end is not None:
                self._bury(child, *end)
        self._end_orphans()
        self._serve_waiting()

    def _bury(self, child: Child, status: int, usage: resource.struct_rusage) -> None:
        self.children.forget(child)
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
        self.children.bury(child)

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
        due = [when for child in self.children for when in self._moments_of(child)]
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
        for child in self.children:
            running = child.running
            if running is None:
                if child.share is not None and child.idle_since + self.idle_s <= now:
                    self.children.dismiss(child)
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
        for child in self.children:
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
