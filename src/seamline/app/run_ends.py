"""Coroutines that wait for the end of a run: no thread each, and one query for all of them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from seamline.app.platform import Changes
from seamline.store.stores import Stores
from seamline.train.listing import ended_among

#: A busy engine commits often: what it commits within this time is looked at together.
_TOGETHER_S = 0.01
_LOG = logging.getLogger("seamline.run_ends")


class RunEnds:
    """For one event loop. Follows commits only while somebody waits."""

    def __init__(self, stores: Stores, changes: Changes) -> None:
        self._stores = stores
        self._changes = changes
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._look = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._is_closed = False

    async def wait(self, run_id: str, timeout_s: float) -> bool:
        """Whether the run has ended (or there is none) within the time; at once after `close`."""
        if self._is_closed:
            return True
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, set()).add(ended)
        self._look.set()
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow())
        try:
            await asyncio.wait_for(ended, timeout_s)
        except TimeoutError:
            return False
        finally:
            self._leave(run_id, ended)
        return True

    def close(self) -> None:
        """The server stops: everybody who waits gets what is known now. On the loop's thread."""
        self._is_closed = True
        self._tell(list(self._waiting))
        self._look.set()

    def _leave(self, run_id: str, ended: asyncio.Future[None]) -> None:
        others = self._waiting.get(run_id, set())
        others.discard(ended)
        if not others:
            self._waiting.pop(run_id, None)
            self._look.set()

    def _tell(self, run_ids: list[str]) -> None:
        for run_id in run_ids:
            for ended in self._waiting.pop(run_id, ()):
                if not ended.done():
                    ended.set_result(None)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()

        def committed() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._look.set)

        unsubscribe = self._changes.subscribe(committed)
        try:
            while self._waiting:
                self._look.clear()
                run_ids = list(self._waiting)
                self._tell(list(await asyncio.to_thread(ended_among, self._stores, run_ids)))
                if self._waiting:
                    await self._look.wait()
                    await asyncio.sleep(_TOGETHER_S)
        except Exception:
            _LOG.exception("who waits for runs is answered early")
            self._tell(list(self._waiting))
        finally:
            unsubscribe()
            self._follower = None
