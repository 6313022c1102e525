"""Questions and answers both ways over one socket, between a supervisor and one of its planes.

Frames are JSON behind their length. What is asked is answered in whatever order it is done.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from seamline.domain.errors import MachineryError, SeamlineError, Unavailable, class_of_code

LOG = logging.getLogger(__name__)
_LENGTH = struct.Struct("<I")

Body = dict[str, Any]
Answer = Callable[[str, Body], Awaitable[Body]]


class ChannelLost(Unavailable):
    """The process at the other end has gone."""


class Channel:
    """`answer(op, body)` is what the other end gets for its questions; what it raises is raised
    there."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer
    ) -> None:
        self._reader, self._writer, self._answer = reader, writer, answer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Body]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self.is_lost = False

    async def run(self) -> None:
        """Until the other end has gone."""
        try:
            while True:
                self._take(await self._read())
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            pass
        finally:
            self.is_lost = True
            self._writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ChannelLost("The process at the other end has gone."))

    async def ask(self, op: str, **body: Any) -> Body:
        if self.is_lost:
            raise ChannelLost("The process at the other end has gone.")
        number = next(self._numbers)
        waiting: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            self._send({"id": number, "op": op, "body": body})
            return await waiting
        finally:
            del self._waiting[number]

    def tell(self, op: str, **body: Any) -> None:
        """Nobody waits for what becomes of it."""
        if not self.is_lost:
            self._send({"id": 0, "op": op, "body": body})

    def _send(self, message: Body) -> None:
        text = msgspec.json.encode(message)
        self._writer.write(_LENGTH.pack(len(text)) + text)

    async def _read(self) -> Body:
        (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        return msgspec.json.decode(await self._reader.readexactly(length), type=Body)

    def _take(self, message: Body) -> None:
        if "op" in message:
            task = asyncio.get_running_loop().create_task(self._reply(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            return
        waiting = self._waiting.get(message["id"])
        if waiting is None or waiting.done():
            return
        error = message.get("error")
        if error is None:
            waiting.set_result(message["body"])
        else:
            kind = class_of_code(error["code"]) or Unavailable
            waiting.set_exception(kind(error["message"], next_step=error["next_step"]))

    async def _reply(self, message: Body) -> None:
        try:
            reply: Body = {"body": await self._answer(message["op"], message["body"])}
        except SeamlineError as error:
            reply = {"error": _told(error)}
        except Exception as error:
            LOG.exception("%s broke.", message["op"])
            reply = {"error": _told(MachineryError(f"{message['op']} broke: {error!r}."))}
        if message["id"] and not self.is_lost:
            self._send({"id": message["id"], **reply})


def _told(error: SeamlineError) -> Body:
    return {"code": error.code, "message": error.message, "next_step": error.next_step}
