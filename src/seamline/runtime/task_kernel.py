"""What the kernel tells and does, for the scripts that run in a task's environment.

Standard library only. Elsewhere than Linux there is no prctl and no /proc: what would have been
read is then zero or empty, and what a task detached from its process group is not found.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_PAGE_BYTES = resource.getpagesize()


def find_prctl() -> Callable[[int, int], object]:
    """prctl(2). Looked up once, before the forks: each look-up makes a class of its own."""
    if sys.platform != "linux":
        return lambda _option, _value: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda option, value: prctl(option, value, 0, 0, 0)


def read_start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat: with the pid it names one process."""
    try:
        return int(_read_proc(f"/proc/{pid}/stat").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _read_proc(path: str) -> str:
    """A small file of /proc in three system calls: it is read for each task."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536).decode("utf-8", "replace")
    finally:
        os.close(fd)


def count_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208  (Path objects touch more pages)
    except OSError:
        return 1


def list_children(pid: int | None = None) -> list[int]:
    """Of this process (of its main thread), or of all threads of another."""
    try:
        if pid is None:
            return [int(n) for n in _read_proc(f"/proc/self/task/{os.getpid()}/children").split()]
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
        texts = [_read_proc(f"/proc/{pid}/task/{thread}/children") for thread in threads]
    except OSError:
        return []
    return [int(n) for text in texts for n in text.split()]


def list_family(pid: int) -> list[int]:
    """A process and its descendants, the detached ones too when it is a subreaper."""
    found = [pid]
    for one in found:
        found.extend(list_children(one))
    return found


def read_resident_bytes(pid: int) -> int:
    """What it holds in memory, shared pages and pages of files included; cheap."""
    try:
        return int(_read_proc(f"/proc/{pid}/statm").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def read_own_bytes(pid: int) -> int:
    """What memory it is to blame for: anonymous, shared and swapped pages, each divided by those
    who share it. Pages of files are not counted: the kernel takes them back when it needs them."""
    try:
        lines = _read_proc(f"/proc/{pid}/smaps_rollup").splitlines()[1:]
        found = {name: int(kib) << 10 for name, kib, *_ in map(str.split, lines)}
    except (OSError, ValueError):
        return 0
    anonymous = found.get("Pss_Anon:", found.get("Pss:", 0))
    return anonymous + found.get("Pss_Shmem:", 0) + found.get("SwapPss:", 0)


def read_data_bytes() -> int:
    """Private writable memory of this process, as RLIMIT_DATA counts it."""
    try:
        return int(_read_proc("/proc/self/statm").split()[5]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


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


def end_children() -> bool:
    """Ends and reaps all children of this process; True when any of them still lived.

    For a subreaper: what they leave behind becomes its children, and is ended too.
    """
    were_living = False
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
            if ended == 0:
                were_living = True
                for pid in list_children(os.getpid()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                os.waitpid(-1, 0)
        except ChildProcessError:
            return were_living
