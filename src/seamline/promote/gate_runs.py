"""Runs of the gates' own: each has an id of its promotion, so it is started once, however often the
gate is asked."""

from __future__ import annotations

from uuid import UUID, uuid5

#: Of the gate `pipeline`: the release's run, and that of what is live.
CANDIDATE, INCUMBENT = "pipeline", "pipeline-of-the-incumbent"


def gate_run(promotion_id: str, gate: str, what: str) -> str:
    """The run of the gate for `what` (a pipeline, for one).

    >>> promotion = "01890000-0000-7000-8000-000000000000"
    >>> gate_run(promotion, "pipeline", "score") == gate_run(promotion, "pipeline", "score")
    True
    >>> gate_run(promotion, "pipeline", "score") == gate_run(promotion, "incumbent", "score")
    False
    """
    return str(uuid5(UUID(promotion_id), f"gate/{gate}/{what}"))
