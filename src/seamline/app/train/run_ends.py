"""Coroutines that wait for the end of a run."""

from __future__ import annotations

from seamline.app.platform import Changes
from seamline.app.waiters import Waiters
from seamline.store.stores import Stores
from seamline.train.views.listing import ended_among


class RunEnds(Waiters[str]):
    """By the run's id; one that there is not has ended, too."""

    def __init__(self, stores: Stores, changes: Changes) -> None:
        super().__init__(changes, lambda run_ids: ended_among(stores, run_ids))
