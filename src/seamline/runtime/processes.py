"""Who a process is, whether it still lives, and how to end it with everything it started.

A pid alone names nothing: it is used again. (pid, start time, boot id) names one process for ever,
so a restarted server can tell its own living task from a stranger with the same number.

Linux reads /proc. Elsewhere (macOS) there is no start time and no boot id: identities then hold
zeros, and `is_alive` falls back to "some process has this pid".
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_POLL_S = 0.01


@dataclass(frozen=True)
class ProcessIdentity:
    pid: int
    #: Clock ticks after boot (field 22 of /proc/PID/stat); 0 where /proc is missing.
    start_time: int
    boot_id: str


@dataclass(frozen=True)
class _Stat:
    state: str
    group: int
    start_time: int


def parse_stat(text: str) -> tuple[str, int, int]:
    """(state, process group, start time) from /proc/PID/stat; its bracketed name may hold anything.

    >>> parse_stat("7 (a) b) S 1 5 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0")
    ('S', 5, 4242)
    """
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[2]), int(fields[19])


def _stat_of(pid: int) -> _Stat | None:
    try:
        return _Stat(*parse_stat((_PROC / str(pid) / "stat").read_text("utf-8", "replace")))
    except (OSError, IndexError, ValueError):
        return None


def boot_id() -> str:
    """Changes with every boot; empty where the kernel does not tell."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def current_identity() -> ProcessIdentity:
    return identity_of(os.getpid()) or ProcessIdentity(os.getpid(), 0, boot_id())


def identity_of(pid: int) -> ProcessIdentity | None:
    """The process that has this pid now, or None. A zombie is no longer a process."""
    stat = _stat_of(pid)
    if stat is not None:
        return None if stat.state in "ZX" else ProcessIdentity(pid, stat.start_time, boot_id())
    if not _PROC.joinpath("self").exists() and _answers(pid):
        return ProcessIdentity(pid, 0, boot_id())
    return None


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether this very process, not another with its number, still runs."""
    return identity_of(identity.pid) == identity


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def group_members(pgid: int) -> list[int]:
    """The living processes of a group (zombies are not counted)."""
    members = []
    for entry in _PROC.iterdir() if _PROC.exists() else ():
        if entry.name.isdigit():
            stat = _stat_of(int(entry.name))
            if stat is not None and stat.group == pgid and stat.state not in "ZX":
                members.append(int(entry.name))
    return members


def end_process_group(leader: int | ProcessIdentity, grace_s: float = 2.0) -> bool:
    """SIGTERM to the group, SIGKILL after `grace_s`; True when nothing of it is left.

    Given an identity, a group whose number now belongs to another leader is left alone.
    The kernel gives out no pid that still names a group: a leaderless group is always the old one.
    """
    pid = leader if isinstance(leader, int) else leader.pid
    if isinstance(leader, ProcessIdentity):
        now = _stat_of(pid)
        if now is not None and now.start_time != leader.start_time:
            return True
    if grace_s > 0 and _signal_and_wait(pid, signal.SIGTERM, grace_s):
        return True
    return _signal_and_wait(pid, signal.SIGKILL, 5.0)


def _signal_and_wait(pgid: int, signal_number: int, wait_s: float) -> bool:
    try:
        os.killpg(pgid, signal_number)
    except ProcessLookupError:
        return True
    until = time.monotonic() + wait_s
    while group_members(pgid):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True
