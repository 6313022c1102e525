"""Requirement set → a Python environment in a content-named folder.

    root/<64 hex>/            a finished virtual environment, named by its requirement set's digest
    root/<64 hex>.lock        held while it is made
    root/.making-<64 hex>-*   one in the making; what a killed process left is removed by the next
    root/packages-<64 hex>/   packages alone, without an interpreter, for the Python of an image

An environment is made under a temporary name and appears under its own by one rename, so a
half-made one is never used. Files are hard links into uv's cache: a second environment with the
same packages costs a fraction of a second and almost no space. `--relocatable` keeps the entry
points of `bin/` right after the rename.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Timer

import uv

from seamline.domain.digests import Digest, digest_of
from seamline.domain.errors import (
    InvalidInput,
    MachineryError,
    Refused,
    SeamlineError,
    Unavailable,
)
from seamline.runtime.indexes import hide_addresses, is_network_trouble, read_index_settings
from seamline.runtime.requirements import (
    InstalledPython,
    RequirementSet,
    ask_interpreter,
    minor_version,
    pin_to,
)

Progress = Callable[[str], None]

_RECORD = "seamline-environment.json"
_KEPT_LINES = 20
_INSTALL = ("pip", "install", "--link-mode", "hardlink")


@dataclass(frozen=True)
class PythonEnvironment:
    python: Path
    #: The requirement set's digest.
    digest: str
    #: Exact `name==version` of what is installed, sorted.
    lock: tuple[str, ...]
    is_host: bool


class EnvironmentCache:
    """Environments under one folder, safe between threads and between processes."""

    def __init__(self, root: Path, host_python: Path) -> None:
        self._root = root
        self._host_python = host_python
        self._host: InstalledPython | None = None
        self._known: dict[str, PythonEnvironment] = {}
        self._lock = Lock()

    def ensure(
        self,
        reqs: RequirementSet,
        *,
        index_url: str | None = None,
        scope: str = "",
        on_progress: Progress | None = None,
    ) -> PythonEnvironment:
        """The environment for a requirement set, made now when there is none.

        `scope`: where indexes say different things of a name, for whom this one is made.
        No installer runs when the interpreter that runs Seamline already satisfies the set.
        Raises InvalidInput when the requirements cannot be installed, Unavailable when the
        package index cannot be reached.
        """
        digest = digest_of(f"{reqs.digest} {scope}".encode()) if scope else reqs.digest
        known = self._known.get(digest)
        if known is not None and known.python.exists():
            return known
        environment = self._host_environment(reqs)
        if environment is None:
            environment = self._made(reqs, digest, index_url, on_progress)
        self._known[digest] = environment
        return environment

    def ensure_folder(
        self,
        packages: Iterable[str],
        *,
        index_url: str | None = None,
        on_progress: Progress | None = None,
    ) -> Path:
        """A folder with these packages alone, without what they depend on; made when there is none.

        For packages that any Python can import: it goes into images whose Python is not ours.
        What the interpreter that runs Seamline has, comes in that very version. Raises as `ensure`.
        """
        reqs = RequirementSet.of(bare=[pin_to(text, self._ask_host()) for text in packages])
        name = f"packages-{reqs.digest.removeprefix('sha256:')}"
        folder = self._root / name
        settings = read_index_settings(index_url, os.environ)
        self._root.mkdir(parents=True, exist_ok=True)
        with _held(self._root / f"{name}.lock"):
            if not folder.exists():
                with self._in_the_making(name) as making:
                    installer = _Installer(making, reqs, settings, on_progress)
                    target = ("--target", str(making), "--python", str(self._host_python))
                    options = ("--no-deps", "--compile-bytecode", "--link-mode", "hardlink")
                    installer.run("pip", "install", *options, *target, "--", *reqs.bare)
                    making.rename(folder)
        return folder

    @contextmanager
    def fresh(
        self, reqs: RequirementSet, wheels: Iterable[Path] = (), *, timeout_s: float | None = None
    ) -> Iterator[PythonEnvironment]:
        """One that nobody else uses, whatever is installed elsewhere, with these wheels in it;
        removed afterwards.

        `timeout_s`: of each installer. Raises as `ensure`; Unavailable, too, where one does not end
        in time.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        self._ask_host()
        with _held(self._root / "fresh.lock"), self._in_the_making("fresh") as making:
            settings = read_index_settings(None, os.environ)
            installer = _Installer(making, reqs, settings, None, timeout_s)
            _install(installer, making, reqs, self._base_python(reqs))
            python = making / "bin" / "python"
            files = [str(path) for path in wheels]
            if files:
                installer.run(*_INSTALL, "--python", str(python), "--", *files)
            yield PythonEnvironment(python, reqs.digest, ask_interpreter(python).lock, False)

    def host(self, reqs: RequirementSet) -> PythonEnvironment:
        """The interpreter that runs Seamline; Refused when it does not satisfy the set."""
        environment = self._host_environment(reqs)
        if environment is None:
            host = self._ask_host()
            missing = list(reqs.missing_from(host.distributions))
            raise Refused(
                f"Python {reqs.python} with {', '.join(missing) or 'nothing else'} is needed in "
                f"this very process, and {self._host_python} (Python {host.version}) is not that.",
                next_step="Install it there, or run the task in a process of its own.",
                missing=missing,
            )
        return environment

    def _ask_host(self) -> InstalledPython:
        with self._lock:
            if self._host is None:
                self._host = ask_interpreter(self._host_python)
            return self._host

    def _host_environment(self, reqs: RequirementSet) -> PythonEnvironment | None:
        host = self._ask_host()
        if minor_version(host.version) != minor_version(reqs.python):
            return None
        if not reqs.is_satisfied_by(host.distributions):
            return None
        return PythonEnvironment(self._host_python, reqs.digest, host.lock, is_host=True)

    def _made(
        self,
        reqs: RequirementSet,
        digest: Digest,
        index_url: str | None,
        on_progress: Progress | None,
    ) -> PythonEnvironment:
        name = digest.removeprefix("sha256:")
        folder = self._root / name
        self._root.mkdir(parents=True, exist_ok=True)
        with _held(self._root / f"{name}.lock"):
            lock = _read_lock(folder)
            if lock is None:
                shutil.rmtree(folder, ignore_errors=True)
                with self._in_the_making(name) as making:
                    lock = _make(making, reqs, self._base_python(reqs), index_url, on_progress)
                    making.rename(folder)
        return PythonEnvironment(folder / "bin" / "python", digest, lock, is_host=False)

    @contextmanager
    def _in_the_making(self, name: str) -> Iterator[Path]:
        """A new folder for something, of which the lock is held."""
        for left in self._root.glob(f".making-{name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        making = Path(tempfile.mkdtemp(prefix=f".making-{name}-", dir=self._root))
        try:
            yield making
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _base_python(self, reqs: RequirementSet) -> str:
        if self._host is not None and minor_version(self._host.version) == reqs.python:
            return str(self._host_python)
        return reqs.python


@contextmanager
def _ended_after(process: subprocess.Popen[str], timeout_s: float | None) -> Iterator[Event]:
    """The event is set where the time was up."""
    is_late = Event()

    def end() -> None:
        is_late.set()
        process.kill()

    timer = None if timeout_s is None else Timer(timeout_s, end)
    if timer is not None:
        timer.start()
    try:
        yield is_late
    finally:
        if timer is not None:
            timer.cancel()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """An exclusive lock on a file; the kernel lets go of it when its holder dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_lock(folder: Path) -> tuple[str, ...] | None:
    """What a finished environment holds; None when there is none, or its interpreter is gone."""
    try:
        record = json.loads((folder / _RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return tuple(record["lock"]) if (folder / "bin" / "python").exists() else None


def _make(
    folder: Path,
    reqs: RequirementSet,
    base_python: str,
    index_url: str | None,
    on_progress: Progress | None,
) -> tuple[str, ...]:
    """Fills `folder` with a virtual environment and its record."""
    installer = _Installer(folder, reqs, read_index_settings(index_url, os.environ), on_progress)
    _install(installer, folder, reqs, base_python)
    lock = ask_interpreter(folder / "bin" / "python").lock
    record = {
        "requirements": reqs.requirements,
        "bare": reqs.bare,
        "python": reqs.python,
        "lock": lock,
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=1), "utf-8")
    return lock


def _install(installer: _Installer, folder: Path, reqs: RequirementSet, base_python: str) -> None:
    make = ("venv", "--relocatable", "--allow-existing", "--no-project", "--no-python-downloads")
    installer.run(*make, "--python", base_python, str(folder))
    install = (*_INSTALL, "--python", str(folder / "bin" / "python"))
    if reqs.requirements:
        installer.run(*install, "--", *reqs.requirements)
    if reqs.bare:
        installer.run(*install, "--no-deps", "--", *reqs.bare)


class _Installer:
    """Runs uv, hands its lines on, and turns its failures into errors."""

    def __init__(
        self,
        folder: Path,
        reqs: RequirementSet,
        settings: dict[str, str],
        on_progress: Progress | None,
        timeout_s: float | None = None,
    ) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        self._reqs = reqs
        self._settings = settings
        self._on_progress = on_progress
        inherited = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
        self._env = {**inherited, "NO_COLOR": "1", **settings}

    def run(self, *arguments: str) -> None:
        last: deque[str] = deque(maxlen=_KEPT_LINES)
        try:
            binary = uv.find_uv_bin()
            # In its own folder: the project file of wherever we were started is nobody's business.
            started = subprocess.Popen(
                [binary, *arguments], cwd=self._folder, env=self._env, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError as error:
            raise MachineryError(
                f"uv does not start: {error}.", next_step="Reinstall the uv package."
            ) from error
        with started, _ended_after(started, self._timeout_s) as is_late:
            for raw in started.stdout or ():
                line = hide_addresses(raw.rstrip(), self._settings)
                last.append(line)
                if self._on_progress is not None and line:
                    self._on_progress(line)
        if is_late.is_set():
            raise Unavailable(f"uv {arguments[0]} did not end within {self._timeout_s:g} s.")
        if started.returncode != 0:
            raise self._refusal(tuple(last))

    def _refusal(self, lines: Sequence[str]) -> SeamlineError:
        shown = ", ".join(self._reqs.requirements + self._reqs.bare) or "an empty environment"
        said = "\n".join(lines).strip()
        if is_network_trouble(tuple(lines)):
            return Unavailable(
                f"The package index did not answer while installing {shown}:\n{said}\n",
                next_step="Check the network and pip's configuration, then run again.",
            )
        return InvalidInput(
            f"Python {self._reqs.python} with {shown} cannot be installed:\n{said}\n",
            next_step="Correct packages_to_install of the component, or the Python version.",
            requirements=list(self._reqs.requirements),
        )
