"""A plane of a group: takes and drops snapshots as its supervisor says, listens when told to."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from typing import Any

from seamline.serve.group.channel import Body, Channel, ChannelLost
from seamline.serve.group.counts import write_dump
from seamline.serve.metrics import Metrics
from seamline.serve.plane import Plane, Prepared
from seamline.serve.snapshots.snapshot import open_snapshot
from seamline.serve.snapshots.watch import Problem


class Member:
    """`given`: the socket that leads to the supervisor. It is the plane's steering, too: what
    concerns all is asked of the supervisor."""

    def __init__(self, given: socket.socket) -> None:
        self._given = given
        self._prepared: dict[str, Prepared] = {}
        self._may_open, self._is_open = asyncio.Event(), asyncio.Event()
        self._channel: Channel | None = None
        self._running: asyncio.Task[None] | None = None

    async def join(self, plane: Plane, metrics: Metrics) -> bool:
        """Returns once it may listen: it serves what the others do by then. False where the
        supervisor has gone instead."""
        self._plane, self._metrics = plane, metrics
        plane.on_settled = self._tell_standbys
        reader, writer = await asyncio.open_unix_connection(sock=self._given)
        self._channel = Channel(reader, writer, self._answer)
        self._running = asyncio.get_running_loop().create_task(self._channel.run())
        opening = asyncio.get_running_loop().create_task(self._may_open.wait())
        await asyncio.wait([opening, self._running], return_when=asyncio.FIRST_COMPLETED)
        opening.cancel()
        return self._may_open.is_set()

    def opened(self) -> None:
        self._is_open.set()

    async def scrape(self) -> str:
        text: str = (await self._ask("scrape"))["text"]
        return text

    async def wait_for_snapshot(
        self, environment: str, version: int, wait_s: float, *, with_standbys: bool
    ) -> dict[str, Any]:
        return await self._ask(
            "wait",
            environment=environment,
            version=version,
            wait_s=wait_s,
            with_standbys=with_standbys,
        )

    async def load(self, environment: str, endpoint: str) -> None:
        await self._ask("load", environment=environment, endpoint=endpoint)

    async def unload(self, environment: str, endpoint: str) -> None:
        await self._ask("unload", environment=environment, endpoint=endpoint)

    async def _ask(self, op: str, **body: Any) -> Body:
        if self._channel is None:
            raise ChannelLost("The supervisor of this process was not found yet.")
        return await self._channel.ask(op, **body)

    async def _answer(self, op: str, body: Body) -> Body:
        match op:
            case "prepare":
                return await self._prepare(body["environment"], body["envelope"].encode())
            case "commit":
                self._plane.commit(self._prepared.pop(body["environment"]))
                return self._settle(body)
            case "drop":
                if self._prepared.pop(body["environment"], None) is not None:
                    self._plane.drop(body["environment"])
                return self._settle(body)
            case "load":
                await self._plane.wake(body["environment"], body["endpoint"])
            case "unload":
                await self._plane.unload(body["environment"], body["endpoint"])
            case "counts":
                return write_dump(self._metrics)
            case "open":
                self._may_open.set()
                await self._is_open.wait()
        return {}

    async def _prepare(self, environment: str, envelope: bytes) -> Body:
        snapshot = open_snapshot(envelope, environment, self._plane.key())
        prepared = await self._plane.prepare(snapshot)
        self._prepared[environment] = prepared
        return {
            "version": snapshot.version,
            "release": snapshot.release,
            "failures": dict(prepared.failures),
        }

    def _settle(self, body: Body) -> Body:
        """Why the newest one is not (wholly) served, as the supervisor found in all of them."""
        environment, problem = body["environment"], body["problem"]
        if problem is None:
            self._plane.problems.pop(environment, None)
        else:
            self._plane.problems[environment] = Problem(**problem)
        return {"standbys": self._plane.standbys_of(environment)}

    def _tell_standbys(self) -> None:
        if self._channel is not None:
            served = self._plane.taken_environments()
            self._channel.tell(
                "standbys", of={name: self._plane.standbys_of(name) for name in served}
            )


def end_with_supervisor(grace_s: float) -> None:
    """From now on: stdin ends with the supervisor, however that ends; then this process drains, and
    ends by force where it cannot. The event loop may be what is stuck, so a thread looks."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(grace_s)
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
