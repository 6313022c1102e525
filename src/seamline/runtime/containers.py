"""A run of a container, as a value, and the command line that starts it.

The command line holds no value of an environment variable: any user of a machine can list the
arguments of its processes. Values go by a file that only we can read, or, where the format of that
file cannot hold them, by the environment of the engine's client (`--env NAME` copies it).
"""

from __future__ import annotations

import hashlib
import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from seamline.domain.errors import InvalidInput
from seamline.runtime.outcomes import TaskError, signal_name

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_IMAGE = re.compile(r"[A-Za-z0-9][^\s\x00-\x1f]*")
#: Clients read the file line by line, with room for 64 KiB in a line.
_MOST_IN_A_LINE = 32 << 10
#: What the client itself goes by: a value for the container must not become one for the client.
_OF_THE_CLIENT = re.compile(
    r"PATH|HOME|USER|SHELL|TMPDIR|LD_.*|XDG_.*|DOCKER_.*|BUILDKIT_.*|CONTAINERS?_.*|PODMAN_.*"
    r"|STORAGE_.*|REGISTRY_.*|BUILDAH_.*|GO[A-Z]+|SSL_CERT_.*|DBUS_.*|NOTIFY_SOCKET|LISTEN_.*"
    r"|(?i:[a-z]+_proxy)"
)
_NOT_STARTED = {
    125: " did not start",
    126: ": a program cannot be executed",
    127: ": a program was not found",
}


class EngineKind(StrEnum):
    PODMAN = "podman"
    DOCKER = "docker"


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine inside the container."""

    source: Path
    target: Path
    is_read_only: bool = False

    @classmethod
    def same(cls, path: Path, *, is_read_only: bool = False) -> Mount:
        """At the path that it has here, so that paths mean the same inside and outside."""
        return cls(path, path, is_read_only)


@dataclass(frozen=True)
class ContainerRun:
    #: Ends what it names, also after a restart: take `container_name(task_id)`.
    name: str
    #: A reference, or an image's digest, which runs exactly those bytes.
    image: str
    #: As in Kubernetes: `command` stands in for the image's entry point and `args` for its
    #: default arguments; without a command the image's own entry point gets `args`.
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    #: Default: the image's own.
    work_dir: Path | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    #: The host's: an index or a server on loopback is reachable, as it is for forked tasks.
    network: str = "host"
    #: Default: the user whose files belong to us outside (`EngineTraits.user`).
    user: str | None = None
    #: How messages call the image, when `image` is a digest.
    reference: str = ""


@dataclass(frozen=True)
class EngineTraits:
    """What the command line depends on besides the run."""

    kind: EngineKind
    #: `uid:gid` inside the container that is our own user outside.
    user: str
    cores: int
    #: `nofile=…` and so on, where the engine's defaults are more than it may give.
    ulimits: tuple[str, ...] = ()
    has_selinux: bool = False


@dataclass(frozen=True)
class SplitEnvironment:
    """Where each variable of a container travels."""

    #: The lines of the file.
    lines: tuple[str, ...]
    #: Through the client's own environment.
    through_client: Mapping[str, str]


def container_name(task_id: str) -> str:
    """The same for a task however often it is asked: who comes after us can end what we left.

    >>> container_name("0192/train#1")
    'seamline-train-1-1038a897b2a1ce4e'
    """
    said = re.sub(r"[^a-z0-9]+", "-", task_id.rpartition("/")[2].lower()).strip("-")[:40]
    digest = hashlib.sha256(task_id.encode()).hexdigest()[:16]
    return f"seamline-{said}-{digest}" if said else f"seamline-{digest}"


def split_environment(env: Mapping[str, str]) -> SplitEnvironment:
    """
    >>> split = split_environment({"A": "1", "KEY": "two\\nlines"})
    >>> split.lines, dict(split.through_client)
    (('A=1',), {'KEY': 'two\\nlines'})
    """
    lines: list[str] = []
    through_client: dict[str, str] = {}
    for name, value in env.items():
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} cannot be an environment variable of a container.",
                next_step="Use letters, digits and underscores.",
            )
        if _fits_a_line(value):
            lines.append(f"{name}={value}")
        elif _OF_THE_CLIENT.fullmatch(name):
            raise InvalidInput(
                f"The container's variable {name} holds a line break, quotes at its edge or more "
                f"than {_MOST_IN_A_LINE} bytes, which this variable cannot.",
                next_step="Set it inside the component.",
            )
        else:
            through_client[name] = value
    return SplitEnvironment(tuple(lines), through_client)


def _fits_a_line(value: str) -> bool:
    """Whether every version of both clients reads the line as we mean it."""
    if len(value.encode("utf-8", "surrogatepass")) > _MOST_IN_A_LINE:
        return False
    return value.isprintable() and value == value.strip() and value[:1] not in ("'", '"')


def run_words(run: ContainerRun, traits: EngineTraits, env_file: Path) -> Iterator[str]:
    """The client's arguments, without its own name.

    >>> traits = EngineTraits(EngineKind.PODMAN, user="0:0", cores=2)
    >>> run = ContainerRun("c", "busybox", ("echo", "a"), ("b",), {"K": "secret"})
    >>> " ".join(run_words(run, traits, Path("/w/env")))
    'run --name=c --network=host --rm --log-driver=none --stop-timeout=0 --user=0:0 \
--env-file=/w/env --entrypoint=echo busybox a b'
    """
    if not _IMAGE.fullmatch(run.image):
        raise InvalidInput(
            f"{run.image!r} is not the name of an image.",
            next_step="Name it like python:3.11 or registry.example/team/image:tag.",
        )
    yield from ("run", f"--name={run.name}", f"--network={run.network}")
    if traits.kind is EngineKind.PODMAN:
        # Docker's client learns the exit code from a container that is still there; in front of
        # podman's service it would say 0 for one that removes itself, whatever happened.
        yield "--rm"
    # What it writes reaches us through a pipe, which is bounded; the engine's own copy is not.
    yield "--log-driver=none"
    # Else ending it by force waits ten seconds for a process that hears no signal.
    yield "--stop-timeout=0"
    yield f"--user={run.user or traits.user}"
    for limit in traits.ulimits:
        yield f"--ulimit={limit}"
    if traits.has_selinux:
        yield "--security-opt=label=disable"
    if run.memory_bytes is not None:
        # The same with swap: it must not swap where a forked task is refused.
        yield from (f"--memory={run.memory_bytes}b", f"--memory-swap={run.memory_bytes}b")
    if run.cpus is not None and run.cpus < traits.cores:
        yield f"--cpus={run.cpus:g}"
    if run.work_dir is not None:
        yield f"--workdir={run.work_dir}"
    for mount in run.mounts:
        yield write_mount(mount)
    yield f"--env-file={env_file}"
    for name in split_environment(run.env).through_client:
        yield f"--env={name}"
    if run.command:
        yield f"--entrypoint={run.command[0]}"
    yield run.image
    yield from (*run.command[1:], *run.args)


def write_mount(mount: Mount) -> str:
    """The option for a mount; the two ways to write one stumble over different characters.

    >>> write_mount(Mount.same(Path("/data/a:b"), is_read_only=True))
    '--mount=type=bind,source=/data/a:b,destination=/data/a:b,readonly'
    >>> write_mount(Mount(Path("/data/a,b"), Path("/in")))
    '--volume=/data/a,b:/in:rw'
    """
    source, target = str(mount.source), str(mount.target)
    both = source + target
    if "," not in both and '"' not in both:
        option = ",readonly" if mount.is_read_only else ""
        return f"--mount=type=bind,source={source},destination={target}{option}"
    if ":" in both:
        raise InvalidInput(
            f"The folder {source} cannot be mounted into a container: its path has both a colon "
            "and a comma or a quotation mark.",
            next_step="Rename the folder.",
        )
    return f"--volume={source}:{target}:{'ro' if mount.is_read_only else 'rw'}"


def explain_exit(code: int, run: ContainerRun, log_tail: str = "") -> TaskError:
    """What an exit code means: 125 to 127 are the engine's own, or a shell's in the container;
    then a line of its says why.

    >>> explain_exit(3, ContainerRun("c", "busybox")).message
    'The container of busybox exited with code 3.'
    >>> explain_exit(127, ContainerRun("c", "busybox"), "sh: nosuch: not found").message
    'The container of busybox: a program was not found (127): sh: nosuch: not found'
    >>> explain_exit(137, ContainerRun("c", "busybox", memory_bytes=64 << 20)).type
    'OutOfMemory'
    """
    what = f"The container of {run.reference or run.image}"
    lines = log_tail.strip().splitlines()
    # Docker's client ends with an invitation to read its help.
    said = next((line for line in reversed(lines) if "error" in line.lower()), "".join(lines[-1:]))
    because = f": {said}" if said else "."
    if code in _NOT_STARTED:
        return TaskError("ContainerNotStarted", f"{what}{_NOT_STARTED[code]} ({code}){because}")
    if code == 128 + signal.SIGKILL and run.memory_bytes is not None:
        return TaskError(
            "OutOfMemory",
            f"{what} was killed (SIGKILL), most likely for want of memory: it may use "
            f"{run.memory_bytes / (1 << 20):.4g} MiB.",
        )
    if 128 < code <= 128 + signal.NSIG:
        return TaskError("Killed", f"{what} was ended by {signal_name(code - 128)}.")
    return TaskError("ContainerExit", f"{what} exited with code {code}.")
