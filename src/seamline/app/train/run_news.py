"""Coroutines that wait for anything to happen in a run."""

from __future__ import annotations

from dataclasses import dataclass

from seamline.app.platform import Changes
from seamline.app.waiters import Waiters
from seamline.store.stores import Stores
from seamline.train.views.following import stamps_of

#: Nobody reads faster; a busy run has news all the time.
_TOGETHER_S = 0.05


@dataclass(frozen=True)
class Known:
    """A run as a follower has seen it last."""

    run_id: str
    stamp: str


class RunNews(Waiters[Known]):
    """Who waits is told once the run looks different from what they know."""

    def __init__(self, stores: Stores, changes: Changes) -> None:
        def changed(waited_for: list[Known]) -> list[Known]:
            stamps = stamps_of(stores, {one.run_id for one in waited_for})
            return [one for one in waited_for if stamps.get(one.run_id) != one.stamp]

        super().__init__(changes, changed, _TOGETHER_S)
