"""Folders at the paths where a task looks for them ("/data"), for that task's process alone.

A task without a container has the file system of its machine. Where the kernel lets us, it gets a
mount namespace of its own, in which the folders are bound; nobody else sees them, and they go when
its last process does. As root that is a plain namespace; as anybody else one inside a user
namespace, in which the task is still who it was. Where neither is allowed, a symbolic link stands
in if there is nothing at the path yet, and everything else is refused.

A path that does not exist is made in a copy: the nearest folder that does exist is covered, for the
task, by one in memory with all that is in it, and the new folder. So nothing is left behind on the
machine, and what a task writes straight into such a folder is gone with it, as in a container.

Standard library only, for Python 3.9 and later: the task's process loads this file in any
environment. Run as a program it prints what this machine can do.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import posixpath
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

# How a machine can do it -----------------------------------------------------------------------
NAMESPACE = "namespace"
USER_NAMESPACE = "user_namespace"
LINK = "link"

# How one path is done --------------------------------------------------------------------------
#: It is there: covered. (Besides LINK, where there are no namespaces.)
BIND = "bind"
#: It is not: made in a copy of the folder around it.
GRAFT = "graft"
#: It lies in another volume: made there.
INSIDE = "inside"

# What is at a path -----------------------------------------------------------------------------
FOLDER = "a folder"
OTHER = "something that is no folder"
MISSING = "nothing"
BROKEN = "a symbolic link to nothing"

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC = 0x1, 0x20, 0x1000, 0x4000
_MS_UNBINDABLE, _MS_PRIVATE = 1 << 17, 1 << 18
_MNT_DETACH = 2
#: What statvfs says of a mount → what a remount must say, else a user namespace refuses it.
_KEPT_FLAGS = {0x2: 0x2, 0x4: 0x4, 0x8: 0x8, 0x400: 0x400, 0x800: 0x800, 0x1000: 1 << 21}
_CAPABILITY_VERSION_3 = 0x20080522
_KERNEL = ("/proc", "/sys", "/dev")
#: Without these no program runs.
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib64", "/etc", "/usr/bin", "/usr/lib", "/usr/lib64")
_MOST_ENTRIES = 4096
_HELP = "Run the server as root, allow user namespaces, or run the task in a container."

#: path → what is there.
Look = Callable[[str], str]
#: path → the path without symbolic links.
Resolve = Callable[[str], str]


class MountRefused(Exception):
    """Says which path, why, and what can be done."""


class Bind(NamedTuple):
    #: A folder. Empty where it is not known yet: a check before the run.
    source: str
    #: Where the task finds it: absolute.
    target: str
    is_read_only: bool = False


class Step(NamedTuple):
    bind: Bind
    how: str


# -- the rule -----------------------------------------------------------------------------------
def decide_mounts(
    binds: Iterable[Bind],
    ability: str,
    needed: Collection[str],
    look: Look | None = None,
    resolve: Resolve = os.path.realpath,
) -> list[Step]:
    """What is to be done for each, outer paths first; raises MountRefused.

    `needed`: what the task has to go on seeing. Reads the file system and changes nothing.
    """
    look = look or look_at
    steps: list[Step] = []
    for bind in sorted(binds, key=lambda one: one.target.split("/")):
        _check_path(bind.target)
        # A link of ours is what stands there: only a mount goes to where it leads.
        target = bind.target if ability == LINK else resolve(bind.target)
        _check_hides_nothing(target, {*needed, *map(resolve, needed)})
        outer = [one.bind.target for one in steps if _is_within(target, one.bind.target)]
        if target in outer:
            raise MountRefused(f"Two volumes are to be mounted at {target}. Give each its path.")
        if ability == LINK:
            _check_link(bind, outer, look, resolve)
            steps.append(Step(bind, LINK))
        else:
            how = INSIDE if outer else _decide_cover(target, look)
            steps.append(Step(bind._replace(target=target), how))
    return steps


def _check_path(target: str) -> None:
    is_normal = posixpath.normpath(target) == target and not target.startswith("//")
    if not target.startswith("/") or "\0" in target or not is_normal:
        raise MountRefused(
            f"{target!r} is no path to mount a volume at. Write an absolute one, without .. or /."
        )


def _check_hides_nothing(target: str, needed: Collection[str]) -> None:
    if target in ("/", "/dev") or any(_is_within(target, place) for place in ("/proc", "/sys")):
        raise MountRefused(f"No volume can be mounted at {target}. Choose a folder of your own.")
    # Sorted, so that the same one is named each time.
    for path in (*_SYSTEM, *sorted(needed)):
        if _is_within(path, target):
            raise MountRefused(
                f"A volume at {target} would hide {path}, which the task needs. Choose another "
                "path, or run the task in a container."
            )


def _decide_cover(target: str, look: Look) -> str:
    found = look(target)
    if found == FOLDER:
        return BIND
    if found != MISSING:
        raise MountRefused(f"No volume can be mounted at {target}: there is {found}.")
    anchor = _anchor(target, look)
    if look(anchor) != FOLDER or any(_is_within(anchor, place) for place in _KERNEL):
        raise MountRefused(f"No volume can be mounted at {target}: no folder is made in {anchor}.")
    return GRAFT


def _check_link(bind: Bind, outer: Sequence[str], look: Look, resolve: Resolve) -> None:
    target, parent = bind.target, posixpath.dirname(bind.target)
    why = "this machine lets tasks have no mounts of their own"
    if outer:
        raise MountRefused(f"A volume at {target} would lie in another one: {why}. {_HELP}")
    if look(parent) != FOLDER:
        raise MountRefused(f"A volume at {target} needs the folder {parent}: {why}. {_HELP}")
    is_there = look(target) in (FOLDER, OTHER)
    if is_there and bind.source and resolve(target) != resolve(bind.source):
        raise MountRefused(
            f"No volume can be mounted at {target}: there is something else, and {why}. {_HELP}"
        )


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


def look_at(path: str) -> str:
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return BROKEN if Path(path).is_symlink() else MISSING
    except NotADirectoryError:
        return MISSING
    except OSError:
        return OTHER
    return FOLDER if stat.S_ISDIR(mode) else OTHER


def needed_paths(*more: str) -> tuple[str, ...]:
    """What the interpreter of this process was loaded from, and `more`."""
    return (sys.prefix, sys.base_prefix, sys.executable, os.__file__, *more)


# -- in the task's process ----------------------------------------------------------------------
def enter_mounts(binds: Sequence[Bind], ability: str, work_dir: str, workspace: str) -> None:
    """Puts the folders at their paths; the working directory is then "/". Raises MountRefused.

    For a process with one thread that runs one task and ends with it: there is no way back.
    `ability`: what `probe_ability` found. Both folders go on being seen.
    """
    steps = decide_mounts(binds, ability, needed_paths(work_dir, workspace))
    if not steps:
        return
    if ability == LINK:
        for step in steps:
            _link(step.bind, workspace)
        return
    what = ", ".join(step.bind.target for step in steps)
    try:
        _mount(steps, ability, work_dir)
    except OSError as error:
        raise MountRefused(f"No volume could be mounted at {what}: {error}. {_HELP}") from error


def _mount(steps: Sequence[Step], ability: str, work_dir: str) -> None:
    kernel = _Kernel()
    kernel.enter_namespace(ability)
    grafts = _Grafts(kernel, work_dir)
    for step in steps:
        if step.how == GRAFT:
            grafts.make(step.bind.target)
    # In the namespace, and before a volume covers anything.
    sources = [os.open(step.bind.source, os.O_PATH | os.O_DIRECTORY) for step in steps]
    for step, source in zip(steps, sources):  # noqa: B905  (Python 3.9)
        if step.how == INSIDE:
            Path(step.bind.target).mkdir(parents=True, exist_ok=True)
        kernel.bind(f"/proc/self/fd/{source}", step.bind.target)
        if step.bind.is_read_only:
            kernel.make_read_only(step.bind.target)
        os.close(source)
    os.chdir("/")
    if ability == USER_NAMESPACE:
        kernel.drop_capabilities()


def _link(bind: Bind, workspace: str) -> None:
    """One at a time on this machine; a link to what was in the workspace is ours to replace."""
    target = Path(bind.target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if target.is_symlink():
            leads_to = str(target.readlink())
            if leads_to == bind.source:
                return
            if target.exists() or not _is_within(leads_to, workspace):
                raise MountRefused(
                    f"No volume can be mounted at {target}: it is a symbolic link to {leads_to}. "
                    f"Remove it when nothing uses it. {_HELP}"
                )
            target.unlink()
        target.symlink_to(bind.source, target_is_directory=True)
    except OSError as error:
        raise MountRefused(
            f"No volume can be mounted at {target}: {error.strerror}. {_HELP}"
        ) from error
    finally:
        os.close(folder)


class _Grafts:
    """Folders in memory that stand in for those of the machine, with all that is in them."""

    def __init__(self, kernel: _Kernel, work_dir: str) -> None:
        self._kernel = kernel
        self._work_dir = work_dir
        #: In memory: what was covered, and what was made.
        self._ours: set[str] = set()

    def make(self, target: str) -> None:
        if look_at(target) == FOLDER:  # On the way to an earlier one.
            return
        anchor = _anchor(target, look_at)
        if anchor not in self._ours:
            self._cover(anchor)
            self._ours.add(anchor)
        Path(target).mkdir(parents=True)
        while target != anchor:
            self._ours.add(target)
            target = posixpath.dirname(target)

    def _cover(self, anchor: str) -> None:
        names = os.listdir(anchor)  # noqa: PTH208  (names are what is needed)
        if len(names) > _MOST_ENTRIES:
            raise OSError(f"{anchor} has {len(names):,} entries: make the folder there yourself")
        was = Path(anchor).stat()
        if anchor == "/":
            stage = tempfile.mkdtemp(prefix=".root-", dir=self._work_dir)
            self._kernel.mount_memory(stage, was.st_mode)
            self._kernel.leave_out_of_binds(stage)
            self._fill("/", names, stage)
            self._kernel.change_root(stage)
            with contextlib.suppress(OSError):
                Path(stage).rmdir()
            return
        behind = os.open(anchor, os.O_PATH | os.O_DIRECTORY)
        self._kernel.mount_memory(anchor, was.st_mode)
        with contextlib.suppress(PermissionError):
            os.chown(anchor, was.st_uid, was.st_gid)
        self._fill(f"/proc/self/fd/{behind}", names, anchor)
        os.close(behind)

    def _fill(self, source: str, names: Iterable[str], into: str) -> None:
        for name in names:
            original, copy = Path(source, name), Path(into, name)
            try:
                mode = original.lstat().st_mode
                if stat.S_ISLNK(mode):
                    copy.symlink_to(original.readlink())
                    continue
                if stat.S_ISDIR(mode):
                    copy.mkdir()
                else:
                    copy.touch()
                self._kernel.bind(str(original), str(copy))
            except FileNotFoundError:  # Gone meanwhile.
                continue


class _Kernel:
    """The system calls that Python has no functions for; each raises OSError."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def enter_namespace(self, ability: str) -> None:
        user, group = os.geteuid(), os.getegid()
        if ability == USER_NAMESPACE:
            self._call("unshare", "", _CLONE_NEWUSER | _CLONE_NEWNS)
            # Who it was: without a map it would be nobody.
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        else:
            self._call("unshare", "", _CLONE_NEWNS)
        self._mount("none", "/", None, _MS_REC | _MS_PRIVATE)

    def mount_memory(self, target: str, mode: int) -> None:
        self._mount("seamline", target, "tmpfs", 0, f"mode={stat.S_IMODE(mode):o}")

    def leave_out_of_binds(self, target: str) -> None:
        """Else binding what is around it would bind it into itself."""
        self._mount("none", target, None, _MS_UNBINDABLE)

    def bind(self, source: str, target: str) -> None:
        """With the mounts in it: a user namespace may not uncover what they cover."""
        self._mount(source, target, None, _MS_BIND | _MS_REC)

    def make_read_only(self, target: str) -> None:
        said = os.statvfs(target).f_flag
        kept = sum(flag for bit, flag in _KEPT_FLAGS.items() if said & bit)
        self._mount("none", target, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | kept)

    def change_root(self, root: str) -> None:
        os.chdir(root)
        try:
            # The old root comes to lie over the new one, and is let go of.
            self._call("pivot_root", root, b".", b".")
            self._call("umount2", root, b".", _MNT_DETACH)
        except OSError:  # In memory from the start of the machine on: it cannot be exchanged.
            os.chroot(".")
        os.chdir("/")

    def drop_capabilities(self) -> None:
        """Those over the user namespace: a file that was read-only for its owner still is."""
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        self._call("capset", "", header, (ctypes.c_uint32 * 6)())

    def _mount(
        self, source: str, target: str, kind: str | None, flags: int, options: str = ""
    ) -> None:
        words = [os.fsencode(source), os.fsencode(target), kind and kind.encode()]
        given = options.encode() if options else None
        self._call("mount", target, *words, ctypes.c_ulong(flags), given)

    def _call(self, name: str, about: str, *arguments: object) -> None:
        if getattr(self._libc, name)(*arguments) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), about or name)


# -- what this machine can do -------------------------------------------------------------------
def probe_ability(python: str = sys.executable) -> str:
    """By trying, in a process of its own; takes some 50 ms: remember the answer."""
    if sys.platform != "linux":
        return LINK
    try:
        done = subprocess.run(
            [python, "-I", __file__], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return LINK
    return done.stdout.strip()


def _can(ability: str, folder: str) -> bool:
    """In a child: mounts where nothing was, and sees it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            source = tempfile.mkdtemp(dir=folder)
            Path(source, "seen").touch()
            target = f"/{Path(folder).name}"
            enter_mounts([Bind(source, target)], ability, folder, folder)
            code = 0 if Path(target, "seen").exists() else 1
        except (MountRefused, OSError, AttributeError):
            code = 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def _print_ability() -> None:
    with tempfile.TemporaryDirectory(prefix="seamline-mounts-") as folder:
        can = [one for one in (NAMESPACE, USER_NAMESPACE) if _can(one, folder)]
    print(next(iter(can), LINK))


if __name__ == "__main__":
    _print_ability()
