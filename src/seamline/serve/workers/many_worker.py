"""The plane's side of a worker that holds many models: frames out, replies in, by their ids."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
from asyncio.subprocess import Process
from typing import Any

from seamline.domain.errors import MachineryError, Unavailable
from seamline.serve.workers.frames import read_frame
from seamline.serve.workers.interpreter import start_interpreter
from seamline.serve.workers.wire import encode_frame
from seamline.serve.workers.worker import CLOSE_GRACE_S, LOAD_TIMEOUT_S

LOG = logging.getLogger(__name__)
SCRIPT = "many_main.py"

Reply = tuple[dict[str, Any], bytes]


class ProcessLost(Unavailable):
    """The process went away. `was_at_work`: with this request in hand, so perhaps because of it."""

    def __init__(self, message: str, *, was_at_work: bool) -> None:
        super().__init__(message)
        self.was_at_work = was_at_work


class ManyProcess:
    """One operating-system process with many models in it. Asked by any number at a time."""

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.memory_bytes = 0
        #: What the process occupied before the first model.
        self.bare_bytes = 0
        self._name = name
        self._ids = itertools.count(1)
        #: By id, in the order in which they were sent: what is asked, and who waits for it.
        self._asked: dict[int, tuple[str, asyncio.Future[Reply]]] = {}
        #: Its end was seen: what is asked from now on cannot have been the reason.
        self._is_over = False
        self._reader = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def start(cls, python: str, name: str) -> ManyProcess:
        """Without a model yet. Raises MachineryError or Unavailable."""
        try:
            process = await start_interpreter(python, SCRIPT)
        except OSError as error:
            raise MachineryError(
                f"{name}: its interpreter {python} does not start: {error}."
            ) from error
        worker = cls(process, name)
        try:
            await worker.ask({"op": "start", "parent": os.getpid()}, timeout_s=LOAD_TIMEOUT_S)
        except BaseException:
            await worker.kill()
            raise
        worker.bare_bytes = worker.memory_bytes
        return worker

    @property
    def is_alive(self) -> bool:
        return not self._is_over

    async def ask(self, header: dict[str, Any], body: bytes = b"", *, timeout_s: float) -> Reply:
        """ProcessLost when the process goes away, or is ended because it took too long."""
        stdin = self.process.stdin
        if stdin is None or not self.is_alive:
            raise ProcessLost(f"The worker of {self._name} has ended.", was_at_work=False)
        number = next(self._ids)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[number] = (header["op"], reply)
        try:
            with contextlib.suppress(ConnectionError, RuntimeError):  # the reader says why
                stdin.write(encode_frame({**header, "id": number}, body))
                await stdin.drain()
            async with asyncio.timeout(timeout_s):
                found = await asyncio.shield(reply)
        except TimeoutError:
            # Its own turn may never have come: who was at work is the one that is blamed.
            self._signal(signal.SIGKILL)
            found = await reply
        self.memory_bytes = found[0].get("memory_bytes", self.memory_bytes)
        return found

    async def close(self) -> None:
        """The end of its stdin ends it; one that does not listen is killed."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_GRACE_S):
                await self.process.wait()
        await self.kill()

    async def kill(self) -> None:
        self._signal(signal.SIGKILL)
        await self.wait()

    async def wait(self) -> int:
        """Its exit code, once nobody waits for a reply any more."""
        await asyncio.wait([self._reader])
        return await self.process.wait()

    async def _read(self) -> None:
        stdout = self.process.stdout
        try:
            while stdout is not None:
                header, body = await read_frame(stdout)
                _, reply = self._asked.pop(header["id"], ("", None))
                if reply is not None and not reply.done():
                    reply.set_result((header, body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception:
            LOG.exception("The worker of %s sent what is no frame.", self._name)
        finally:
            self._is_over = True
            self._signal(signal.SIGKILL)
            await self._tell_the_waiting(await self.process.wait())

    async def _tell_the_waiting(self, code: int) -> None:
        """Of the predictions the first was at work; of what is loaded, too."""
        at_work: set[str] = set()
        for kind, reply in list(self._asked.values()):
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            message = f"The worker of {self._name} ended {how}."
            if not reply.done():
                reply.set_exception(ProcessLost(message, was_at_work=kind not in at_work))
                reply.exception()  # whoever has gone away does not ask
            at_work.add(kind)

    def _signal(self, number: int) -> None:
        """To the whole group: a model may have started helpers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
