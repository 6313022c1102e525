"""The physical floor: nothing but processes, and a commit where there is one.

fork    a process per task, forked from a parent that has imported everything and frozen its
        garbage collector; each start and each end is committed to SQLite (WAL, NORMAL)
pool    the same work in workers that live as long as the job, nothing written down
"""

from __future__ import annotations

import gc
import os
import pickle
import selectors
import sqlite3
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import work

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        work.noop, work.ident, work.total,
        work.prepare, work.train, work.evaluate, work.register,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Need:
    """An argument that is the result of another task."""

    task: str


@dataclass(frozen=True)
class Task:
    function: str
    arguments: tuple[Any, ...]

    @property
    def needs(self) -> set[str]:
        return {one.task for one in self.arguments if isinstance(one, Need)}


def plan(job: work.Job) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    if job.workload == "chain":
        for number in range(job.n):
            before = Need(str(number - 1)) if number else 0
            tasks[str(number)] = Task("noop", (before,))
    elif job.workload == "fan_out":
        for number in range(job.n):
            tasks[str(number)] = Task("ident", (number,))
        tasks["total"] = Task("total", tuple(Need(str(number)) for number in range(job.n)))
    else:
        for s in range(job.n):
            data, model = Need(f"prepare {s}"), Need(f"train {s}")
            accuracy = Need(f"evaluate {s}")
            tasks[data.task] = Task("prepare", (s,))
            tasks[model.task] = Task("train", (data,))
            tasks[accuracy.task] = Task("evaluate", (model, data))
            tasks[f"register {s}"] = Task("register", (job.registry, s, model, accuracy))
    return tasks


def call(function: str, arguments: tuple[Any, ...]) -> bytes:
    """The total takes one list, whose items are each a task's result."""
    given = (list(arguments),) if function == "total" else arguments
    return pickle.dumps(FUNCTIONS[function](*given))


def write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(fd, size - len(data))
    return data


class Workers(Protocol):
    def start(self, function: str, arguments: tuple[Any, ...]) -> int:
        """A file descriptor that can be read when there is an end."""

    def finish(self, fd: int) -> bytes: ...


class Forks:
    def __init__(self) -> None:
        self._pids: dict[int, int] = {}

    def start(self, function: str, arguments: tuple[Any, ...]) -> int:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                write_all(writing, call(function, arguments))
            except BaseException:
                os._exit(1)
            os._exit(0)
        os.close(writing)
        self._pids[reading] = pid
        return reading

    def finish(self, fd: int) -> bytes:
        data = b""
        while piece := os.read(fd, 1 << 20):
            data += piece
        os.close(fd)
        os.waitpid(self._pids.pop(fd), 0)
        return data


class Pool:
    def __init__(self, workers: int) -> None:
        self._idle: list[tuple[int, int]] = []
        self._busy: dict[int, int] = {}
        for _ in range(workers):
            (from_parent, to_worker), (from_worker, to_parent) = os.pipe(), os.pipe()
            if os.fork() == 0:
                os.close(to_worker)
                self._serve(from_parent, to_parent)
            os.close(from_parent)
            os.close(to_parent)
            self._idle.append((to_worker, from_worker))

    @staticmethod
    def _serve(reading: int, writing: int) -> None:
        while head := os.read(reading, 8):
            answer = call(*pickle.loads(read_exactly(reading, struct.unpack("q", head)[0])))
            write_all(writing, struct.pack("q", len(answer)) + answer)
        os._exit(0)

    def start(self, function: str, arguments: tuple[Any, ...]) -> int:
        writing, reading = self._idle.pop()
        order = pickle.dumps((function, arguments))
        write_all(writing, struct.pack("q", len(order)) + order)
        self._busy[reading] = writing
        return reading

    def finish(self, fd: int) -> bytes:
        answer = read_exactly(fd, struct.unpack("q", read_exactly(fd, 8))[0])
        self._idle.append((self._busy.pop(fd), fd))
        return answer


def run(
    tasks: Mapping[str, Task], workers: Workers, slots: int, note: Callable[[str, str], None]
) -> dict[str, Any]:
    """Every task once its needs are there, `slots` at a time."""
    waits = {name: len(task.needs) for name, task in tasks.items()}
    needed_by: dict[str, list[str]] = {name: [] for name in tasks}
    for name, task in tasks.items():
        for need in task.needs:
            needed_by[need].append(name)
    ready = deque(name for name, count in waits.items() if not count)
    results: dict[str, Any] = {}
    selector, running = selectors.DefaultSelector(), 0
    while ready or running:
        while ready and running < slots:
            name = ready.popleft()
            task = tasks[name]
            given = (results[a.task] if isinstance(a, Need) else a for a in task.arguments)
            note(name, "started")
            fd = workers.start(task.function, tuple(given))
            selector.register(fd, selectors.EVENT_READ, name)
            running += 1
        for key, _ in selector.select():
            selector.unregister(key.fd)
            running -= 1
            results[key.data] = pickle.loads(workers.finish(key.fd))
            note(key.data, "ended")
            for name in needed_by[key.data]:
                waits[name] -= 1
                if not waits[name]:
                    ready.append(name)
    return results


def main() -> None:
    job = work.read_job()
    tasks = plan(job)
    if job.workload == "scenarios":
        import sklearn.linear_model  # noqa: F401  what the tasks need, imported once
    gc.collect()
    gc.freeze()
    database = sqlite3.connect(job.folder / "log.db", isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=normal")
    database.execute("create table events (id integer primary key, task text, what text, at real)")

    def note(task: str, what: str) -> None:
        row = (task, what, time.time())
        database.execute("insert into events (task, what, at) values (?, ?, ?)", row)

    began = time.perf_counter()
    if job.mode == "pool":
        results = run(tasks, Pool(job.workers), job.workers, lambda task, what: None)
    else:
        results = run(tasks, Forks(), job.workers, note)
    seconds = time.perf_counter() - began
    work.report(job, seconds, results[list(tasks)[-1]])


if __name__ == "__main__":
    main()
