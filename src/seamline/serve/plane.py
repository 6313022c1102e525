"""The data plane: snapshots in, routing table out.

Reads the signed snapshots below `<root>/serving`; loads, proves and probes what a new one names
before one reference is swapped; keeps what it serves when a new one does not hold. What a snapshot
names as standbys is loaded and proved beside it, so that a later swap loads nothing. It needs
nothing else: no database, no control plane (law 9).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from seamline.domain.clock import from_iso
from seamline.domain.errors import NotFound, Refused, SeamlineError, Unavailable, not_found
from seamline.serve.metrics import Metrics
from seamline.serve.probes import Probe, read_probe
from seamline.serve.routing import EnvironmentRoutes, RoutingTable, ServedModel, Target
from seamline.serve.running_models import RunningModels, Warmth, start_identity
from seamline.serve.snapshot import EndpointSpec, ServingSnapshot, read_snapshot
from seamline.trust.keys import PublicKey, load_public_key

LOG = logging.getLogger(__name__)
POLL_S = 0.1
FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 300.0
LOAD_WAIT_S = 120.0

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
        #: The newest snapshot that was taken, also where it serves nothing.
        self._taken: dict[str, ServingSnapshot] = {}
        #: The probe that came last, so that its signature is looked at once.
        self._probes: dict[bytes, Probe] = {}
        self._models = RunningModels(metrics, self._tell)
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
        self.table = RoutingTable()
        await self._models.close()

    def check_environment(self, environment: str) -> None:
        """NotFound for a name that no snapshot was ever written for, served or not."""
        if environment in self.table.environments:
            return
        known = {path.stem for path in self._folder.glob("*.json")}
        if environment not in known:
            raise not_found("environment", environment, known)

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

    def find_probed(self, header: bytes, endpoint: str, environment: str, now: datetime) -> Target:
        """What a probe asks for: the release that is served, or one that stands by. Refused or
        InvalidInput for a probe that does not hold; NotFound for what the snapshot does not name.
        """
        probe = self._probes.get(header)
        if probe is None or now >= from_iso(probe.expires_at):
            probe = read_probe(header, self._key(), now)
            self._probes = {header: probe}
        if probe.environment != environment:
            raise Refused(f"The probe is of {probe.environment}, not of {environment}.")
        routes = self.table.environments.get(environment)
        if routes is not None and routes.snapshot.release == probe.release:
            return routes.target_of(endpoint)
        taken = self._taken.get(environment)
        standbys = {one.release: one for one in taken.standbys} if taken else {}
        if probe.release not in standbys:
            raise not_found("release that stands by", probe.release, standbys)
        specs = {one.endpoint: one for one in standbys[probe.release].endpoints}
        if endpoint not in specs:
            raise not_found("model", endpoint, specs)
        model = self._models.warm_model(environment, specs[endpoint])
        return Target(environment, probe.release, specs[endpoint], model)

    def health(self, environment: str) -> dict[str, Any]:
        """`ready` is whether everything that the served snapshot names can answer now."""
        routes = self.table.environments.get(environment)
        problem = self.problems.get(environment)
        detail: dict[str, Any] = {"ready": False, "environment": environment}
        if routes is not None:
            dead = [
                name for name, found in routes.targets.items() if not found.model.worker.can_answer
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
        return {**detail, "standbys": self._standbys_of(environment)}

    async def load(self, environment: str, endpoint: str) -> Target:
        """Returns once the endpoint answers; raises why it cannot.

        Nothing comes in by this that the snapshot does not name: one that rests is woken, one that
        could not be taken is tried again now.
        """
        problem = self.problems.get(environment)
        if problem is not None:
            seen = self._attempts.get(environment)
            if seen is not None and seen.retry_at is not None:
                seen.retry_at = asyncio.get_running_loop().time()
            await self.wait_for_snapshot(environment, problem.version or 0, LOAD_WAIT_S)
        target = self.find_target(environment, endpoint)
        await target.model.worker.wake()
        return target

    async def unload(self, environment: str, endpoint: str) -> Target:
        """Its memory is given back after the last row in work; who asks next has it loaded."""
        target = self.find_target(environment, endpoint)
        await target.model.worker.rest()
        return target

    async def wait_for_snapshot(
        self, environment: str, version: int, wait_s: float, *, with_standbys: bool = False
    ) -> dict[str, Any]:
        """`version` and `release` that are served, `error`, and `standbys`, once snapshot `version`
        is wholly served or was refused, or when the time is up.

        Whoever asks has written the file before: it is looked for at once. `with_standbys`: wait
        until none is being warmed any more, too.
        """
        self._look_now()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self._is_settled(environment, version, with_standbys):
                    await self._changed.wait()
        return self._state_of(environment)

    def _state_of(self, environment: str) -> dict[str, Any]:
        taken = self._taken.get(environment)
        routes = self.table.environments.get(environment)
        problem = self.problems.get(environment)
        answering = 0 if routes is None else len(routes.targets)
        whole = taken is not None and len(taken.endpoints) == answering
        return {
            "environment": environment,
            "version": taken.version if taken is not None and whole else None,
            "release": None if routes is None else routes.snapshot.release,
            "error": None if problem is None else problem.message,
            "standbys": self._standbys_of(environment),
        }

    def _standbys_of(self, environment: str) -> list[dict[str, Any]]:
        taken = self._taken.get(environment)
        told = []
        for one in () if taken is None else taken.standbys:
            warmth, problem = self._models.warmth(environment, one.endpoints)
            told.append(
                {
                    "release": one.release,
                    "release_alias": one.release_alias,
                    "state": warmth.value,
                    "error": problem or None,
                }
            )
        return told

    def _is_settled(self, environment: str, version: int, with_standbys: bool) -> bool:
        state = self._state_of(environment)
        warming = any(one["state"] == Warmth.WARMING for one in state["standbys"])
        if with_standbys and (warming or self._is_behind(environment)):
            return False
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
            self._look_now()
            await asyncio.sleep(POLL_S)

    def _look_now(self) -> None:
        try:
            self._look()
        except OSError:
            LOG.exception("The snapshots below %s cannot be listed.", self._folder)

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
            load.add_done_callback(lambda _load: self._tell())
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
        taken = self._taken.get(snapshot.environment)
        if taken is not None and snapshot.version < taken.version:
            raise Refused(
                f"Snapshot {snapshot.version} of {snapshot.environment} is older than "
                f"{taken.version}, which is being served.",
                next_step="Write it again under a new version.",
            )
        incumbent = self.table.environments.get(snapshot.environment)
        try:
            models, failures = await self._models_of(snapshot, incumbent)
        except BaseException:
            self._keep_running(snapshot.environment, taken)
            raise
        problem = _problem_of(snapshot, failures)
        if incumbent is not None and problem is not None:
            self._keep_running(snapshot.environment, taken)
            return problem
        self._swap(snapshot, models)
        self._keep_running(snapshot.environment, snapshot)
        return problem

    def _swap(self, snapshot: ServingSnapshot, models: Mapping[str, ServedModel]) -> None:
        targets = {
            spec.endpoint: Target(
                snapshot.environment, snapshot.release, spec, models[spec.endpoint]
            )
            for spec in snapshot.endpoints
            if spec.endpoint in models
        }
        self._taken[snapshot.environment] = snapshot
        if snapshot.release:
            routes = EnvironmentRoutes(snapshot, MappingProxyType(targets))
            self.table = self.table.with_routes(routes)
        else:
            self.table = self.table.without(snapshot.environment)
        labels = (("environment", snapshot.environment),)
        self.metrics.put("seamline_snapshot_version", labels, snapshot.version)
        LOG.info(
            "%s serves snapshot %d, release %s: %s", snapshot.environment, snapshot.version,
            snapshot.release_alias or "none", ", ".join(sorted(targets)) or "no endpoints",
        )  # fmt: skip

    def _keep_running(self, environment: str, taken: ServingSnapshot | None) -> None:
        """What answers and what stands by, and nothing else of this environment."""
        standbys = taken.standbys if taken else ()
        spare = [spec for standby in standbys for spec in standby.endpoints]
        self._models.keep_only(environment, [*(taken.endpoints if taken else ()), *spare])
        for spec in spare:
            self._models.warm_up(environment, spec)
        self._count_standbys()

    async def _models_of(
        self, snapshot: ServingSnapshot, incumbent: EnvironmentRoutes | None
    ) -> tuple[dict[str, ServedModel], dict[str, str]]:
        """A ready model per endpoint, kept ones as they are; and why the others are not ready."""
        models: dict[str, ServedModel] = {}
        failures: dict[str, str] = {}

        async def make(spec: EndpointSpec) -> None:
            kept = None if incumbent is None else incumbent.targets.get(spec.endpoint)
            if kept is not None and start_identity(kept.spec) == start_identity(spec):
                models[spec.endpoint] = kept.model
                return
            try:
                models[spec.endpoint] = await self._models.answering(snapshot.environment, spec)
            except SeamlineError as error:
                failures[spec.endpoint] = str(error)

        async with asyncio.TaskGroup() as group:
            for spec in snapshot.endpoints:
                group.create_task(make(spec))
        return models, failures

    def _tell(self) -> None:
        """Wakes whoever waits for a snapshot; the next to wait gets an event of their own."""
        self._count_standbys()
        self._changed.set()
        self._changed = asyncio.Event()

    def _count_standbys(self) -> None:
        for environment in self._taken:
            warm = [one for one in self._standbys_of(environment) if one["state"] == Warmth.WARM]
            labels = (("environment", environment),)
            self.metrics.put("seamline_standby_releases", labels, len(warm))

    def _key(self) -> PublicKey:
        try:
            return load_public_key(self._public_key_path)
        except (OSError, ValueError) as error:
            raise Refused(
                f"No snapshot can be verified: the workspace's public key "
                f"{self._public_key_path} cannot be read ({error})."
            ) from error


def _problem_of(snapshot: ServingSnapshot, failures: dict[str, str]) -> Problem | None:
    if not failures:
        return None
    return Problem(" ".join(failures.values()), snapshot.version, MappingProxyType(failures))


def _stamp(path: Path) -> Stamp | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size
    return None
