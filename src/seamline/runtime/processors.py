"""Which processors a task with a limit of so many stays on."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence


def list_processors() -> set[int]:
    """Those that this process may use, as far as the kernel tells."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


class ProcessorShares:
    """Deals out the least taken ones. Where none are known it sets no limit.

    >>> shares = ProcessorShares([0, 1, 2, 3])
    >>> shares.take(1.5), shares.take(1), shares.take(0.5)
    ((0, 1), (2,), (3,))
    >>> shares.give_back((2,))
    >>> shares.take(1)
    (2,)
    >>> shares.take(4)  # All of them: no limit.
    ()
    """

    def __init__(self, available: Iterable[int]) -> None:
        self._available = sorted(available)
        self._taken: Counter[int] = Counter()

    def take(self, cores: float | None) -> tuple[int, ...]:
        if cores is None or math.ceil(cores) >= len(self._available):
            return ()
        wanted = max(1, math.ceil(cores))
        by_use = sorted(self._available, key=lambda cpu: (self._taken[cpu], cpu))
        chosen = tuple(sorted(by_use[:wanted]))
        self._taken.update(chosen)
        return chosen

    def give_back(self, cpus: Sequence[int]) -> None:
        self._taken.subtract(cpus)
