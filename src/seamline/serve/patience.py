"""How long somebody waits for an answer, and how it is noticed that they wait no longer.

Both end in the same way: the rows leave the queue, and what the model was given already is
answered to nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from seamline.domain.errors import InvalidInput, Unavailable

#: Nobody is kept waiting for longer, whatever they ask for.
LONGEST_WAIT_S = 60.0

T = TypeVar("T")
#: Told what to call once the client is gone; None: nothing any more.
Watch = Callable[[Callable[[], None] | None], None]


class TookTooLong(Unavailable):
    """There was no answer within the time that the caller, or the server, gave."""


class ClientGone(Unavailable):
    """Nobody is there to be answered."""


class Longest:
    """Whoever waits as long as anybody may, which nearly all do: they are due in the order in which
    they came, so that one timer serves them all."""

    def __init__(self, limit_s: float = LONGEST_WAIT_S) -> None:
        self.limit_s = limit_s
        self._due_s: dict[asyncio.Future[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reply: asyncio.Future[Any]) -> None:
        loop = reply.get_loop()
        self._due_s[reply] = loop.time() + self.limit_s
        if self._timer is None:
            self._timer = loop.call_later(self.limit_s, self._look, loop)

    def remove(self, reply: asyncio.Future[Any]) -> None:
        del self._due_s[reply]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for reply, due_s in self._due_s.items():
            if due_s > loop.time():
                self._timer = loop.call_at(due_s, self._look, loop)
                return
            _give_up(reply, partial(_took_too_long, self.limit_s))


class Patience(NamedTuple):
    """`limit_s` from when it is asked for; `watch` where the wire can tell that a client went."""

    limit_s: float = LONGEST_WAIT_S
    watch: Watch | None = None

    async def wait_for(self, reply: asyncio.Future[T], longest: Longest) -> T:
        """TookTooLong or ClientGone, instead of the reply, once it is no use."""
        timer = None
        if self.limit_s < longest.limit_s:
            why = partial(_took_too_long, self.limit_s)
            timer = reply.get_loop().call_later(self.limit_s, _give_up, reply, why)
        else:
            longest.add(reply)
        if self.watch is not None:
            self.watch(partial(_give_up, reply, _client_gone))
        try:
            return await reply
        finally:
            if timer is None:
                longest.remove(reply)
            else:
                timer.cancel()
            if self.watch is not None:
                self.watch(None)


def _took_too_long(limit_s: float) -> TookTooLong:
    return TookTooLong(
        f"There was no answer within {limit_s:g} s.",
        next_step=f"Try again, send fewer rows, or allow more time (at most {LONGEST_WAIT_S:g} s).",
    )


def _client_gone() -> ClientGone:
    return ClientGone("The client went away before the answer.")


def _give_up(reply: asyncio.Future[Any], why: Callable[[], Exception]) -> None:
    if not reply.done():
        reply.set_exception(why())


def limit_of(parameter_us: object, header_s: str | None) -> float:
    """Seconds: the least of what the request names and the server's own limit.

    `parameter_us`: the request parameter `timeout`, in microseconds as Triton has it.
    `header_s`: the header `Request-Timeout`, in seconds.

    >>> limit_of(250_000, None), limit_of(None, "0.5"), limit_of(None, None), limit_of(0, None)
    (0.25, 0.5, 60.0, 60.0)
    """
    limit = LONGEST_WAIT_S
    if parameter_us is not None:
        if isinstance(parameter_us, bool) or not isinstance(parameter_us, int) or parameter_us < 0:
            raise InvalidInput(
                f"The parameter timeout is {parameter_us!r}.",
                next_step="Send whole microseconds, 0 for none.",
            )
        limit = min(limit, parameter_us / 1e6 or limit)
    if header_s is not None:
        try:
            given = float(header_s)
        except ValueError:
            given = -1.0
        if not given > 0:
            raise InvalidInput(
                f"The header Request-Timeout is {header_s!r}.",
                next_step="Send seconds, more than 0.",
            )
        limit = min(limit, given)
    return limit
