"""The routing table: environment → endpoint → target. Never changed, only replaced.

The plane swaps one reference; a request keeps the target it has found, so a swap drops nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from seamline.domain.errors import not_found
from seamline.serve.engine import Engine
from seamline.serve.inputs.quick_rows import QuickReader
from seamline.serve.inputs.quick_rules import QuickRules
from seamline.serve.models.batching import Batcher
from seamline.serve.models.many_models import ManyModels
from seamline.serve.snapshots.snapshot import EndpointSpec, ServingSnapshot

DEFAULT_ENVIRONMENT = "production"
INCUMBENT = "incumbent"


@dataclass(eq=False)
class ServedModel:
    """What answers, with its queue. Counts its requests, so that it is ended after the last one.

    Many models behind one endpoint are both of it themselves."""

    worker: Engine
    batcher: Batcher | ManyModels
    _in_flight: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self) -> None:
        self._in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()

    async def retire(self) -> None:
        """Only once no table names it any more: no new request can find it then."""
        if self._in_flight:
            await self._idle.wait()
        await self.worker.close()


@dataclass(frozen=True, eq=False)
class Target:
    """What answers one endpoint of one environment, under one release."""

    environment: str
    release: str
    spec: EndpointSpec
    model: ServedModel
    route: str = INCUMBENT
    propensity: float = 1.0
    #: What a wire protocol makes ready for this target's replies, by its name; goes with it.
    prepared: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def reader(self) -> QuickReader:
        return QuickReader(self.spec)

    @cached_property
    def rules(self) -> QuickRules:
        return QuickRules(self.spec.rules, self.spec.expressions)


@dataclass(frozen=True)
class EnvironmentRoutes:
    snapshot: ServingSnapshot
    targets: Mapping[str, Target]

    def target_of(self, endpoint: str) -> Target:
        found = self.targets.get(endpoint)
        if found is None:
            raise not_found("model", endpoint, self.targets)
        return found


@dataclass(frozen=True)
class RoutingTable:
    environments: Mapping[str, EnvironmentRoutes] = field(default_factory=dict)

    def with_routes(self, routes: EnvironmentRoutes) -> RoutingTable:
        """A new table that differs in one environment."""
        name = routes.snapshot.environment
        return RoutingTable(MappingProxyType({**self.environments, name: routes}))

    def without(self, environment: str) -> RoutingTable:
        left = {name: one for name, one in self.environments.items() if name != environment}
        return RoutingTable(MappingProxyType(left))

    def routes_of(self, environment: str) -> EnvironmentRoutes:
        found = self.environments.get(environment)
        if found is None:
            raise not_found("served environment", environment, self.environments)
        return found
