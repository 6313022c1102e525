"""A work order: everything that an attempt needs to know, evaluated by the engine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seamline.domain.states import Fidelity
from seamline.train.context import RunContext
from seamline.train.ir.types import ContainerExecutor
from seamline.train.plan.sources import ArtifactValue
from seamline.train.plan.types import PlannedTask
from seamline.train.run_names import RunNames

LOG = "log.txt"
#: In a run's folder: what all of its tasks share, where the pipeline asks for that. No task can
#: be called so.
WORKSPACE = ".workspace"


@dataclass(frozen=True)
class WorkOrder:
    context: RunContext
    #: The task's name in the run ("for-loop-1[3]/train").
    path: str
    task: PlannedTask
    attempt: int
    parameters: Mapping[str, Any]
    artifacts: Mapping[str, ArtifactValue]
    #: Of importers.
    uri: str
    metadata: Mapping[str, Any]
    names: RunNames
    #: How it is to run; None for what runs nothing.
    fidelity: Fidelity | None
    started_at: str
    #: Set before the task is killed, so that one that is just about to start is killed too.
    is_canceled: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> str:
        return f"{self.context.run_id}/{self.path}"

    @property
    def task_id(self) -> str:
        return attempt_id(self.context.run_id, self.path, self.attempt)

    @property
    def folder(self) -> str:
        """Relative to the workspace."""
        return attempt_folder(self.context.run_id, self.path, self.attempt)

    @property
    def log_path(self) -> str | None:
        """Relative to the workspace."""
        has_log = isinstance(self.task.executor, ContainerExecutor)
        return f"{self.folder}/{LOG}" if has_log else None


def run_folder(run_id: str) -> str:
    """Relative to the workspace."""
    return f"runs/{run_id}"


def attempt_folder(run_id: str, path: str, attempt: int) -> str:
    """Relative to the workspace.

    `loop@3` for `loop[3]`: many a reader (polars, glob, DuckDB) takes brackets for a pattern.

    >>> attempt_folder("r1", "loop-1[2]/train", 1)
    'runs/r1/loop-1@2/train/1'
    """
    return f"{run_folder(run_id)}/{path.replace('[', '@').replace(']', '')}/{attempt}"


def attempt_id(run_id: str, path: str, attempt: int) -> str:
    """What the runtime calls an attempt.

    >>> attempt_id("r1", "loop-1[2]/train", 1)
    'r1/loop-1[2]/train#1'
    """
    return f"{run_id}/{path}#{attempt}"
