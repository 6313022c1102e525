"""The models of one requirement set: loaded when first asked for, in one process that is kept up.

They share the process, and so its fate: a model that ends it, or never returns, is the one that is
refused for a while; what the others had in hand is asked once more of the process that takes its
place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from seamline.domain.errors import SeamlineError, Unavailable
from seamline.serve.datatypes import Columns
from seamline.serve.engine import ModelFailed
from seamline.serve.models.batching import Batcher
from seamline.serve.snapshots.families import Family
from seamline.serve.snapshots.snapshot import Column
from seamline.serve.workers.frames import decode_outputs, pack_rows
from seamline.serve.workers.many_worker import ManyProcess, ProcessLost, Reply
from seamline.serve.workers.worker import (
    FIRST_PAUSE_S,
    LOAD_TIMEOUT_S,
    LONGEST_PAUSE_S,
    PREDICT_TIMEOUT_S,
)

LOG = logging.getLogger(__name__)
#: How long a model that did not load, or ended the process, is not tried again.
FIRST_STRIKE_S = 1.0
LONGEST_STRIKE_S = 300.0
#: How long one waits for a package that is fetched because of it.
FETCH_WAIT_S = 10.0
FETCH_LOOK_S = 0.05
#: How long a request waits for a process that is being started again.
RESTART_WAIT_S = 5.0


Want = Callable[[str], bool]


@dataclass(frozen=True)
class Strike:
    until: float
    pause_s: float
    problem: str


def nobody_brings(digest: str) -> bool:
    """What is not here does not come."""
    return False


class Shelf:
    """`want(digest)` asks for a package that is not here: whether somebody is going to bring it."""

    def __init__(
        self,
        name: str,
        python: str,
        family: Family,
        outputs: tuple[Column, ...],
        on_batch: Callable[[int], None],
        on_restart: Callable[[], None],
        want: Want,
    ) -> None:
        self.problem = ""
        #: Places of the models that the process holds.
        self.loaded: set[int] = set()
        self._name, self._python, self._family = name, python, family
        self._outputs = [(column.name, column.datatype) for column in outputs]
        self._on_batch, self._on_restart, self._want = on_batch, on_restart, want
        self._process: ManyProcess | None = None
        self._batchers: dict[int, Batcher] = {}
        self._loads: dict[int, asyncio.Task[None]] = {}
        self._strikes: dict[int, Strike] = {}
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.probes: dict[int, dict[str, object] | None] = {}

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive

    @property
    def memory_bytes(self) -> int:
        return 0 if self._process is None else self._process.memory_bytes

    @property
    def bytes_per_model(self) -> int:
        """What one of them takes on average, of what is loaded."""
        if self._process is None or not self.loaded:
            return 0
        grown = self._process.memory_bytes - self._process.bare_bytes
        return max(1, grown // len(self.loaded))

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.process.pid

    async def start(self) -> None:
        """Raises why the process does not start."""
        self._process = await ManyProcess.start(self._python, self._name)
        self._up.set()
        self._keeper = asyncio.get_running_loop().create_task(self._keep_up())

    async def close(self) -> None:
        tasks = [one for one in (self._keeper, *self._loads.values()) if one]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        process, self._process = self._process, None
        self.problem = f"{self._name} is no longer served."
        self.loaded.clear()
        if process is not None:
            await process.close()

    async def load(self, place: int) -> bool:
        """Returns once the process holds it: whether it had to be loaded. Raises why not."""
        if place in self.loaded:
            return False
        for is_last in (False, True):
            try:
                await self._loading(place)
                break
            except ProcessLost as lost:
                # Another may have ended the process: then it is worth one more try.
                if lost.was_at_work or is_last:
                    raise Unavailable(str(lost)) from lost
        return True

    async def _loading(self, place: int) -> None:
        self._refuse_the_struck(place)
        task = self._loads.get(place)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(place))
            self._loads[place] = task
            task.add_done_callback(lambda done: self._loaded(place, done))
        # One request's end is not that of what others wait for.
        await asyncio.shield(task)

    async def drop(self, places: Iterable[int]) -> None:
        """They give back their memory; predictions that were asked before are answered first."""
        members = [place for place in places if place in self.loaded]
        self.loaded -= set(members)
        for place in members:
            self._batchers.pop(place, None)
        if self._process is not None and members:
            with contextlib.suppress(ProcessLost):
                await self._process.ask(
                    {"op": "drop", "members": members}, timeout_s=PREDICT_TIMEOUT_S
                )

    async def predict(self, place: int, columns: Columns, rows: int) -> Columns:
        """The outputs of these rows by one model, which should be loaded. What is asked of it in
        one turn of the event loop, or while it is at work, is one call."""
        batcher = self._batchers.get(place)
        if batcher is None:
            predict = partial(self._answer, place)
            batcher = self._batchers[place] = Batcher(predict, on_batch=self._on_batch)
        return await batcher.submit(columns, rows)

    async def _answer(self, place: int, columns: Columns, rows: int) -> Columns:
        for is_last in (False, True):
            try:
                return await self._ask(place, columns, rows)
            except ProcessLost as lost:
                if lost.was_at_work:
                    self._strike(place, str(lost))
                # Another may have ended the process: then it is worth one more try.
                if lost.was_at_work or is_last:
                    raise Unavailable(str(lost)) from lost
        raise AssertionError("It is tried twice.")

    async def _ask(self, place: int, columns: Columns, rows: int) -> Columns:
        await self._wait_until_up()
        await self.load(place)  # the process may be another one by now
        header, body = pack_rows(columns, self._family.inputs, rows)
        reply = await self._exchange({**header, "member": place}, body, PREDICT_TIMEOUT_S)
        if reply[0]["op"] == "absent":
            self.loaded.discard(place)
            return await self._ask(place, columns, rows)
        if reply[0]["op"] == "failed":
            LOG.warning("%s failed:\n%s", self.say(place), reply[0]["traceback"])
            raise ModelFailed(
                f"{self.say(place)} failed on these rows: {reply[0]['type']}: {reply[0]['message']}"
            )
        return decode_outputs(*reply)

    async def _load(self, place: int) -> None:
        member, family = self._family.members[place], self._family
        header = {
            "op": "load",
            "member": place,
            "wheel_path": member.wheel_path,
            "package_digest": member.package_digest,
            "module": member.module,
            "inputs": [(column.name, column.datatype) for column in family.inputs],
            "outputs": self._outputs,
        }
        await self._wait_for_package(place)
        await self._wait_until_up()
        process = self._process
        try:
            reply, _ = await self._exchange(header, b"", LOAD_TIMEOUT_S)
        except ProcessLost as lost:
            if lost.was_at_work:
                self._strike(place, str(lost))
            raise
        if reply["op"] == "failed":
            LOG.error("%s does not load:\n%s", self.say(place), reply["traceback"])
            problem = f"{self.say(place)} does not load: {reply['type']}: {reply['message']}"
            self._strike(place, problem)
            raise Unavailable(problem)
        self._strikes.pop(place, None)
        self.probes[place] = reply["probe"]
        if process is self._process:
            self.loaded.add(place)

    def is_at_hand(self, place: int) -> bool:
        """Whether it can be loaded now; False where it is asked for and comes later."""
        member = self._family.members[place]
        return Path(member.wheel_path).exists() or not self._want(member.package_digest)

    async def _wait_for_package(self, place: int) -> None:
        """Of a package that nobody brings, loading says what is wrong."""
        give_up_at = asyncio.get_running_loop().time() + FETCH_WAIT_S
        while not self.is_at_hand(place):
            if asyncio.get_running_loop().time() >= give_up_at:
                raise Unavailable(
                    f"The package of {self.say(place)} has not been fetched yet.",
                    next_step="It is fetched next; try again in some seconds.",
                )
            await asyncio.sleep(FETCH_LOOK_S)

    def _loaded(self, place: int, done: asyncio.Task[None]) -> None:
        self._loads.pop(place, None)
        if not done.cancelled():
            done.exception()  # told to whoever still waits

    async def _wait_until_up(self) -> None:
        """Unavailable when the process does not come back soon."""
        if self._process is not None and not self._process.is_alive:
            self._up.clear()  # its keeper has not seen it yet
        try:
            async with asyncio.timeout(RESTART_WAIT_S):
                await self._up.wait()
        except TimeoutError:
            raise Unavailable(
                self.problem, next_step="It is being started again; try again."
            ) from None

    async def _exchange(self, header: dict[str, object], body: bytes, timeout_s: float) -> Reply:
        if self._process is None:
            raise ProcessLost(self.problem or f"{self._name} starts.", was_at_work=False)
        return await self._process.ask(header, body, timeout_s=timeout_s)

    def _strike(self, place: int, problem: str) -> None:
        before = self._strikes.get(place)
        pause_s = FIRST_STRIKE_S if before is None else min(LONGEST_STRIKE_S, before.pause_s * 2)
        now = asyncio.get_running_loop().time()
        self._strikes[place] = Strike(now + pause_s, pause_s, problem)

    def _refuse_the_struck(self, place: int) -> None:
        struck = self._strikes.get(place)
        left_s = 0.0 if struck is None else struck.until - asyncio.get_running_loop().time()
        if struck is not None and left_s > 0:
            raise Unavailable(struck.problem, next_step=f"It is tried again after {left_s:.0f} s.")

    async def _keep_up(self) -> None:
        """Starts the process again whenever it ends, ever slower where it does not start. Models
        come back as they are asked for; which of them ends it is refused ever longer."""
        while self._process is not None:
            code = await self._process.wait()
            self._up.clear()
            self.loaded.clear()
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            self.problem = f"The worker of {self._name} ended {how}."
            LOG.error("%s It is started again.", self.problem)
            self._on_restart()
            pause = FIRST_PAUSE_S
            while not self.is_alive:
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                try:
                    self._process = await ManyProcess.start(self._python, self._name)
                except SeamlineError as error:
                    self.problem = str(error)
                    LOG.error("%s", error)
            self._up.set()

    def say(self, place: int) -> str:
        member = self._family.members[place]
        return f"{member.model} {member.model_version} ({self._name})"
