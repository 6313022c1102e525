"""What a run tells those who resolve URIs for it, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from seamline.runtime.outcomes import TaskOutcome
from seamline.runtime.specs import OnStarted, TaskSpec


class Runner(Protocol):
    """What starts the processes of attempts: a `TaskRunner`, or what stands in for one."""

    def start(self, spec: TaskSpec, on_started: OnStarted | None = None) -> Future[TaskOutcome]: ...

    def kill(self, task_id: str) -> None:
        """Nothing happens when it has ended."""
        ...


@dataclass(frozen=True)
class RunContext:
    run_id: str
    environment: str
    pipeline: str
    requested_by: str
    task: str
    #: Digest of the release that admitted the run: what it may use besides. None in dataops.
    release: str | None = None


@dataclass(frozen=True)
class ResolvedArtifact:
    """`path` holds exactly the bytes that `digest` names: whoever resolves has verified them."""

    path: Path
    digest: str
    metadata: Mapping[str, Any]
    #: Pinned: resolving it again gives the same bytes ("datasets://flights@7").
    uri: str


@dataclass(frozen=True)
class PackageIndex:
    """Where the packages of a task come from."""

    url: str
    #: Python environments are shared by those that have the same here.
    scope: str = ""


#: (name of the environment, requirements as written) → index; None: what this machine's pip uses.
FindIndex = Callable[[str, Sequence[str]], PackageIndex | None]
#: (run, image as the pipeline names it) → what to start: by digest where one was pinned. Refused
#: where it may not run.
PinImage = Callable[[RunContext, str], str]
ResolveUri = Callable[[str, RunContext], ResolvedArtifact]


def as_named(_context: RunContext, reference: str) -> str:
    """Where nobody pins images."""
    return reference
