"""How one attempt at a task ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seamline.domain.errors import MachineryError, SeamlineError, Unavailable
from seamline.domain.states import TaskState
from seamline.runtime.outcomes import TaskOutcome
from seamline.train.artifacts import Artifact
from seamline.train.ir.values import storable

#: *failed*: the task, or a check on it, said no. *errored*: the machinery around it broke.
FAILED, ERRORED, UPSTREAM = "failed", "errored", "upstream"


@dataclass(frozen=True)
class TaskProblem:
    kind: str
    type: str
    message: str
    traceback: str = ""
    #: For `upstream`: the task whose failure reached this one.
    cause: str = ""
    #: The last lines that it printed.
    log_tail: str = ""

    def __post_init__(self) -> None:
        for name, text in list(self.__dict__.items()):  # Much of it is the task's own.
            object.__setattr__(self, name, storable(text))

    def to_json(self) -> dict[str, str]:
        return {**self.__dict__}

    @property
    def sentence(self) -> str:
        """One line for people."""
        message = " ".join(self.message.split())
        return message if self.kind == UPSTREAM else f"{self.type}: {message}"


@dataclass(frozen=True)
class StartedImage:
    """`reference`: by digest where it was pinned; `digest`: how the engine names the bytes."""

    reference: str
    digest: str


@dataclass(frozen=True)
class TaskResult:
    state: TaskState
    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    problem: TaskProblem | None = None
    outcome: TaskOutcome | None = None
    packages_digest: str | None = None
    #: Of a container.
    image: StartedImage | None = None
    #: Its process was lost through no fault of its own: start it again.
    is_lost: bool = False


def problem_of(error: BaseException) -> TaskProblem:
    """
    >>> problem_of(OSError("disk full")).kind, problem_of(SeamlineError("no")).kind
    ('errored', 'failed')
    """
    ours = isinstance(error, MachineryError | Unavailable) or not isinstance(error, SeamlineError)
    return TaskProblem(ERRORED if ours else FAILED, type(error).__name__, str(error))


def failed_with(problem: TaskProblem) -> TaskResult:
    return TaskResult(TaskState.FAILED, problem=problem)
