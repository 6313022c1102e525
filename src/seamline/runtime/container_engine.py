"""Podman or docker, driven through its command line: the same few words work with both.

A container is no child of ours. It outlives its client when that is killed, so whoever kills a
task, sees it time out or finds it lost ends its container by name (`settle`, `end_container`).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seamline.domain.digests import Digest
from seamline.domain.errors import InvalidInput, MachineryError, Unavailable
from seamline.runtime.commands import Command, command_task, write_private
from seamline.runtime.containers import (
    ContainerRun,
    EngineKind,
    EngineTraits,
    explain_exit,
    run_words,
    split_environment,
)
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.outcomes import TaskEnd, TaskOutcome, read_error
from seamline.runtime.specs import Limits, TaskSpec

Progress = Callable[[str], None]

_ASK = {
    EngineKind.PODMAN: "{{.Version.Version}}\n{{.Host.Security.Rootless}}\n"
    "{{.Host.Security.SELinuxEnabled}}",
    EngineKind.DOCKER: "{{.ServerVersion}}\n{{json .SecurityOptions}}",
}
_ANSWER_S = 60.0
_KEPT_LINES = 20
_MOST_ATTEMPTS = 3
_CAP_SYS_RESOURCE = 24
_ABSENT = ("no such image", "image not known", "no such object")
_GONE = ("no such container", "already in progress")
_UNREACHABLE = ("dial tcp", "i/o timeout", "no such host", "connection refused", "tls handshake")


@dataclass(frozen=True)
class ContainerEngine:
    program: Path
    version: str
    traits: EngineTraits
    #: What the client is started with: it may say which engine to speak to.
    environ: Mapping[str, str] = field(repr=False)

    @property
    def kind(self) -> EngineKind:
        return self.traits.kind

    # -- tasks -----------------------------------------------------------------------------

    def container_task(
        self,
        task_id: str,
        run: ContainerRun,
        *,
        work_dir: Path,
        log_path: Path,
        host: PythonEnvironment,
        timeout_s: float | None = None,
    ) -> TaskSpec:
        """The task that is this container's client. `settle` its outcome.

        `work_dir` is mounted into the container. The values of the container's environment lie in
        its folder `tmp`, in a file for us only, until the caller removes that.
        """
        if not self.traits.user.startswith("0:"):
            # The image's files do not know this user: it has no other folder to write to.
            run = replace(run, env={"HOME": str(work_dir / "tmp"), **run.env})
        return command_task(
            task_id,
            self.container_command(run, work_dir / "tmp"),
            work_dir=work_dir,
            log_path=log_path,
            host=host,
            # Its memory is the container's to limit: the client shall live.
            limits=Limits(timeout_s=timeout_s),
        )

    def container_command(self, run: ContainerRun, private_dir: Path) -> Command:
        env_file = private_dir / "container.env"
        split = split_environment(run.env)
        words = (str(self.program), *run_words(run, self.traits, env_file))
        lines = "".join(f"{line}\n" for line in split.lines)
        write_private(env_file, lines.encode())
        return Command(self.program, words, split.through_client)

    def settle(self, run: ContainerRun, outcome: TaskOutcome, spec: TaskSpec) -> TaskOutcome:
        """The outcome in the container's terms, when nothing of the container is left."""
        code = outcome.exit_code
        if code is None or code == 125 or self.kind is EngineKind.DOCKER:
            self.end_container(run.name)
        if code is None or outcome.end is not TaskEnd.FAILED or read_error(spec.work_dir):
            return outcome
        tail = outcome.error.log_tail if outcome.error else ""
        return replace(outcome, error=replace(explain_exit(code, run, tail), log_tail=tail))

    def end_container(self, name: str) -> None:
        """Kills and removes it; nothing happens when there is no such container."""
        ignore = ("--ignore",) if self.kind is EngineKind.PODMAN else ()
        # Podman watches a container through a process that is killed with its client: it has to
        # find out first that the container has ended, which is an error, and then removes it.
        for _ in range(_MOST_ATTEMPTS):
            ended = self._ask("rm", "--force", *ignore, name)
            if ended.returncode == 0 or _says(ended.stderr, _GONE):
                return
        raise Unavailable(
            f"The container {name} cannot be ended: {ended.stderr.strip()[-500:]}",
            next_step=f"Look at it with {self.kind} ps --all, and end it by hand.",
        )

    # -- images ----------------------------------------------------------------------------

    def has_image(self, image: str) -> bool:
        return self.image_digest(image) is not None

    def image_digest(self, image: str) -> Digest | None:
        """The digest that names the image's bytes on this machine (of its configuration, which
        names its layers); None when it is not here. A run of the digest runs those bytes."""
        asked = self._ask("image", "inspect", "--format", "{{.Id}}", image)
        if asked.returncode == 0:
            found = asked.stdout.strip()
            return Digest(found if found.startswith("sha256:") else f"sha256:{found}")
        if _says(asked.stderr, _ABSENT):
            return None
        raise Unavailable(
            f"{self.kind} does not say whether it has the image {image}: "
            f"{asked.stderr.strip()[-500:]}",
            next_step=f"Try {self.kind} image inspect {image} by hand.",
        )

    def ensure_image(self, image: str, on_progress: Progress | None = None) -> Digest:
        """Pulls the image when it is not here, the way that the engine is set up to.

        Raises InvalidInput when there is no such image, Unavailable when its registry cannot be
        reached; both show what the engine said last.
        """
        here = self.image_digest(image)
        if here is None:
            self._pull(image, on_progress)
            here = self.image_digest(image)
        if here is None:
            raise MachineryError(
                f"{self.kind} pulled the image {image} and does not have it.",
                next_step=f"Try {self.kind} pull {image} by hand.",
            )
        return here

    def _pull(self, image: str, on_progress: Progress | None) -> None:
        last: deque[str] = deque(maxlen=_KEPT_LINES)
        with subprocess.Popen(
            [str(self.program), "pull", "--", image],
            env=self.environ,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as pulling:
            for raw in pulling.stdout or ():
                line = raw.rstrip()
                last.append(line)
                if on_progress is not None and line:
                    on_progress(line)
        if pulling.returncode == 0:
            return
        said = "\n".join(last)
        message = f"The image {image} is not here, and {self.kind} cannot pull it:\n{said}\n"
        if _says(said, _UNREACHABLE):
            raise Unavailable(
                message, next_step="Check the network and the registry, then run again."
            )
        raise InvalidInput(
            message,
            next_step=f"Correct the component's image, or log in to its registry with {self.kind} "
            "login.",
            image=image,
        )

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return _ask(self.program, words, self.environ)


def find_engine(environ: Mapping[str, str]) -> ContainerEngine:
    """Podman, else docker: the first on `PATH` that has a working engine.

    Raises Unavailable, with what each of them said.
    """
    reasons: list[str] = []
    for kind in EngineKind:
        program = shutil.which(kind, path=environ.get("PATH", os.defpath))
        if program is None:
            reasons.append(f"{kind} is not on PATH")
            continue
        try:
            asked = _ask(Path(program), ("info", "--format", _ASK[kind]), environ)
        except Unavailable as error:
            reasons.append(error.message)
            continue
        answer = asked.stdout.strip().split("\n")
        if asked.returncode == 0 and answer[0]:
            return ContainerEngine(Path(program), answer[0], _traits(kind, answer), environ)
        said = asked.stderr.strip().split("\n")[-1][-300:]
        reasons.append(f"{program} has no working engine ({said})")
    raise Unavailable(
        f"There is no container engine: {'; '.join(reasons)}.",
        next_step="Install podman, or start docker.",
    )


def _ask(
    program: Path, words: Sequence[str], environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [str(program), *words],
            env=environ,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(
            f"{program} does not answer ({error})", next_step="Look at it by hand."
        ) from error


def _says(text: str, signs: Sequence[str]) -> bool:
    lower = text.lower()
    return any(sign in lower for sign in signs)


def _traits(kind: EngineKind, answer: Sequence[str]) -> EngineTraits:
    if kind is EngineKind.PODMAN:
        is_rootless, has_selinux = (word == "true" for word in answer[1:3])
    else:
        options = json.loads(answer[1]) or []
        is_rootless, has_selinux = (f"name={word}" in options for word in ("rootless", "selinux"))
    return EngineTraits(
        kind=kind,
        user=decide_user(kind, is_rootless, os.getuid(), os.getgid()),
        cores=os.cpu_count() or 1,
        ulimits=() if kind is EngineKind.DOCKER or is_rootless else _own_limits(),
        has_selinux=has_selinux,
    )


def decide_user(kind: EngineKind, is_rootless: bool, uid: int, gid: int) -> str:
    """Who a component is inside, so that what it writes is ours outside.

    An engine without privileges maps its user to the container's root; podman with privileges is
    run by root itself. Docker's daemon is root whoever asks: there we keep our own number.

    >>> decide_user(EngineKind.PODMAN, True, 1000, 1000)
    '0:0'
    >>> decide_user(EngineKind.DOCKER, False, 1000, 100)
    '1000:100'
    """
    return f"{uid}:{gid}" if kind is EngineKind.DOCKER and not is_rootless else "0:0"


def _own_limits() -> tuple[str, ...]:
    """Podman run by root gives containers more than root may have where CAP_SYS_RESOURCE was
    taken from it (in a container, in a small virtual machine): no container starts then."""
    try:
        status = Path("/proc/self/status").read_text()
        pid_max = int(Path("/proc/sys/kernel/pid_max").read_text())
    except (OSError, ValueError):
        return ()
    (capabilities,) = (line.split()[1] for line in status.splitlines() if "CapEff" in line)
    files, processes = (
        resource.getrlimit(limit)[1] for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
    )
    return decide_ulimits(int(capabilities, 16), files, processes, pid_max)


def decide_ulimits(capabilities: int, files: int, processes: int, pid_max: int) -> tuple[str, ...]:
    """The limits to ask for; none where the engine may set what it likes. -1 is unlimited.

    Podman takes the highest process id for the most processes, of itself first.

    >>> decide_ulimits(0x1FFFFFFFFFF, 1024, 1024, 32768)
    ()
    >>> decide_ulimits(0, 20000, 96000, 32768)
    ('nofile=20000:20000', 'nproc=32768:32768')
    """
    if capabilities >> _CAP_SYS_RESOURCE & 1:
        return ()
    asked = {"nofile": files, "nproc": pid_max if processes < 0 else min(processes, pid_max)}
    return tuple(f"{name}={most}:{most}" for name, most in asked.items() if most >= 0)
