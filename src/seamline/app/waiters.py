"""Coroutines that wait for something in the database: no thread each, one look for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from seamline.app.platform import Changes

#: A busy engine commits often: what it commits within this time is looked at together.
_TOGETHER_S = 0.01
#: Of its time, a follower looks for this part at the most: the engine needs the processor, too.
_LOOKING_PART = 0.05
_LOG = logging.getLogger("seamline.waiters")
What = TypeVar("What", bound=Hashable)


class Waiters(Generic[What]):
    """For one event loop. Follows commits only while somebody waits."""

    def __init__(
        self,
        changes: Changes,
        look: Callable[[list[What]], Collection[What]],
        together_s: float = _TOGETHER_S,
    ) -> None:
        """`look`: those of what is waited for that have come; called on another thread."""
        self._changes = changes
        self._look_for = look
        self._together_s = together_s
        self._waiting: dict[What, set[asyncio.Future[None]]] = {}
        self._look = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._is_closed = False

    async def wait(self, what: What, timeout_s: float) -> bool:
        """Whether it has come within the time; at once after `close`."""
        if self._is_closed:
            return True
        came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(what, set()).add(came)
        self._look.set()
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow())
        try:
            await asyncio.wait_for(came, timeout_s)
        except TimeoutError:
            return False
        finally:
            self._leave(what, came)
        return True

    def close(self) -> None:
        """The server stops: everybody who waits gets what is known now. On the loop's thread."""
        self._is_closed = True
        self._tell(list(self._waiting))
        self._look.set()

    def _leave(self, what: What, came: asyncio.Future[None]) -> None:
        others = self._waiting.get(what, set())
        others.discard(came)
        if not others:
            self._waiting.pop(what, None)
            self._look.set()

    def _tell(self, what: Collection[What]) -> None:
        for one in what:
            for came in self._waiting.pop(one, ()):
                if not came.done():
                    came.set_result(None)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()

        def committed() -> None:
            if self._look.is_set():
                return  # It will look: to wake the loop for each commit costs more than the look.
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._look.set)

        unsubscribe = self._changes.subscribe(committed)
        try:
            while self._waiting:
                self._look.clear()
                began = loop.time()
                self._tell(await asyncio.to_thread(self._look_for, list(self._waiting)))
                took_s = loop.time() - began
                if self._waiting:
                    await self._look.wait()
                    await asyncio.sleep(max(self._together_s, took_s / _LOOKING_PART))
        except Exception:
            _LOG.exception("who waits is answered early")
            self._tell(list(self._waiting))
        finally:
            unsubscribe()
            self._follower = None
