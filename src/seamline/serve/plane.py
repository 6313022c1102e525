"""The data plane: snapshots in, routing table out.

Reads the signed snapshots below `<root>/serving`; loads, proves and probes what a new one names
before one reference is swapped; keeps what it serves when a new one does not hold. What a snapshot
names as standbys is loaded and proved beside it, so that a later swap loads nothing. It needs
nothing else: no database, no control plane (law 9).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from seamline.domain.clock import from_iso
from seamline.domain.errors import NotFound, Refused, SeamlineError, Unavailable, not_found
from seamline.serve.metrics import Metrics
from seamline.serve.routing import EnvironmentRoutes, RoutingTable, ServedModel, Target
from seamline.serve.running_models import RunningModels, start_identity
from seamline.serve.snapshots.places import localize, read_places, want_package
from seamline.serve.snapshots.probes import Probe, read_probe
from seamline.serve.snapshots.snapshot import EndpointSpec, ServingSnapshot, read_snapshot
from seamline.serve.snapshots.warmth import Warmth
from seamline.serve.snapshots.watch import Problem, SnapshotWatch
from seamline.serve.workers.ahead import StartedAhead
from seamline.trust.keys import PublicKey, load_public_key

LOG = logging.getLogger(__name__)
LOAD_WAIT_S = 120.0


@dataclass(frozen=True)
class Prepared:
    """A snapshot whose models are loaded, proved and probed, and answer nobody yet."""

    snapshot: ServingSnapshot
    models: Mapping[str, ServedModel]
    #: Endpoint → why it cannot be served.
    failures: Mapping[str, str]

    @property
    def problem(self) -> Problem | None:
        if not self.failures:
            return None
        says = " ".join(self.failures.values())
        return Problem(says, self.snapshot.version, MappingProxyType(dict(self.failures)))


class Plane:
    def __init__(
        self,
        root: Path,
        public_key_path: Path,
        metrics: Metrics,
        ahead: StartedAhead | None = None,
    ) -> None:
        self.table = RoutingTable()
        self.metrics = metrics
        self._root, self._public_key_path = root, public_key_path
        #: The newest snapshot that was taken, also where it serves nothing.
        self._taken: dict[str, ServingSnapshot] = {}
        #: The probe that came last, so that its signature is looked at once.
        self._probes: dict[bytes, Probe] = {}
        self._folder = root / "serving"
        self._watch = SnapshotWatch(self._folder, metrics, self._take, self.state_of)
        #: Environment → why its newest snapshot is not (wholly) served.
        self.problems = self._watch.problems
        want = partial(want_package, root)
        self._models = RunningModels(metrics, self._settled, want, ahead)
        #: Called whenever a model has been started, well or not.
        self.on_settled: Callable[[], None] = self._watch.tell

    def start(self) -> None:
        """Takes what lies below `<root>/serving`, and whatever is written there from now on."""
        self._watch.start()

    async def close(self) -> None:
        """Ends every worker. To be called once no request is in flight."""
        await self._watch.close()
        self.table = RoutingTable()
        await self._models.close()

    def check_environment(self, environment: str) -> None:
        """NotFound for a name that no snapshot was ever written for, served or not."""
        if environment in self.table.environments:
            return
        known = {path.stem for path in self._folder.glob("[!.]*.json")}
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
            if environment not in self.table.environments:
                if problem is not None:
                    raise Unavailable(problem.message) from None
                if self._watch.is_loading(environment):
                    raise Unavailable(_loading(environment), next_step="Try again soon.") from None
            raise

    def find_probed(self, header: bytes, endpoint: str, environment: str, now: datetime) -> Target:
        """What a probe asks for: the release that is served, or one that stands by. Refused or
        InvalidInput for a probe that does not hold; NotFound for what the snapshot does not name.
        """
        probe = self._probes.get(header)
        if probe is None or now >= from_iso(probe.expires_at):
            probe = read_probe(header, self.key(), now)
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
        elif problem is None and self._watch.is_loading(environment):
            detail["message"] = _loading(environment)
        elif problem is None:
            detail["message"] = f"Nothing is deployed in {environment} yet."
        if problem is not None:
            detail["refused"] = {
                "snapshot_version": problem.version,
                "message": problem.message,
                "endpoints": dict(problem.endpoints),
            }
        return {**detail, "standbys": self.standbys_of(environment)}

    async def load(self, environment: str, endpoint: str) -> Target:
        """Returns once the endpoint answers; raises why it cannot.

        Nothing comes in by this that the snapshot does not name: one that rests is woken, one that
        could not be taken is tried again now.
        """
        await self._watch.retry(environment, LOAD_WAIT_S)
        return await self.wake(environment, endpoint)

    async def wake(self, environment: str, endpoint: str) -> Target:
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
        is wholly served or was refused, or when the time is up (see `SnapshotWatch.wait`).
        """
        return await self._watch.wait(environment, version, wait_s, with_standbys=with_standbys)

    def state_of(self, environment: str) -> dict[str, Any]:
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
            "standbys": self.standbys_of(environment),
        }

    def standbys_of(self, environment: str) -> list[dict[str, Any]]:
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

    async def _take(self, path: Path) -> Problem | None:
        """Swap to the snapshot there. With something to keep, it is taken whole or not at all;
        without, what can be served is."""
        prepared = await self.prepare(read_snapshot(path, self.key()))
        if prepared.problem is not None and self.serves(prepared.snapshot.environment):
            self.drop(prepared.snapshot.environment)
        else:
            self.commit(prepared)
        return prepared.problem

    async def prepare(self, snapshot: ServingSnapshot) -> Prepared:
        """Changes nothing of what is served. Ends with `commit` or `drop`, unless it raises."""
        taken = self._taken.get(snapshot.environment)
        if taken is not None and snapshot.version < taken.version:
            raise Refused(
                f"Snapshot {snapshot.version} of {snapshot.environment} is older than "
                f"{taken.version}, which is being served.",
                next_step="Write it again under a new version.",
            )
        incumbent = self.table.environments.get(snapshot.environment)
        try:
            snapshot = localize(snapshot, read_places(self._root))
            models, failures = await self._models_of(snapshot, incumbent)
        except BaseException:
            self.drop(snapshot.environment)
            raise
        return Prepared(snapshot, models, failures)

    def taken_environments(self) -> list[str]:
        return list(self._taken)

    def serves(self, environment: str) -> bool:
        return environment in self.table.environments

    def commit(self, prepared: Prepared) -> None:
        self._swap(prepared.snapshot, prepared.models)
        self._keep_running(prepared.snapshot.environment, prepared.snapshot)

    def drop(self, environment: str) -> None:
        """What was prepared is ended; what is served goes on."""
        self._keep_running(environment, self._taken.get(environment))

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
                before = None if kept is None else kept.model
                models[spec.endpoint] = await self._models.answering(
                    snapshot.environment, spec, before
                )
            except SeamlineError as error:
                failures[spec.endpoint] = str(error)

        async with asyncio.TaskGroup() as group:
            for spec in snapshot.endpoints:
                group.create_task(make(spec))
        return models, failures

    def _settled(self) -> None:
        self._count_standbys()
        self.on_settled()

    def _count_standbys(self) -> None:
        for environment in self._taken:
            warm = [one for one in self.standbys_of(environment) if one["state"] == Warmth.WARM]
            labels = (("environment", environment),)
            self.metrics.put("seamline_standby_releases", labels, len(warm))

    def key(self) -> PublicKey:
        try:
            return load_public_key(self._public_key_path)
        except (OSError, ValueError) as error:
            raise Refused(
                f"No snapshot can be verified: the workspace's public key "
                f"{self._public_key_path} cannot be read ({error})."
            ) from error


def _loading(environment: str) -> str:
    return f"What is live in {environment} is being loaded."
