"""The data plane: snapshots in, routing table out.

Reads the signed snapshots below `<root>/serving`; loads, proves and probes what a new one names
before one reference is swapped; keeps what it serves when a new one does not hold. It needs
nothing else: no database, no control plane (law 9).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from seamline.domain.errors import NotFound, Refused, SeamlineError, Unavailable
from seamline.serve.batching import Batcher
from seamline.serve.metrics import Metrics
from seamline.serve.routing import EnvironmentRoutes, RoutingTable, ServedModel, Target
from seamline.serve.snapshot import EndpointSpec, ServingSnapshot, read_snapshot
from seamline.serve.validate import Tensor, rows_of
from seamline.serve.worker import ModelWorker
from seamline.trust.keys import PublicKey, load_public_key

LOG = logging.getLogger(__name__)
POLL_S = 0.1
FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 300.0

#: What tells one written file from the next: an atomic replacement changes the inode.
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Problem:
    """Why the newest snapshot of an environment is not (wholly) served."""

    message: str
    version: int | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Attempt:
    """The last file looked at; `retry_at` is set (loop time) while it could not be taken."""

    stamp: Stamp
    pause_s: float
    retry_at: float | None = None


class Plane:
    def __init__(self, root: Path, public_key_path: Path, metrics: Metrics) -> None:
        self.table = RoutingTable()
        self.problems: dict[str, Problem] = {}
        self.metrics = metrics
        self._folder = root / "serving"
        self._public_key_path = public_key_path
        self._attempts: dict[str, Attempt] = {}
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Semaphore(os.cpu_count() or 1)
        self._watcher: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Ends every worker. To be called once no request is in flight."""
        tasks = [task for task in (self._watcher, *self._loads.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        models = self.table.models()
        self.table = RoutingTable()
        await asyncio.gather(
            *(model.worker.close() for model in models), *self._background, return_exceptions=True
        )

    def find_target(self, environment: str, endpoint: str) -> Target:
        """NotFound for an unknown name, Unavailable for one that should be served but cannot."""
        try:
            return self.table.routes_of(environment).target_of(endpoint)
        except NotFound:
            problem = self.problems.get(environment)
            if problem is not None and endpoint in problem.endpoints:
                raise Unavailable(problem.endpoints[endpoint]) from None
            if problem is not None and environment not in self.table.environments:
                raise Unavailable(problem.message) from None
            raise

    def health(self, environment: str) -> dict[str, Any]:
        """`ready` is whether everything that the served snapshot names can answer now."""
        routes = self.table.environments.get(environment)
        problem = self.problems.get(environment)
        detail: dict[str, Any] = {"ready": False, "environment": environment}
        if routes is not None:
            dead = [
                name for name, found in routes.targets.items() if not found.model.worker.is_alive
            ]
            missing = len(routes.snapshot.endpoints) - len(routes.targets)
            detail.update(
                ready=not dead and not missing,
                snapshot_version=routes.snapshot.version,
                release=routes.snapshot.release,
                release_alias=routes.snapshot.release_alias,
                endpoints=sorted(routes.targets),
                restarting=dead,
            )
        elif problem is None:
            detail["message"] = f"Nothing is deployed in {environment} yet."
        if problem is not None:
            detail["refused"] = {
                "snapshot_version": problem.version,
                "message": problem.message,
                "endpoints": dict(problem.endpoints),
            }
        return detail

    async def wait_for_snapshot(
        self, environment: str, version: int, wait_s: float
    ) -> dict[str, Any]:
        """`version` and `release` that are served, and `error`, once snapshot `version` is wholly
        served or was refused, or when the time is up."""

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self._is_settled(environment, version):
                    await self._changed.wait()
        return self._state_of(environment)

    def _state_of(self, environment: str) -> dict[str, Any]:
        routes = self.table.environments.get(environment)
        problem = self.problems.get(environment)
        whole = routes is not None and len(routes.targets) == len(routes.snapshot.endpoints)
        return {
            "environment": environment,
            "version": routes.snapshot.version if routes is not None and whole else None,
            "release": None if routes is None else routes.snapshot.release,
            "error": None if problem is None else problem.message,
        }

    def _is_settled(self, environment: str, version: int) -> bool:
        state = self._state_of(environment)
        if state["version"] is not None and state["version"] >= version:
            return True
        return state["error"] is not None and not self._is_behind(environment)

    def _is_behind(self, environment: str) -> bool:
        """Whether a file lies there that was not tried yet, or is being tried."""
        seen, running = self._attempts.get(environment), self._loads.get(environment)
        if seen is None or (running is not None and not running.done()):
            return True
        return seen.stamp != _stamp(self._folder / f"{environment}.json")

    async def _watch(self) -> None:
        while True:
            try:
                self._look()
            except OSError:
                LOG.exception("The snapshots below %s cannot be listed.", self._folder)
            await asyncio.sleep(POLL_S)

    def _look(self) -> None:
        """Start a load for each new file, and again for one that could not be taken.

        A file that goes away changes nothing: only a new snapshot moves the pointer.
        """
        loop = asyncio.get_running_loop()
        for path in sorted(self._folder.glob("[!.]*.json")):
            environment, stamp = path.stem, _stamp(path)
            running = self._loads.get(environment)
            if stamp is None or (running is not None and not running.done()):
                continue
            seen = self._attempts.get(environment)
            if seen is None or seen.stamp != stamp:
                seen = self._attempts[environment] = Attempt(stamp, FIRST_RETRY_S)
            elif seen.retry_at is None or loop.time() < seen.retry_at:
                continue
            load = loop.create_task(self._load(environment, path, seen))
            load.add_done_callback(self._tell)
            self._loads[environment] = load

    async def _load(self, environment: str, path: Path, attempt: Attempt) -> None:
        problem: Problem | None
        try:
            problem = await self._take(read_snapshot(path, self._key()))
        except SeamlineError as error:
            problem = Problem(str(error))
        except Exception as error:
            LOG.exception("Snapshot %s broke the data plane.", path)
            problem = Problem(f"The snapshot {path} broke the data plane: {error!r}.")
        attempt.retry_at = None
        if problem is None:
            self.problems.pop(environment, None)
            return
        LOG.error("%s: snapshot not taken: %s", environment, problem.message)
        self.metrics.add("seamline_load_failures_total", (("environment", environment),))
        self.problems[environment] = problem
        attempt.retry_at = asyncio.get_running_loop().time() + attempt.pause_s
        attempt.pause_s = min(LONGEST_RETRY_S, attempt.pause_s * 2)

    async def _take(self, snapshot: ServingSnapshot) -> Problem | None:
        """Swap to this snapshot. With something to keep, it is taken whole or not at all; without,
        what can be served is."""
        incumbent = self.table.environments.get(snapshot.environment)
        if incumbent is not None and snapshot.version < incumbent.snapshot.version:
            raise Refused(
                f"Snapshot {snapshot.version} of {snapshot.environment} is older than "
                f"{incumbent.snapshot.version}, which is being served.",
                next_step="Write it again under a new version.",
            )
        models, failures = await self._models_of(snapshot, incumbent)
        problem = _problem_of(snapshot, failures)
        if incumbent is not None and problem is not None:
            self._retire(set(models.values()) - self.table.models())
            return problem
        before = self.table.models()
        targets = {
            spec.endpoint: Target(
                snapshot.environment, snapshot.release, spec, models[spec.endpoint]
            )
            for spec in snapshot.endpoints
            if spec.endpoint in models
        }
        routes = EnvironmentRoutes(snapshot, MappingProxyType(targets))
        self.table = self.table.with_routes(routes)
        self._retire(before - self.table.models())
        labels = (("environment", snapshot.environment),)
        self.metrics.put("seamline_snapshot_version", labels, snapshot.version)
        LOG.info(
            "%s serves snapshot %d, release %s: %s", snapshot.environment, snapshot.version,
            snapshot.release_alias, ", ".join(sorted(targets)) or "no endpoints",
        )  # fmt: skip
        return problem

    async def _models_of(
        self, snapshot: ServingSnapshot, incumbent: EnvironmentRoutes | None
    ) -> tuple[dict[str, ServedModel], dict[str, str]]:
        """A ready model per endpoint, kept ones as they are; and why the others are not ready."""
        models: dict[str, ServedModel] = {}
        failures: dict[str, str] = {}

        async def make(spec: EndpointSpec) -> None:
            kept = None if incumbent is None else incumbent.targets.get(spec.endpoint)
            if kept is not None and _start_identity(kept.spec) == _start_identity(spec):
                models[spec.endpoint] = kept.model
                return
            try:
                models[spec.endpoint] = await self._start_model(snapshot.environment, spec)
            except SeamlineError as error:
                failures[spec.endpoint] = str(error)

        try:
            async with asyncio.TaskGroup() as group:
                for spec in snapshot.endpoints:
                    group.create_task(make(spec))
        except BaseException:
            self._retire(set(models.values()) - self.table.models())
            raise
        return models, failures

    async def _start_model(self, environment: str, spec: EndpointSpec) -> ServedModel:
        labels = (("environment", environment), ("endpoint", spec.endpoint))
        async with self._starting:
            worker = await ModelWorker.start(
                spec, lambda: self.metrics.add("seamline_worker_restarts_total", labels)
            )
        batcher = Batcher(
            worker.predict,
            on_batch=lambda rows: self.metrics.observe("seamline_batch_rows", labels, rows),
        )
        try:
            await _probe(spec, worker)
        except BaseException:
            await worker.close()
            raise
        return ServedModel(worker, batcher)

    def _tell(self, load: asyncio.Task[None]) -> None:
        """Wakes whoever waits for a snapshot; the next to wait gets an event of their own."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _retire(self, models: set[ServedModel]) -> None:
        for model in models:
            self._keep(asyncio.get_running_loop().create_task(model.retire()))

    def _key(self) -> PublicKey:
        try:
            return load_public_key(self._public_key_path)
        except (OSError, ValueError) as error:
            raise Refused(
                f"No snapshot can be verified: the workspace's public key "
                f"{self._public_key_path} cannot be read ({error})."
            ) from error


async def _probe(spec: EndpointSpec, worker: ModelWorker) -> None:
    """One sample row, by the same way that a request takes."""
    if worker.probe is None:
        return
    tensors = [
        Tensor(column.name, column.datatype, [1], [worker.probe.get(column.name)])
        for column in spec.signature.inputs
    ]
    rows = rows_of(tensors, _without_times(spec))
    await worker.predict(rows.columns, rows.count)


def _without_times(spec: EndpointSpec) -> EndpointSpec:
    """Sample rows hold what the model takes, and no more."""
    return dataclasses.replace(spec, event_time=None, context=())


def _start_identity(spec: EndpointSpec) -> tuple[object, ...]:
    """Two specs that agree in this can share one running worker."""
    return (
        spec.model, spec.model_version, spec.package_digest, spec.wheel_path, spec.module,
        spec.python, spec.signature,
    )  # fmt: skip


def _problem_of(snapshot: ServingSnapshot, failures: dict[str, str]) -> Problem | None:
    if not failures:
        return None
    return Problem(" ".join(failures.values()), snapshot.version, MappingProxyType(failures))


def _stamp(path: Path) -> Stamp | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size
    return None
