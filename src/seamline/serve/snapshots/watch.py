"""Looks for new snapshots, and has each taken: at once, and again for one that could not be.

What taking means is up to whoever watches: one plane, or several that take it together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seamline.domain.errors import SeamlineError
from seamline.serve.metrics import Metrics
from seamline.serve.snapshots.warmth import Warmth

LOG = logging.getLogger(__name__)
POLL_S = 0.1
FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 300.0

#: What tells one written file from the next: an atomic replacement changes the inode.
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Problem:
    """Why the newest snapshot of an environment is not (wholly) served."""

    message: str
    version: int | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Attempt:
    """The last file looked at; `retry_at` is set (loop time) while it could not be taken."""

    stamp: Stamp
    pause_s: float
    retry_at: float | None = None


class SnapshotWatch:
    """`take(path)` returns or raises why the snapshot there is not wholly served; `state_of` says
    what is, for whoever waits for it."""

    def __init__(
        self,
        folder: Path,
        metrics: Metrics,
        take: Callable[[Path], Awaitable[Problem | None]],
        state_of: Callable[[str], dict[str, Any]],
    ) -> None:
        self.problems: dict[str, Problem] = {}
        self._folder, self._metrics = folder, metrics
        self._take, self._state_of = take, state_of
        self._attempts: dict[str, Attempt] = {}
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        tasks = [task for task in (self._watcher, *self._loads.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def tell(self) -> None:
        """Wakes whoever waits for a snapshot; the next to wait gets an event of their own."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def retry(self, environment: str, wait_s: float) -> None:
        """What could not be taken is tried again now; returns once that has ended."""
        problem = self.problems.get(environment)
        if problem is None:
            return
        seen = self._attempts.get(environment)
        if seen is not None and seen.retry_at is not None:
            seen.retry_at = asyncio.get_running_loop().time()
        await self.wait(environment, problem.version or 0, wait_s)

    async def wait(
        self, environment: str, version: int, wait_s: float, *, with_standbys: bool = False
    ) -> dict[str, Any]:
        """The environment's state, once snapshot `version` is wholly served or was refused, or when
        the time is up.

        Whoever asks has written the file before: it is looked for at once. `with_standbys`: wait
        until none is being warmed any more, too.
        """
        self._look_now()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self._is_settled(environment, version, with_standbys):
                    await self._changed.wait()
        return self._state_of(environment)

    def is_loading(self, environment: str) -> bool:
        """Whether a snapshot lies there that nobody knows anything of yet."""
        is_there = (self._folder / f"{environment}.json").exists()
        return is_there and self._is_behind(environment)

    def _is_settled(self, environment: str, version: int, with_standbys: bool) -> bool:
        state = self._state_of(environment)
        warming = any(one["state"] == Warmth.WARMING for one in state["standbys"])
        if with_standbys and (warming or self._is_behind(environment)):
            return False
        if state["version"] is not None and state["version"] >= version:
            return True
        return state["error"] is not None and not self._is_behind(environment)

    def _is_behind(self, environment: str) -> bool:
        """Whether a file lies there that was not tried yet, or is being tried."""
        seen, running = self._attempts.get(environment), self._loads.get(environment)
        if seen is None or (running is not None and not running.done()):
            return True
        return seen.stamp != _stamp(self._folder / f"{environment}.json")

    async def _watch(self) -> None:
        while True:
            self._look_now()
            await asyncio.sleep(POLL_S)

    def _look_now(self) -> None:
        try:
            self._look()
        except OSError:
            LOG.exception("The snapshots below %s cannot be listed.", self._folder)

    def _look(self) -> None:
        """Start a load for each new file, and again for one that could not be taken.

        A file that goes away changes nothing: only a new snapshot moves the pointer.
        """
        loop = asyncio.get_running_loop()
        for path in sorted(self._folder.glob("[!.]*.json")):
            environment, stamp = path.stem, _stamp(path)
            running = self._loads.get(environment)
            if stamp is None or (running is not None and not running.done()):
                continue
            seen = self._attempts.get(environment)
            if seen is None or seen.stamp != stamp:
                seen = self._attempts[environment] = Attempt(stamp, FIRST_RETRY_S)
            elif seen.retry_at is None or loop.time() < seen.retry_at:
                continue
            load = loop.create_task(self._load(environment, path, seen))
            load.add_done_callback(lambda _load: self.tell())
            self._loads[environment] = load

    async def _load(self, environment: str, path: Path, attempt: Attempt) -> None:
        problem: Problem | None
        try:
            problem = await self._take(path)
        except SeamlineError as error:
            problem = Problem(str(error))
        except Exception as error:
            LOG.exception("Snapshot %s broke the data plane.", path)
            problem = Problem(f"The snapshot {path} broke the data plane: {error!r}.")
        attempt.retry_at = None
        if problem is None:
            self.problems.pop(environment, None)
            return
        LOG.error("%s: snapshot not taken: %s", environment, problem.message)
        self._metrics.add("seamline_load_failures_total", (("environment", environment),))
        self.problems[environment] = problem
        attempt.retry_at = asyncio.get_running_loop().time() + attempt.pause_s
        attempt.pause_s = min(LONGEST_RETRY_S, attempt.pause_s * 2)


def _stamp(path: Path) -> Stamp | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size
    return None
