"""One process of a group, as its supervisor has it: started, asked, ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from seamline.domain.errors import Unavailable
from seamline.serve.group.channel import Body, Channel


@dataclass
class PlaneProcess:
    number: int
    process: Process
    channel: Channel
    running: asyncio.Task[None]
    #: Loop time of its last answer.
    heard_at: float = 0.0
    #: Environment → its standbys, as the process told last.
    standbys: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    async def ask(self, op: str, timeout_s: float, **body: Any) -> Body:
        """Unavailable where it does not answer in time."""
        try:
            async with asyncio.timeout(timeout_s):
                told = await self.channel.ask(op, **body)
        except TimeoutError:
            raise Unavailable(
                f"Process {self.number} of the data plane (pid {self.process.pid}) did not answer "
                f"within {timeout_s:g} s."
            ) from None
        self.heard_at = asyncio.get_running_loop().time()
        return told

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def end(self, grace_s: float = 0.0) -> None:
        """It drains for as long as it may; what is left then is killed."""
        if grace_s:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.process.wait()
        if self.process.returncode is None:
            self.kill()
        await self.process.wait()
        await asyncio.wait([self.running])


async def start_plane(
    number: int,
    arguments: list[str],
    answer: Callable[[PlaneProcess, str, Body], Awaitable[Body]],
) -> PlaneProcess:
    """`arguments`: what the process is told beside the end of the channel that is its own."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "seamline.dataplane", *arguments,
            "--member", str(theirs.fileno()),
            stdin=PIPE, stdout=DEVNULL, pass_fds=[theirs.fileno()],
        )  # fmt: skip
    reader, writer = await asyncio.open_unix_connection(sock=ours)

    async def answered(op: str, body: Body) -> Body:
        return await answer(plane, op, body)

    channel = Channel(reader, writer, answered)
    running = asyncio.get_running_loop().create_task(channel.run())
    plane = PlaneProcess(number, process, channel, running)
    return plane
