"""Folders at the paths where a task looks for them ("/data"), for that task's process alone.

A task without a container has the file system of its machine. Where the kernel lets us, it gets a
mount namespace of its own, in which the folders are bound; nobody else sees them, and they go when
its last process does. As root that is a plain namespace; as anybody else one inside a user
namespace, in which the task is still who it was. Where neither is allowed, a symbolic link stands
in if there is nothing at the path yet, and everything else is refused.

A path that does not exist is made in a copy: the nearest folder that does exist is covered, for the
task, by one in memory that holds all that is in it, and the new folder. So nothing is left behind
on the machine, and what a task writes straight into such a folder is gone with it, as it would be
in a container.

Standard library only, for Python 3.9 and later: the task's process loads this file in any
environment. Run as a program it prints what this machine can do.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import posixpath
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

# How a machine can do it -----------------------------------------------------------------------
NAMESPACE = "namespace"
USER_NAMESPACE = "user_namespace"
LINK = "link"
ABILITIES = (NAMESPACE, USER_NAMESPACE, LINK)

# How one path is done --------------------------------------------------------------------------
#: It is there: covered.
BIND = "bind"
#: It is not: made in a copy of the folder around it.
GRAFT = "graft"
#: It lies in another mount: made there.
INSIDE = "inside"

# What is at a path -----------------------------------------------------------------------------
FOLDER = "folder"
OTHER = "something that is no folder"
MISSING = "missing"
BROKEN = "a symbolic link to nothing"

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC = 0x1, 0x20, 0x1000, 0x4000
_MS_UNBINDABLE, _MS_PRIVATE = 1 << 17, 1 << 18
#: Of a mount, by what statvfs says: a remount in a user namespace must not take them away.
_KEPT_FLAGS = {0x2: 0x2, 0x4: 0x4, 0x8: 0x8, 0x400: 0x400, 0x800: 0x800, 0x1000: 1 << 21}
_CAPABILITY_VERSION = 0x20080522
#: Folders of the kernel: nothing is made in them, and but for /dev nothing is covered.
_KERNEL = ("/proc", "/sys", "/dev")
#: Without these no program runs.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
_MOST_ENTRIES = 4096


class MountRefused(Exception):
    """Says which path, why, and what can be done."""


class Bind(NamedTuple):
    #: A folder that exists.
    source: str
    #: Where the task finds it: absolute.
    target: str
    is_read_only: bool = False


class Step(NamedTuple):
    bind: Bind
    how: str


Look = Callable[[str], str]


# -- the rule -----------------------------------------------------------------------------------
def decide_mounts(
    binds: Iterable[Bind], ability: str, needed: Collection[str], look: Look | None = None
) -> list[Step]:
    """What is to be done for each, outer paths first; raises MountRefused.

    `needed`: paths that the task has to go on seeing, as they are.
    """
    look = look or look_at
    steps: list[Step] = []
    for bind in sorted(binds, key=lambda one: _parts(one.target)):
        target = bind.target
        _check_target(target, needed)
        outer = [step.bind.target for step in steps if _is_within(target, step.bind.target)]
        if target in outer:
            raise MountRefused(f"Two volumes are to be mounted at {target}. Give each its path.")
        if ability == LINK:
            _check_link(bind, bool(outer), look)
            steps.append(Step(bind, LINK))
        else:
            steps.append(Step(bind, INSIDE if outer else _decide_cover(target, look)))
    return steps


def _check_target(target: str, needed: Collection[str]) -> None:
    if not target.startswith("/") or "\0" in target or posixpath.normpath(target) != target:
        raise MountRefused(f"{target!r} is no path to mount at. Write an absolute one, without ..")
    if any(_is_within(target, place) for place in ("/proc", "/sys")) or target in ("/", "/dev"):
        raise MountRefused(f"Nothing can be mounted at {target}. Choose a folder of your own.")
    for path in (*_SYSTEM, *needed):
        if _is_within(path, target):
            raise MountRefused(
                f"A volume at {target} would hide {path}, which the task needs. Choose another "
                "path, or run it in a container."
            )


def _decide_cover(target: str, look: Look) -> str:
    found = look(target)
    if found == FOLDER:
        return BIND
    if found != MISSING:
        raise MountRefused(f"A volume cannot be mounted at {target}: there is {found}.")
    anchor = _anchor(target, look)
    if any(_is_within(anchor, place) for place in _KERNEL):
        raise MountRefused(f"A volume cannot be mounted at {target}: {anchor} is the kernel's.")
    if look(anchor) != FOLDER:
        raise MountRefused(f"A volume cannot be mounted at {target}: {anchor} is no folder.")
    return GRAFT


def _check_link(bind: Bind, is_within_another: bool, look: Look) -> None:
    target = bind.target
    why = "this machine lets no task of ours have mounts of its own"
    help_ = "Run the server as root, allow user namespaces, or run the task in a container."
    if is_within_another:
        raise MountRefused(f"A volume at {target} lies in another one, and {why}. {help_}")
    if look(target) == MISSING and look(posixpath.dirname(target)) != FOLDER:
        raise MountRefused(
            f"A volume at {target} needs the folder {posixpath.dirname(target)}: {why}. {help_}"
        )
    if look(target) in (FOLDER, OTHER) and os.path.realpath(target) != os.path.realpath(
        bind.source
    ):
        raise MountRefused(f"There is something else at {target}, and {why}. {help_}")


def _anchor(target: str, look: Look) -> str:
    """The nearest path above that is there."""
    anchor = posixpath.dirname(target)
    while look(anchor) == MISSING:
        anchor = posixpath.dirname(anchor)
    return anchor


def _is_within(path: str, folder: str) -> bool:
    """
    >>> _is_within("/data/a", "/data"), _is_within("/data", "/data"), _is_within("/data2", "/data")
    (True, True, False)
    """
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _parts(path: str) -> Sequence[str]:
    return path.split("/")


def look_at(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return BROKEN if os.path.islink(path) else MISSING
    except OSError:
        return OTHER
    return FOLDER if stat.S_ISDIR(mode) else OTHER


def needed_paths(*more: str) -> tuple[str, ...]:
    """What the interpreter of this process was loaded from, and `more`; by all their names."""
    paths = (sys.prefix, sys.base_prefix, os.__file__, sys.executable, *more)
    return tuple(dict.fromkeys(name for path in paths for name in (path, os.path.realpath(path))))


# -- in the task's process ----------------------------------------------------------------------
def enter_mounts(binds: Sequence[Bind], ability: str, home: str, needed: Sequence[str]) -> None:
    """Puts the folders at their paths; the working directory is then "/".

    For a process with one thread that runs one task and ends with it: there is no way back.
    `home`: the workspace; links to what was in it are ours to replace. Raises MountRefused.
    """
    if not binds:
        return
    steps = decide_mounts(binds, ability, needed_paths(home, *needed))
    if ability == LINK:
        for step in steps:
            _link(step.bind, home)
        return
    kernel = _Kernel()
    _enter_namespace(kernel, ability)
    # Before anything is covered. Descriptors of before would belong to the other namespace.
    sources = [os.open(step.bind.source, os.O_PATH | os.O_DIRECTORY) for step in steps]
    grafts = _Grafts(kernel, home)
    for step, source in zip(steps, sources):  # noqa: B905  (Python 3.9)
        target = step.bind.target
        if step.how == GRAFT and look_at(target) == MISSING:
            grafts.make(target)
        elif step.how == INSIDE:
            os.makedirs(target, exist_ok=True)
        kernel.bind(f"/proc/self/fd/{source}", target, is_read_only=step.bind.is_read_only)
    for source in sources:
        os.close(source)
    os.chdir("/")
    if ability == USER_NAMESPACE:
        kernel.drop_capabilities()


class _Grafts:
    """Folders in memory that stand in for those of the machine, with all that is in them."""

    def __init__(self, kernel: _Kernel, home: str) -> None:
        self._kernel = kernel
        self._home = home
        self._covered: set[str] = set()

    def make(self, target: str) -> None:
        anchor = os.path.realpath(_anchor(target, look_at))
        if anchor not in self._covered and not any(
            _is_within(anchor, covered) and not os.path.ismount(anchor) for covered in ()
        ):
            self._cover(anchor)
        os.makedirs(target, exist_ok=True)

    def _cover(self, anchor: str) -> None:
        self._covered.add(anchor)
