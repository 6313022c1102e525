"""The processes that a zygote has forked: spares, those with a task, and workers.

Standard library only. A child is forked ahead of its task, so that a task finds one that has done
everything but the task itself; a child becomes a worker, which serves again, when its task asks
for it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from .task_child import begin_life, wait_and_run
from .task_kernel import kill_group, list_family, read_start_time
from .task_log import TaskLog
from .task_main import TaskProcess

#: After forks the zygote has to copy each page that it writes to: once for all of them.
_SPARES = 2


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


class Children:
    """Which there are, and how there come to be more."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        process: TaskProcess,
        config: dict[str, Any],
        prctl: Callable[[int, int], object],
        on_word: Callable[[Child], None],
        let_go: Callable[[], None],
    ) -> None:
        """`on_word` hears a worker; `let_go` closes in a new child what is its zygote's alone."""
        self._selector = selector
        self._process = process
        self._kind: str = config["kind"]
        self._most_workers: int = config["workers"]
        self._prctl = prctl
        self._on_word = on_word
        self._let_go = let_go
        self._zygote_pid = os.getpid()
        self._processors = os.cpu_count() or 1
        self._by_pid: dict[int, Child] = {}
        #: Forked ahead of their tasks.
        self._spares: list[Child] = []

    def __iter__(self) -> Iterator[Child]:
        """As they are now, whatever happens to them in the meantime."""
        return iter(list(self._by_pid.values()))

    def __contains__(self, pid: int) -> bool:
        return pid in self._by_pid

    @property
    def has_spare(self) -> bool:
        return bool(self._spares)

    def prepare_spares(self) -> None:
        if self._spares:
            return
        with contextlib.suppress(OSError):  # No room for one now: its task will say so.
            for _ in range(_SPARES):
                self._spares.append(self._fork())

    def take(self) -> Child:
        return self._spares.pop() if self._spares else self._fork()

    def put_back(self, child: Child) -> None:
        """Its task could not be given to it."""
        child.running = None
        child.idle_since = time.monotonic()
        if child.share is None:
            self._spares.append(child)

    def find_worker(self, share: str) -> Child | None:
        """One that is free, or a new one in its place; None when all are busy."""
        workers = [child for child in self if child.share is not None]
        idle = [child for child in workers if child.running is None]
        for child in idle:
            if child.share == share:
                return child
        if len(workers) >= self._most_workers:
            if not idle:
                return None
            self.dismiss(min(idle, key=lambda child: child.idle_since))
        child = self.take()
        child.share = share
        self._selector.register(child.control, selectors.EVENT_READ, lambda: self._on_word(child))
        return child

    def dismiss(self, child: Child) -> None:
        """An idle worker: with nothing to hear any more it ends."""
        child.share = None
        self.silence(child)
        child.control.close()

    def silence(self, child: Child) -> None:
        self._unregister(child.control)

    def forget(self, child: Child) -> None:
        """It is dead; what it said may still be read."""
        del self._by_pid[child.pid]
        if child in self._spares:
            self._spares.remove(child)

    def bury(self, child: Child) -> None:
        self._unregister(child.control)
        self._unregister(child.log.pipe_fd)
        child.control.close()
        child.log.close_all()

    def _unregister(self, file: socket.socket | int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(file)

    def _on_output(self, child: Child) -> None:
        if child.pid in self._by_pid and child.log.pump() == "closed":
            self._unregister(child.log.pipe_fd)

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
        self._by_pid[child.pid] = child
        self._selector.register(pipe_fd, selectors.EVENT_READ, lambda: self._on_output(child))
        return child

    def _become_child(self, child: Child, control: socket.socket, output_fd: int) -> NoReturn:
        """Let go of all that is the zygote's, and never come back."""
        try:
            is_busy = sum(other.running is not None for other in self) >= self._processors
            signal.set_wakeup_fd(-1)
            for other in (child, *self._by_pid.values()):
                other.control.close()
                other.log.close_all()
            self._selector.close()
            self._let_go()
            begin_life(self._zygote_pid, output_fd, self._prctl)
            # While processors are idle, it makes the task sooner; else it would only be work.
            with contextlib.suppress(Exception):  # The task itself will say what is wrong.
                if not is_busy:
                    self._process.rehearse(self._kind)
            wait_and_run(control, output_fd, self._process)
        finally:
            os._exit(1)
