"""The plane's side of a serving worker: started, asked, watched, started again.

The model runs in its own process and interpreter: the plane never imports user code (law 1).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from typing import Any

from seamline.domain.errors import DigestMismatch, MachineryError, SeamlineError, Unavailable
from seamline.serve.datatypes import Columns
from seamline.serve.engine import EngineHung, EngineLost, ModelFailed
from seamline.serve.flat_rows import Given
from seamline.serve.snapshots.snapshot import EndpointSpec
from seamline.serve.workers.ahead import SCRIPT, StartedAhead, start_header
from seamline.serve.workers.frames import NoFrame, decode_outputs, pack_rows, read_frame
from seamline.serve.workers.interpreter import start_interpreter
from seamline.serve.workers.wire import encode_frame

LOG = logging.getLogger(__name__)
LOAD_TIMEOUT_S = 120.0
PREDICT_TIMEOUT_S = 30.0
CLOSE_GRACE_S = 3.0
FIRST_PAUSE_S = 0.1
#: Requests that come while a worker is started again wait for it.
COME_BACK_S = 10.0
LONGEST_PAUSE_S = 10.0
#: A worker that lived this long starts again without a pause.
HEALTHY_AFTER_S = 60.0


class WorkerProcess:
    """One operating-system process with one model in it. Answers one frame at a time."""

    def __init__(self, spec: EndpointSpec, process: Process) -> None:
        self.spec = spec
        self.process = process
        self.samples = 0
        #: One sample row of the wheel, for the plane's own probe.
        self.probe: dict[str, Any] | None = None
        #: Nothing that it was asked will be answered any more.
        self.is_lost = False
        #: If it ends, what it was asked may be the reason.
        self.was_asked = False
        self._turn = asyncio.Lock()

    async def finish(self) -> None:
        """Ends it after the rows that it works on."""
        async with self._turn:
            await self.close()

    @classmethod
    async def start(cls, spec: EndpointSpec, ahead: StartedAhead | None = None) -> WorkerProcess:
        """A worker that has verified, loaded and proven its model; or why not. `ahead` may have
        begun it.

        DigestMismatch (the wheel's bytes are not the approved ones) or MachineryError.
        """
        header = start_header(spec)
        process = None if ahead is None else ahead.take(spec.python, header)
        told = b"" if process is not None else encode_frame(header)
        try:
            worker = cls(spec, process or await start_interpreter(spec.python, SCRIPT))
        except OSError as error:
            raise MachineryError(
                f"Endpoint {spec.endpoint}: its interpreter {spec.python} does not start: {error}."
            ) from error
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                header, _ = await worker._exchange(told)
            _check_ready(spec, header)
            worker.samples, worker.probe = int(header["samples"]), header["probe"]
        except TimeoutError:
            await worker.kill()
            raise MachineryError(
                f"{_name(spec)} was not ready within {LOAD_TIMEOUT_S:.0f} s."
            ) from None
        except BaseException:
            await worker.kill()
            raise
        return worker

    async def predict(self, given: Given, rows: int) -> Columns:
        """ModelFailed when the model raised, Unavailable when the process went away."""
        frame = encode_frame(*pack_rows(given, self.spec.signature.inputs, rows))
        self.was_asked = True
        try:
            async with self._turn, asyncio.timeout(PREDICT_TIMEOUT_S):
                header, body = await self._exchange(frame)
        except TimeoutError:
            self._lose()
            raise EngineHung(
                f"{_name(self.spec)} did not answer within {PREDICT_TIMEOUT_S:.0f} s and was ended."
            ) from None
        except asyncio.CancelledError:
            # A reply that nobody reads would be taken for that of the next request.
            self._lose()
            raise
        if header["op"] == "failed":
            LOG.warning("%s failed:\n%s", _name(self.spec), header["traceback"])
            raise ModelFailed(
                f"{_name(self.spec)} failed on these rows: {header['type']}: {header['message']}"
            )
        return decode_outputs(header, body)

    async def close(self) -> None:
        """The end of its stdin ends it; a worker that does not listen is killed."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_GRACE_S):
                await self.process.wait()
        except TimeoutError:
            pass
        finally:
            await self.kill()

    async def kill(self) -> None:
        self._signal(signal.SIGKILL)
        await self.process.wait()

    async def _exchange(self, frame: bytes) -> tuple[dict[str, Any], bytes]:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise MachineryError("A worker without pipes.")
        try:
            stdin.write(frame)
            await stdin.drain()
            return await read_frame(stdout)
        except NoFrame as error:
            self._lose()
            raise EngineLost(
                f"The worker of {_name(self.spec)} sent what is no answer and was ended: {error}."
            ) from error
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError) as error:
            self.is_lost = True
            code = await self.process.wait()
            raise EngineLost(f"The worker of {_name(self.spec)} ended {_how(code)}.") from error

    def end_helpers(self) -> None:
        """What the model has started and left behind when it ended."""
        self._signal(signal.SIGKILL)

    def _lose(self) -> None:
        self.is_lost = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """To the whole group: a model may have started helpers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class ModelWorker:
    """Keeps one WorkerProcess alive: when it ends, another is started. Ever slower where it does
    not start or ends by itself; rows that end it keep nobody else waiting longer each time.

    It may rest: its process ends and gives its memory back, until it is asked or woken.
    """

    def __init__(
        self,
        first: WorkerProcess,
        on_restart: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self.spec = first.spec
        self.samples = first.samples
        self.probe = first.probe
        self.is_resting = False
        #: Why it does not answer now, where it does not.
        self.problem = ""
        self._current: WorkerProcess | None = first
        self._is_closed = False
        self._starting: asyncio.Task[WorkerProcess] | None = None
        self._on_restart = on_restart
        self._changing = asyncio.Lock()
        #: Not set from a loss until it was tried once to start again.
        self._was_tried = asyncio.Event()
        self._was_tried.set()
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    @classmethod
    async def start(
        cls,
        spec: EndpointSpec,
        on_restart: Callable[[], None] = lambda: None,
        ahead: StartedAhead | None = None,
    ) -> ModelWorker:
        return cls(await WorkerProcess.start(spec, ahead), on_restart)

    @property
    def is_alive(self) -> bool:
        return self._current is not None

    @property
    def can_answer(self) -> bool:
        """Now, or once it has loaded what rests."""
        return self.is_alive or self.is_resting

    @property
    def pid(self) -> int | None:
        return None if self._current is None else self._current.process.pid

    async def predict(self, given: Given, rows: int) -> Columns:
        if self._current is None and self.is_resting:
            await self.wake()
        if self._current is None or self._current.is_lost:
            await self.come_back()
        if self._current is None:
            raise Unavailable(self.problem, next_step="It is being started again; try again.")
        return await self._current.predict(given, rows)

    async def come_back(self) -> None:
        """The first start after a loss is waited for; where it failed, nobody is kept waiting."""
        if self._current is not None and self._current.is_lost:
            self._was_tried.clear()  # the watcher has not seen it yet
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COME_BACK_S):
                await self._was_tried.wait()

    async def wake(self) -> None:
        """Returns once it is loaded, from bytes that were verified again; raises why it is not."""
        async with self._changing:
            if self._current is not None or self._is_closed:
                return
            await self._stop_watching()
            try:
                if self._current is None:  # the watcher may just have started it
                    self._current = await self._start_now()
                self.is_resting = False
            except SeamlineError as error:
                self.problem = str(error)
                raise
            finally:
                if not self.is_resting and not self._is_closed:
                    self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def rest(self) -> None:
        """Its memory is free when this returns: rows that it works on are answered first."""
        async with self._changing:
            if self.is_resting or self._is_closed:
                return
            await self._stop_watching()
            current, self._current = self._current, None
            self._was_tried.set()
            self.is_resting = True
            self.problem = f"{_name(self.spec)} was unloaded; it is loaded when it is asked."
            if current is not None:
                await current.finish()

    async def close(self) -> None:
        self._is_closed = True
        if self._starting is not None:
            self._starting.cancel()
        async with self._changing:
            await self._stop_watching()
            current, self._current = self._current, None
            self._was_tried.set()
            self.is_resting = False
            self.problem = f"{_name(self.spec)} is no longer served."
            if current is not None:
                await current.close()

    async def _start_now(self) -> WorkerProcess:
        """`close` ends it."""
        self._starting = asyncio.get_running_loop().create_task(WorkerProcess.start(self.spec))
        try:
            return await self._starting
        except asyncio.CancelledError:
            if not self._is_closed:
                raise
            raise Unavailable(f"{_name(self.spec)} is no longer served.") from None
        finally:
            self._starting = None

    async def _stop_watching(self) -> None:
        self._watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watcher

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_S
        while True:
            if self._current is not None:
                started = loop.time()
                code = await self._current.process.wait()
                lived = loop.time() - started
                self._was_tried.clear()
                ended, self._current = self._current, None
                ended.end_helpers()
                self.problem = f"The worker of {_name(self.spec)} ended {_how(code)}."
                LOG.error("%s It is started again.", self.problem)
                self._on_restart()
                if ended.was_asked or lived > HEALTHY_AFTER_S:
                    pause = FIRST_PAUSE_S
            while self._current is None:
                await self._sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                self._current = await self._try_start()
                self._was_tried.set()

    async def _try_start(self) -> WorkerProcess | None:
        try:
            return await WorkerProcess.start(self.spec)
        except SeamlineError as error:
            self.problem = str(error)
            LOG.error("%s", error)
            return None


def _check_ready(spec: EndpointSpec, header: dict[str, Any]) -> None:
    if header["op"] == "ready":
        return
    if "actual" in header:
        raise DigestMismatch(
            f"Wheel {spec.wheel_name} of endpoint {spec.endpoint}",
            expected=header["expected"],
            actual=header["actual"],
        )
    LOG.error("%s does not load:\n%s", _name(spec), header["traceback"])
    raise MachineryError(f"{_name(spec)} does not load: {header['type']}: {header['message']}")


def _name(spec: EndpointSpec) -> str:
    return f"{spec.model} {spec.model_version} (endpoint {spec.endpoint})"


def _how(code: int) -> str:
    """
    >>> _how(-9), _how(1)
    ('by signal 9', 'with exit code 1')
    """
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"
