"""Several planes on one port that serve one version: a snapshot is taken by all or by none.

It is prepared (verified, loaded, proved, probed) in all of them, and only then do they swap. A
process that dies is started again, and answers once it serves what the others do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.domain.errors import SeamlineError, Unavailable
from seamline.serve.group.channel import Body, ChannelLost
from seamline.serve.group.counts import PlaneCounts, merge
from seamline.serve.group.processes import PlaneProcess
from seamline.serve.group.turns import Turns
from seamline.serve.metrics import Metrics
from seamline.serve.origin_figures import put_origin_figures
from seamline.serve.snapshots.warmth import merge_standbys
from seamline.serve.snapshots.watch import Problem, SnapshotWatch

LOG = logging.getLogger(__name__)
PREPARE_S = 600.0
#: One reference changes: who needs longer is stuck, and is started again.
COMMIT_S = 10.0
OPEN_S = 30.0
COUNTS_S = 2.0
COUNTS_PAUSE_S = 5.0
#: Who does not even tell its counts for so long is stuck.
STUCK_S = 30.0
LOAD_WAIT_S = 120.0
#: For a process that died while a snapshot was prepared: then that is prepared once more.
WHOLE_S = 30.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
HEALTHY_AFTER_S = 60.0

#: What a process asks, and what it is told.
Answer = Callable[[PlaneProcess, str, Body], Awaitable[Body]]
#: How the process of this number is started.
Start = Callable[[int, Answer], Awaitable[PlaneProcess]]


@dataclass(frozen=True)
class Served:
    """What all of them serve; the bytes, so that one that is started later reads the same."""

    envelope: str
    version: int
    release: str
    problem: Problem | None


class Supervisor:
    def __init__(self, root: Path, count: int, start: Start) -> None:
        self._root, self._size, self._start = root, count, start
        self._metrics = Metrics()
        self._planes: dict[int, PlaneProcess] = {}
        self._counts = {number: PlaneCounts() for number in range(count)}
        self._served: dict[str, Served] = {}
        self._watch = SnapshotWatch(root / "serving", self._metrics, self._take, self._state_of)
        self._turns = Turns()
        #: As many processes answer as should.
        self.is_whole = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns once all of them listen; raises why one does not."""
        joining = (self._join(number) for number in range(self._size))
        for told in await asyncio.gather(*joining, return_exceptions=True):
            if told is not None:
                raise told
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep_up(number)) for number in range(self._size)]
        self._tasks.append(loop.create_task(self._keep_counts()))
        self._watch.start()

    async def close(self, grace_s: float) -> None:
        """They answer what they have begun to, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._watch.close()
        await asyncio.gather(*(one.end(grace_s) for one in self._planes.values()))

    async def _join(self, number: int) -> None:
        """A process more: it serves what the others do before it listens."""
        plane = await self._start(number, self._answer)
        try:
            async with self._turns.join():
                for environment, served in self._served.items():
                    await self._bring_up(plane, environment, served)
                for environment in self._watch.problems.keys() - self._served.keys():
                    await self._drop(plane, environment, self._watch.problems[environment])
                await plane.ask("open", OPEN_S)
                self._planes[number] = plane
        except BaseException:
            await plane.end()
            raise
        self._metrics.put("seamline_planes", (), len(self._planes))
        if len(self._planes) == self._size:
            self.is_whole.set()

    async def _bring_up(self, plane: PlaneProcess, environment: str, served: Served) -> None:
        told = await plane.ask(
            "prepare", PREPARE_S, environment=environment, envelope=served.envelope
        )
        if told["failures"] and self._planes:
            says = " ".join(told["failures"].values())
            raise Unavailable(f"It cannot serve snapshot {served.version} as the others do: {says}")
        await self._commit(plane, environment, self._watch.problems.get(environment))

    async def _take(self, path: Path) -> Problem | None:
        envelope, environment = path.read_text(), path.stem
        try:
            return await self._take_together(environment, envelope)
        except ChannelLost as lost:
            LOG.warning("%s: %s The snapshot is prepared once more.", environment, lost)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WHOLE_S):
                    await self.is_whole.wait()
        return await self._take_together(environment, envelope)

    async def _take_together(self, environment: str, envelope: str) -> Problem | None:
        async with self._turns.swap():
            planes = list(self._planes.values())
            if not planes:
                raise Unavailable("No process of the data plane runs; they are started again.")
            told = await asyncio.gather(
                *(
                    one.ask("prepare", PREPARE_S, environment=environment, envelope=envelope)
                    for one in planes
                ),
                return_exceptions=True,
            )
            broken = [one for one in told if isinstance(one, BaseException)]
            prepared = [one for one in told if not isinstance(one, BaseException)]
            problem = _problem_of(prepared)
            present = self._served.get(environment)
            if broken or (problem is not None and present is not None and present.release):
                said = Problem(str(broken[0])) if broken else problem
                await asyncio.gather(*(self._drop(one, environment, said) for one in planes))
                if broken:
                    raise broken[0]
                return problem
            self._served[environment] = Served(
                envelope, prepared[0]["version"], prepared[0]["release"], problem
            )
            await asyncio.gather(*(self._commit(one, environment, problem) for one in planes))
        version = prepared[0]["version"]
        LOG.info("%s: snapshot %d is served by %d processes", environment, version, len(planes))
        return problem

    async def _commit(self, plane: PlaneProcess, environment: str, problem: Problem | None) -> None:
        """One that does not swap must not answer any more."""
        try:
            told = await plane.ask(
                "commit", COMMIT_S, environment=environment, problem=_told(problem)
            )
            plane.standbys[environment] = told["standbys"]
        except SeamlineError as error:
            LOG.error("Process %d did not swap and is started again: %s", plane.number, error)
            plane.kill()
            await plane.process.wait()

    async def _drop(self, plane: PlaneProcess, environment: str, problem: Problem | None) -> None:
        try:
            await plane.ask("drop", COMMIT_S, environment=environment, problem=_told(problem))
        except SeamlineError as error:
            LOG.warning("Process %d did not drop a snapshot: %s", plane.number, error)

    async def _keep_up(self, number: int) -> None:
        """Starts the process again whenever it ends, ever slower."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_S
        while True:
            began = loop.time()
            plane = self._planes[number]
            code = await plane.process.wait()
            self._forget(plane, code)
            if loop.time() - began > HEALTHY_AFTER_S:
                pause = FIRST_PAUSE_S
            while number not in self._planes:
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                try:
                    await self._join(number)
                except (SeamlineError, OSError) as error:
                    LOG.error("Process %d does not start: %s", number, error)

    def _forget(self, plane: PlaneProcess, code: int) -> None:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        LOG.error("Process %d of the data plane ended %s. It is started again.", plane.number, how)
        self.is_whole.clear()
        del self._planes[plane.number]
        self._counts[plane.number].end()
        self._metrics.add("seamline_plane_restarts_total", (("plane", str(plane.number)),))
        self._metrics.put("seamline_planes", (), len(self._planes))
        self._watch.tell()

    async def _answer(self, plane: PlaneProcess, op: str, body: Body) -> Body:
        """What a process is asked that concerns all of them."""
        match op:
            case "standbys":
                plane.standbys.update(body["of"])
                self._watch.tell()
            case "wait":
                return await self._watch.wait(
                    body["environment"],
                    body["version"],
                    body["wait_s"],
                    with_standbys=body["with_standbys"],
                )
            case "scrape":
                await self._count()
                put_origin_figures(self._root, self._metrics)
                return {"text": merge(self._metrics, list(self._counts.items())).render()}
            case "load":
                await self._watch.retry(body["environment"], LOAD_WAIT_S)
                await self._ask_all(op, body)
            case "unload":
                await self._ask_all(op, body)
        return {}

    async def _ask_all(self, op: str, body: Body) -> None:
        asked = [one.ask(op, LOAD_WAIT_S, **body) for one in self._planes.values()]
        for told in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(told, BaseException) and not isinstance(told, ChannelLost):
                raise told

    async def _keep_counts(self) -> None:
        """What a process has counted when it is killed is known but for the last seconds; and one
        that has stopped is found out."""
        while True:
            await asyncio.sleep(COUNTS_PAUSE_S)
            await self._count()
            for plane in self._planes.values():
                silent_s = asyncio.get_running_loop().time() - plane.heard_at
                if silent_s > STUCK_S:
                    LOG.error("Process %d is silent for %.0f s: ended", plane.number, silent_s)
                    plane.kill()

    async def _count(self) -> None:
        async def ask(plane: PlaneProcess) -> None:
            try:
                told = await plane.ask("counts", COUNTS_S)
            except SeamlineError as error:
                LOG.warning("Process %d did not tell its metrics: %s", plane.number, error)
                return
            if self._planes.get(plane.number) is plane:
                self._counts[plane.number].told(told)

        await asyncio.gather(*map(ask, list(self._planes.values())))

    def _state_of(self, environment: str) -> dict[str, Any]:
        served = self._served.get(environment)
        problem = self._watch.problems.get(environment)
        told = [one.standbys.get(environment, []) for one in self._planes.values()]
        return {
            "environment": environment,
            "version": served.version if served is not None and not served.problem else None,
            "release": (served.release or None) if served is not None else None,
            "error": None if problem is None else problem.message,
            "standbys": merge_standbys(told),
        }


def _problem_of(prepared: list[Body]) -> Problem | None:
    """What cannot be served in one of them is not served."""
    failures: dict[str, str] = {}
    for one in prepared:
        failures.update(one["failures"])
    if not failures:
        return None
    version = prepared[0]["version"]
    return Problem(" ".join(failures.values()), version, failures)


def _told(problem: Problem | None) -> Body | None:
    if problem is None:
        return None
    return {
        "message": problem.message,
        "version": problem.version,
        "endpoints": dict(problem.endpoints),
    }
