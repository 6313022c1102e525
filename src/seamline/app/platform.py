"""What use cases are handed: the stores, the owner, the key, the engine and what runs tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from seamline.app.data.ingest_progress import Ingests
from seamline.app.declarations import Declarations
from seamline.app.promote.gate_work import GateWork
from seamline.app.train.team_slots import TeamSlots
from seamline.app.trust.keep_access import AccessKeeper
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import Stores
from seamline.train.engine.counts import EngineCounts
from seamline.train.engine.engine import Engine
from seamline.train.schedule.scheduler import Scheduler
from seamline.trust.keys import KEYS, SigningKey, load_or_create_key


class Changes:
    """Lets a request wait for the next committed write instead of polling the database."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0
        self._listeners: set[Callable[[], None]] = set()

    def notify(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """`listener` is called after each commit, on the thread that committed, so it has to be
        quick (`loop.call_soon_threadsafe`, for one). Returns what ends that."""
        with self._condition:
            self._listeners.add(listener)

        def unsubscribe() -> None:
            with self._condition:
                self._listeners.discard(listener)

        return unsubscribe

    def wait_until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Whether `holds()` came true within the time; looked at again after each commit."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._condition:
                seen = self._count
            if holds():
                return True
            with self._condition:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                if self._count == seen:
                    self._condition.wait(min(left, 1.0))


@dataclass(frozen=True)
class Platform:
    stores: Stores
    #: The operating system's user who started the server: loopback's principal.
    owner: str
    changes: Changes
    declarations: Callable[[], Declarations]
    team_slots: TeamSlots
    environments: EnvironmentCache
    runner: TaskRunner
    engine: Engine
    scheduler: Scheduler
    #: Who may ask the data plane.
    access: AccessKeeper
    #: Where the data plane answers; None when none runs.
    data_plane_url: Callable[[], str | None]
    #: What the engine has to do at this moment.
    counts: Callable[[], EngineCounts] = EngineCounts
    #: What ingests are doing at this moment.
    ingests: Ingests = field(default_factory=Ingests)
    #: What gates do that takes its time.
    gate_work: GateWork = field(default_factory=GateWork)

    @property
    def key(self) -> SigningKey:
        """What the workspace signs with at this moment: read when it is needed, for it rotates."""
        return load_or_create_key(self.root / KEYS)

    @property
    def root(self) -> Path:
        return self.stores.root
