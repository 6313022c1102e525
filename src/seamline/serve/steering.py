"""What concerns the data plane as a whole, whichever of its processes is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from seamline.serve.metrics import Metrics
from seamline.serve.origin_figures import put_origin_figures
from seamline.serve.plane import Plane


class Steering(Protocol):
    async def scrape(self) -> str:
        """The metrics, as Prometheus reads them."""

    async def wait_for_snapshot(
        self, environment: str, version: int, wait_s: float, *, with_standbys: bool
    ) -> dict[str, Any]:
        """As `Plane.wait_for_snapshot`."""

    async def load(self, environment: str, endpoint: str) -> None:
        """Returns once the endpoint answers; raises why it cannot."""

    async def unload(self, environment: str, endpoint: str) -> None:
        """Gives its memory back."""


class OnePlane:
    """This process is all there is."""

    def __init__(self, root: Path, plane: Plane, metrics: Metrics) -> None:
        self._root, self._plane, self._metrics = root, plane, metrics

    async def scrape(self) -> str:
        put_origin_figures(self._root, self._metrics)
        return self._metrics.render()

    async def wait_for_snapshot(
        self, environment: str, version: int, wait_s: float, *, with_standbys: bool
    ) -> dict[str, Any]:
        return await self._plane.wait_for_snapshot(
            environment, version, wait_s, with_standbys=with_standbys
        )

    async def load(self, environment: str, endpoint: str) -> None:
        await self._plane.load(environment, endpoint)

    async def unload(self, environment: str, endpoint: str) -> None:
        await self._plane.unload(environment, endpoint)
