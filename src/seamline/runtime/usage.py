"""What processes and folders take up: memory, time, files, bytes on disk.

Linux tells in /proc; elsewhere what it does not tell is left out.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_ZYGOTE = b"zygote_main.py"
_BLOCK_BYTES = 512
#: Measuring a large workspace takes a while: it may take up this part of the time.
_SHARE = 0.01
_AGE_S = 30.0


@dataclass(frozen=True)
class ProcessUsage:
    resident_bytes: int
    cpu_s: float
    open_files: int
    #: Seconds since 1970.
    started_at_s: float


@dataclass(frozen=True)
class FamilyUsage:
    """Resident memory; what a process shares with its zygote counts in both."""

    zygotes: int = 0
    zygotes_bytes: int = 0
    #: Tasks, and processes that wait for one.
    forked: int = 0
    forked_bytes: int = 0


def own_usage() -> ProcessUsage | None:
    """Of this process; None where there is no /proc."""
    try:
        started = int((_PROC / "self/stat").read_text().rpartition(")")[2].split()[19])
        boot = next(
            int(line.split()[1])
            for line in (_PROC / "stat").read_text().splitlines()
            if line.startswith("btime ")
        )
        files = sum(1 for _ in (_PROC / "self/fd").iterdir())
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    used = resource.getrusage(resource.RUSAGE_SELF)
    ticks = os.sysconf("SC_CLK_TCK")
    return ProcessUsage(
        resident_bytes=_resident_bytes(os.getpid()),
        cpu_s=used.ru_utime + used.ru_stime,
        open_files=files,
        started_at_s=boot + started / ticks,
    )


def family_usage() -> FamilyUsage:
    """The zygotes that this process started, and what they forked."""
    zygotes = [child for child in _children(os.getpid()) if _ZYGOTE in _command_line(child)]
    forked = [process for zygote in zygotes for process in _children(zygote)]
    return FamilyUsage(
        zygotes=len(zygotes),
        zygotes_bytes=sum(map(_resident_bytes, zygotes)),
        forked=len(forked),
        forked_bytes=sum(map(_resident_bytes, forked)),
    )


def _resident_bytes(pid: int) -> int:
    """0 for a process that is gone."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()


def _children(pid: int) -> list[int]:
    """Of all its threads: whichever of them started a process is its parent's entry."""
    found: list[int] = []
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    except (OSError, ValueError):
        pass  # It ends just now.
    return found


def _command_line(pid: int) -> bytes:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


class FolderUsage:
    """Bytes on disk below a folder, by its first level; measured anew when that is due.

    Thread-safe: whoever asks while somebody measures waits for that.
    """

    def __init__(self, root: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._now = now
        self._lock = threading.Lock()
        self._due_at = float("-inf")
        self._parts: dict[str, int] = {}

    def parts(self) -> dict[str, int]:
        """name → bytes, of at most half a minute ago, or longer where measuring takes long."""
        with self._lock:
            started = self._now()
            if started >= self._due_at:
                self._parts = measure_parts(self._root)
                ended = self._now()
                self._due_at = ended + max(_AGE_S, (ended - started) / _SHARE)
            return dict(self._parts)


def measure_parts(root: Path) -> dict[str, int]:
    """Allocated bytes by folder of the first level; files beside them as `database` and `other`.

    A file with several names in one part counts once; links are not followed.
    """
    parts: dict[str, int] = {}
    for entry in _scan(str(root)):
        if entry.is_dir(follow_symlinks=False):
            parts[entry.name] = _below(entry.path)
        else:
            name = "database" if entry.name.startswith("seamline.db") else "other"
            parts[name] = parts.get(name, 0) + _allocated(entry, set())
    return parts


def _below(folder: str) -> int:
    total, pending = 0, [folder]
    seen: set[tuple[int, int]] = set()
    while pending:
        for entry in _scan(pending.pop()):
            total += _allocated(entry, seen)
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
    return total


def _scan(folder: str) -> Iterator[os.DirEntry[str]]:
    """Nothing for a folder that was removed meanwhile."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _allocated(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> int:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    if found.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
        if (found.st_dev, found.st_ino) in seen:
            return 0
        seen.add((found.st_dev, found.st_ino))
    return found.st_blocks * _BLOCK_BYTES


def filesystem_bytes(path: Path) -> tuple[int, int]:
    """(size, free to us) of the file system that holds the path."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
