"""Swaps of different environments may go on side by side; nobody joins while one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A plane that joined in the middle of a swap would miss one half of it."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._swaps = 0
        self._is_joining = False

    @asynccontextmanager
    async def swap(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_joining)
            self._swaps += 1
        try:
            yield
        finally:
            async with self._changed:
                self._swaps -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def join(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_joining and not self._swaps)
            self._is_joining = True
        try:
            yield
        finally:
            async with self._changed:
                self._is_joining = False
                self._changed.notify_all()
