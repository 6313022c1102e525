"""What ingests are doing at this moment: for the bars of those who wait for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from seamline.data.ingest import Progress, Stage


@dataclass(frozen=True)
class IngestStage:
    """`total` is None as long as nobody knows how many rows there are."""

    stage: Stage
    done: int
    total: int | None


class Ingests:
    """By dataset; of two that wait for each other, the one that spoke last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, IngestStage] = {}

    @contextmanager
    def telling(self, dataset: str) -> Iterator[Progress]:
        """
        >>> ingests = Ingests()
        >>> with ingests.telling("flights") as tell:
        ...     tell(Stage.WRITING, 100, 336_776)
        ...     ingests.show("flights")
        {'stage': 'writing', 'done': 100, 'total': 336776}
        >>> ingests.show("flights")
        """

        def tell(stage: Stage, done: int, total: int | None) -> None:
            with self._lock:
                self._stages[dataset] = IngestStage(stage, done, total)

        try:
            yield tell
        finally:
            with self._lock:
                self._stages.pop(dataset, None)

    def show(self, dataset: str) -> dict[str, Any] | None:
        with self._lock:
            found = self._stages.get(dataset)
        return None if found is None else {**asdict(found), "stage": str(found.stage)}
