"""The phases of a retraining, and the steps between them."""

from __future__ import annotations

from enum import StrEnum

from seamline.domain.errors import MachineryError


class RetrainingPhase(StrEnum):
    REQUESTED = "requested"
    #: The training pipeline runs.
    TRAINING = "training"
    #: Its model becomes a package: the candidate.
    PACKAGING = "packaging"
    #: The candidate meets the incumbent on the same rows.
    COMPARING = "comparing"
    #: The candidate is better; a release holds it.
    RELEASED = "released"
    #: The candidate is not better, or not clearly: the incumbent stays.
    KEPT = "kept"
    #: Machinery, or the training pipeline, broke.
    ERRORED = "errored"

    @property
    def is_ended(self) -> bool:
        return not _NEXT[self]


_NEXT: dict[RetrainingPhase, frozenset[RetrainingPhase]] = {
    RetrainingPhase.REQUESTED: frozenset({RetrainingPhase.TRAINING, RetrainingPhase.ERRORED}),
    RetrainingPhase.TRAINING: frozenset({RetrainingPhase.PACKAGING, RetrainingPhase.ERRORED}),
    RetrainingPhase.PACKAGING: frozenset({RetrainingPhase.COMPARING, RetrainingPhase.ERRORED}),
    RetrainingPhase.COMPARING: frozenset(
        {RetrainingPhase.RELEASED, RetrainingPhase.KEPT, RetrainingPhase.ERRORED}
    ),
    RetrainingPhase.RELEASED: frozenset(),
    RetrainingPhase.KEPT: frozenset(),
    RetrainingPhase.ERRORED: frozenset(),
}


def check_step(before: RetrainingPhase, after: RetrainingPhase) -> RetrainingPhase:
    """`after`, or MachineryError when the table does not hold this step.

    >>> check_step(RetrainingPhase.REQUESTED, RetrainingPhase.TRAINING)
    <RetrainingPhase.TRAINING: 'training'>
    """
    if after not in _NEXT[before]:
        raise MachineryError(
            f"A retraining cannot go from {before} to {after}.",
            next_step="This is a defect in Seamline; please report it.",
        )
    return after
