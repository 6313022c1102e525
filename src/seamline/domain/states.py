"""States as closed enums, each with its transition table."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from seamline.domain.errors import MachineryError


class RunState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    #: Some branches failed, the others finished (law 7).
    PARTIALLY_FAILED = "partially_failed"
    FAILED = "failed"
    CANCELED = "canceled"


class TaskState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    #: A cached result stood in for the work.
    SKIPPED = "skipped"
    FAILED = "failed"
    #: An upstream task failed, so this one can never run.
    UPSTREAM_FAILED = "upstream_failed"
    #: Its condition was false.
    NOT_TRIGGERED = "not_triggered"
    CANCELED = "canceled"


class Fidelity(StrEnum):
    """How a task ran, from the furthest from production to the nearest."""

    #: In the server's own process, for debugging.
    IN_PROCESS = "in_process"
    #: In a warm worker that other tasks use, too.
    REUSED = "reused"
    #: A container's command, run on the host without its image.
    HOST_PROCESS = "host_process"
    #: In a process of its own.
    FORKED = "forked"
    #: In the image that the pipeline names.
    CONTAINER = "container"
    #: By another engine that was handed the same IR.
    REMOTE = "remote"


def weaker(one: Fidelity, other: Fidelity) -> Fidelity:
    """The one that is further from production.

    >>> weaker(Fidelity.CONTAINER, Fidelity.FORKED)
    <Fidelity.FORKED: 'forked'>
    """
    order = list(Fidelity)
    return min(one, other, key=order.index)


class PromotionPhase(StrEnum):
    REQUESTED = "requested"
    CHECKING = "checking"
    AWAITING_APPROVAL = "awaiting_approval"
    APPLYING = "applying"
    VERIFYING = "verifying"
    LIVE = "live"
    #: A person said no.
    REJECTED = "rejected"
    #: A check said no.
    FAILED = "failed"
    #: Machinery broke.
    ERRORED = "errored"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"


class PromotionKind(StrEnum):
    """What a release comes into an environment as."""

    #: By all that the environment's policy asks.
    REGULAR = "regular"
    #: Back to a release that was live there before: the bytes are checked, nobody is asked.
    ROLLBACK = "rollback"
    #: Under broken glass: the bytes are checked, and who, why and until when is on record.
    EMERGENCY = "emergency"


class Promotes(StrEnum):
    """What an environment takes over from the one before."""

    #: The trained bytes: train once.
    MODEL = "model"
    #: The training pipelines: they are run in the environment, and what they make goes live.
    CODE = "code"


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Role(StrEnum):
    VIEWER = "viewer"
    #: A machine, mostly: asks endpoints, and tells the truth of what they answered.
    CALLER = "caller"
    DEVELOPER = "developer"
    RELEASER = "releaser"
    APPROVER = "approver"
    ADMIN = "admin"


State = TypeVar("State", RunState, TaskState, PromotionPhase)

_RUN = {
    RunState.PENDING: {RunState.RUNNING, RunState.CANCELED, RunState.FAILED},
    RunState.RUNNING: {
        RunState.SUCCEEDED,
        RunState.PARTIALLY_FAILED,
        RunState.FAILED,
        RunState.CANCELED,
    },
}
_TASK = {
    TaskState.PENDING: {
        TaskState.RUNNING,
        TaskState.SKIPPED,
        TaskState.FAILED,
        TaskState.UPSTREAM_FAILED,
        TaskState.NOT_TRIGGERED,
        TaskState.CANCELED,
    },
    # RUNNING → PENDING: the process was lost with its engine, or a retry is left.
    TaskState.RUNNING: {
        TaskState.SUCCEEDED,
        TaskState.FAILED,
        TaskState.CANCELED,
        TaskState.PENDING,
    },
}
_PROMOTION = {
    PromotionPhase.REQUESTED: {
        PromotionPhase.CHECKING,
        PromotionPhase.SUPERSEDED,
        PromotionPhase.REJECTED,
        PromotionPhase.ERRORED,
    },
    PromotionPhase.CHECKING: {
        PromotionPhase.AWAITING_APPROVAL,
        PromotionPhase.APPLYING,
        PromotionPhase.FAILED,
        PromotionPhase.ERRORED,
        PromotionPhase.SUPERSEDED,
        PromotionPhase.REJECTED,
    },
    # AWAITING_APPROVAL → CHECKING: evidence or policy changed, approvals are dismissed.
    PromotionPhase.AWAITING_APPROVAL: {
        PromotionPhase.CHECKING,
        PromotionPhase.APPLYING,
        PromotionPhase.REJECTED,
        PromotionPhase.FAILED,
        PromotionPhase.ERRORED,
        PromotionPhase.SUPERSEDED,
    },
    # Back from APPLYING: the policy, a hold or a window changed before the pointer moved.
    PromotionPhase.APPLYING: {
        PromotionPhase.VERIFYING,
        PromotionPhase.CHECKING,
        PromotionPhase.AWAITING_APPROVAL,
        PromotionPhase.FAILED,
        PromotionPhase.ERRORED,
    },
    PromotionPhase.VERIFYING: {
        PromotionPhase.LIVE,
        PromotionPhase.FAILED,
        PromotionPhase.ERRORED,
        PromotionPhase.ROLLED_BACK,
    },
    PromotionPhase.LIVE: {PromotionPhase.SUPERSEDED, PromotionPhase.ROLLED_BACK},
}


def _table(state: State) -> dict[State, set[State]]:
    if isinstance(state, RunState):
        return _RUN
    if isinstance(state, TaskState):
        return _TASK
    return _PROMOTION


def is_terminal(state: State) -> bool:
    """
    >>> is_terminal(RunState.FAILED), is_terminal(TaskState.RUNNING)
    (True, False)
    """
    return not _table(state).get(state)


def check_transition(before: State, after: State) -> State:
    """`after`, or MachineryError when the table does not hold this step."""
    if after not in _table(before).get(before, set()):
        raise MachineryError(
            f"{type(before).__name__} cannot go from {before} to {after}.",
            next_step="This is a defect in Seamline; please report it.",
        )
    return after
