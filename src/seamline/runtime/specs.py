"""What a task is: its kind, its files, its limits; and how that is put to a zygote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.mounts import Bind
from seamline.runtime.processes import ProcessIdentity


class TaskKind(StrEnum):
    #: A lightweight KFP component: `function` of `source`, executor input from `input_path`.
    KFP = "kfp"
    #: `function(payload: dict) -> dict` of `source`, from `input_path` to `output_path`.
    SCRIPT = "script"
    #: A program: `input_path` names it and its arguments (see commands.py).
    COMMAND = "command"


class TaskIsolation(StrEnum):
    #: A process of its own, forked for it.
    FORKED = "forked"
    #: A process that runs one task after another, and is put back in order between them. What
    #: libraries keep for themselves a task may find as another has left it.
    REUSED = "reused"


#: Without these no task of the kind can run: its zygotes import them before anything else.
OWN_MODULES: Mapping[TaskKind, tuple[str, ...]] = {TaskKind.KFP: ("kfp.dsl.executor",)}


_LIGHT = "-light"


@dataclass(frozen=True)
class Limits:
    #: Of all its processes together; for each one also a limit on private writable memory.
    memory_bytes: int | None = None
    #: How many processors it may use at a time, parts included; where the kernel has no control
    #: groups for us, rounded up.
    cpu_cores: float | None = None
    #: Processor time of each of its processes.
    cpu_s: float | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class TaskMounts:
    """Volumes at paths of their own, for the task's process alone (see mounts.py)."""

    binds: tuple[Bind, ...]
    #: What `probe_ability` found.
    ability: str
    #: No volume may hide it.
    workspace: Path


@dataclass(frozen=True)
class TaskSpec:
    task_id: str
    kind: TaskKind
    #: Name a KFP source `ephemeral_component.py` so that its worker processes can import it.
    source: Path
    input_path: Path
    #: The task's own folder and working directory; error.json and modules.json appear in it.
    work_dir: Path
    log_path: Path
    environment: PythonEnvironment
    #: For SCRIPT; a KFP task writes where its executor input says.
    output_path: Path | None = None
    function: str = "main"
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    #: When given, the task refuses a source with other bytes (law 2).
    source_digest: str | None = None
    isolation: TaskIsolation = TaskIsolation.FORKED
    #: REUSED tasks share a process only with those that say the same here: their run, or team.
    share: str = ""
    #: It imports no libraries, or none that could be told. Such FORKED tasks have a zygote of their
    #: own: what a process has imported it takes time to fork, and to take down again.
    is_light: bool = False
    #: Not for REUSED ones: from a mount namespace there is no way back.
    mounts: TaskMounts | None = None


#: Called on the runner's thread when the task's process is known: it must return quickly.
OnStarted = Callable[[ProcessIdentity], None]


def zygote_key(environment: PythonEnvironment, kind: TaskKind, *, is_light: bool = False) -> str:
    """Which zygote serves a task: sets that the host satisfies share one."""
    place = "host" if environment.is_host else environment.digest
    return f"{kind}{_LIGHT if is_light else ''}:{place}"


def full_key(key: str) -> str:
    """Of the zygote that has the libraries, of the same environment and kind.

    >>> full_key("kfp-light:host"), full_key("kfp:host")
    ('kfp:host', 'kfp:host')
    """
    kind, _, place = key.partition(":")
    return f"{kind.removesuffix(_LIGHT)}:{place}"


def write_request(spec: TaskSpec, log_limit_bytes: int, cpus: Sequence[int]) -> dict[str, Any]:
    """The message that starts a task; task_main.py reads it in the task's process.

    `cpus` are those that it is to stay on; none given: all.
    """
    return {
        "op": "start",
        "task_id": spec.task_id,
        "kind": spec.kind,
        "source": str(spec.source.absolute()),
        "source_digest": spec.source_digest,
        "function": spec.function,
        "input_path": str(spec.input_path.absolute()),
        "output_path": spec.output_path and str(spec.output_path.absolute()),
        "work_dir": str(spec.work_dir.absolute()),
        "log_path": str(spec.log_path.absolute()),
        "log_limit_bytes": log_limit_bytes,
        "env": dict(spec.env),
        "reuse": spec.isolation is TaskIsolation.REUSED,
        "share": spec.share,
        "memory_bytes": spec.limits.memory_bytes,
        "cpu_cores": spec.limits.cpu_cores,
        "cpus": list(cpus),
        "cpu_s": spec.limits.cpu_s,
        "timeout_s": spec.limits.timeout_s,
        "mounts": _mounts_of(spec.mounts) if spec.mounts else None,
    }


def _mounts_of(mounts: TaskMounts) -> dict[str, Any]:
    return {
        "binds": [list(bind) for bind in mounts.binds],
        "ability": mounts.ability,
        "workspace": str(mounts.workspace.absolute()),
    }
