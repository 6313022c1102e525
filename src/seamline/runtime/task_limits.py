"""Holding a task with all its processes to its memory, and to parts of a processor.

Standard library only. Where this process may make control groups (version 2), the kernel holds
them. Elsewhere each process has its RLIMIT_DATA (task_main.py), and the sum over the family is
looked at several times a second: who is over its limit is killed.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from .task_kernel import list_family, read_own_bytes, read_resident_bytes

_ROOT = Path("/sys/fs/cgroup")
_LOOK_S = 0.1
#: Looking takes at most this part of the time.
_LOOK_SHARE = 0.1


class LimitWatch:
    """What tasks of one zygote may use; they are named by the pid of their first process."""

    def __init__(self) -> None:
        self._groups: dict[int, ControlGroup] = {}
        self._watched: dict[int, Watched] = {}
        self._over: dict[int, int] = {}
        self._home: ControlGroups | None = None
        #: When `look` wants to be called, on the monotonic clock.
        self.next_look: float | None = None

    def begin(self, pid: int, request: dict[str, Any]) -> None:
        memory, cores = request.get("memory_bytes"), request.get("cpu_cores")
        is_part = cores is not None and cores != int(cores)
        if memory is None and not is_part:
            return
        # What a process has used stays with the group that it was in then: no place for one that
        # has served others.
        group = None if request["reuse"] else self._open_group(pid, memory, cores)
        if group is not None:
            self._groups[pid] = group
        elif memory is not None:
            before = read_own_bytes(pid) if request["reuse"] else 0
            self._watched[pid] = Watched(memory, before)
            self.next_look = self.next_look or time.monotonic() + _LOOK_S

    def _open_group(
        self, pid: int, memory_bytes: int | None, cores: float | None
    ) -> ControlGroup | None:
        if self._home is None:
            self._home = ControlGroups(find_home())
        return self._home.open(pid, memory_bytes, cores)

    def look(self, now: float) -> set[int]:
        """Those that came over their limit since; does nothing before it is time."""
        if self.next_look is None or now < self.next_look:
            return set()
        found = {pid: used for pid, one in self._watched.items() if (used := one.find_excess(pid))}
        self._over.update(found)
        then = time.monotonic()
        wait_s = max(_LOOK_S, (then - now) / _LOOK_SHARE)
        self.next_look = then + wait_s if self._watched else None
        return set(found)

    def end(self, pid: int) -> int:
        """What the task had when it came over its memory limit, in bytes; 0 when it did not."""
        if self._watched.pop(pid, None) is not None and not self._watched:
            self.next_look = None
        group = self._groups.pop(pid, None)
        by_kernel = group.close() if group is not None else 0
        return self._over.pop(pid, 0) or by_kernel

    def close(self) -> None:
        if self._home is not None:
            self._home.close()


class Watched:
    def __init__(self, limit_bytes: int, before_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        #: What its process had before, when it has served others.
        self.before_bytes = before_bytes

    def find_excess(self, pid: int) -> int:
        family = list_family(pid)
        limit = self.limit_bytes + self.before_bytes
        if sum(map(read_resident_bytes, family)) <= limit:
            return 0
        # That had counted shared pages more than once, and what the kernel can take back.
        used = sum(map(read_own_bytes, family))
        return used - self.before_bytes if used > limit else 0


# -- control groups, version 2 -----------------------------------------------------------------


def find_home() -> Path | None:
    """Where groups with a memory limit can be made: below our own group, or beside it."""
    try:
        own = next(
            line.rpartition(":")[2]
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        )
        here = _ROOT / own.lstrip("/")
        if "memory" not in (here / "cgroup.controllers").read_text().split():
            return None
    except (OSError, StopIteration):
        return None
    for home in (here, here.parent):
        if not home.is_relative_to(_ROOT):
            break
        if home == here:
            # Allowed where no process is but in the groups below, and in the root.
            with contextlib.suppress(OSError):
                (home / "cgroup.subtree_control").write_text("+memory +cpu")
        with contextlib.suppress(OSError):
            if "memory" in (home / "cgroup.subtree_control").read_text().split():
                return home
    return None


class ControlGroup:
    def __init__(self, path: Path) -> None:
        self._path = path

    def close(self) -> int:
        """Ends what is left in it; what it had used when the kernel killed it for its memory."""
        events = self._read("memory.events").split()
        kills = dict(zip(events[::2], events[1::2], strict=False)).get("oom_kill", "0")
        peak = self._read("memory.peak").strip() or self._read("memory.max").strip()
        with contextlib.suppress(OSError):
            (self._path / "cgroup.kill").write_text("1")
        with contextlib.suppress(OSError):
            self._path.rmdir()
        return int(peak) if kills != "0" and peak.isdigit() else 0

    def _read(self, name: str) -> str:
        try:
            return (self._path / name).read_text()
        except OSError:
            return ""


class ControlGroups:
    """One for each task that asks, in a folder of this process."""

    def __init__(self, home: Path | None) -> None:
        self._folder: Path | None = None
        self._serial = 0
        if home is None:
            return
        _sweep(home)
        folder = home / f"seamline-{os.getpid()}"
        try:
            folder.mkdir()
            (folder / "cgroup.subtree_control").write_text("+memory +cpu")
            self._folder = folder
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def open(self, pid: int, memory_bytes: int | None, cores: float | None) -> ControlGroup | None:
        """A new one with this process in it; None where the kernel does not allow it."""
        if self._folder is None:
            return None
        self._serial += 1
        path = self._folder / f"task-{self._serial}"
        try:
            path.mkdir()
            if memory_bytes is not None:
                (path / "memory.max").write_text(str(memory_bytes))
                (path / "memory.oom.group").write_text("1")
                with contextlib.suppress(OSError):  # A kernel without swap accounting.
                    (path / "memory.swap.max").write_text("0")
            if cores is not None:
                (path / "cpu.max").write_text(f"{int(cores * 100_000)} 100000")
            (path / "cgroup.procs").write_text(str(pid))
        except OSError:
            with contextlib.suppress(OSError):
                path.rmdir()
            self._folder = None
            return None
        return ControlGroup(path)

    def close(self) -> None:
        if self._folder is not None:
            _remove(self._folder)


def _sweep(home: Path) -> None:
    """Groups of zygotes that were killed; the kernel keeps those that still have processes."""
    for folder in home.glob("seamline-*"):
        _remove(folder)


def _remove(folder: Path) -> None:
    for path in (*folder.glob("task-*"), folder):
        with contextlib.suppress(OSError):
            path.rmdir()
