"""All routes below `/apis/v2beta1`, and what they remember of those who wait."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from seamline.app.train.run_ends import RunEnds
from seamline.domain.errors import NotFound
from seamline.protocols.kfp_api import experiments, healthz, pipelines, recurring_runs, runs
from seamline.protocols.kfp_api.holding import Attention
from seamline.protocols.kfp_api.shapes import MAX_JSON_BYTES
from seamline.protocols.kfp_api.status import api_route
from seamline.trust.roles import Verb

PREFIX = "/apis/v2beta1"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def add_kfp_api(app: FastAPI) -> None:
    platform = app.state.platform
    app.state.run_ends = RunEnds(platform.stores, platform.changes)
    app.state.attention = Attention()
    router = APIRouter(prefix=PREFIX, tags=["kfp api"])
    for module in (healthz, experiments, pipelines, runs, recurring_runs):
        router.include_router(module.make_router())
    router.include_router(_rest())
    app.include_router(router)


def _rest() -> APIRouter:
    """Whatever else the protocol has, refused in its own words."""
    router = APIRouter(route_class=api_route(MAX_JSON_BYTES, Verb.READ), include_in_schema=False)

    @router.api_route("/{path:path}", methods=_METHODS)
    def unknown(path: str) -> None:
        raise NotFound(
            f"There is no {PREFIX}/{path} here.",
            next_step="Spoken are experiments, pipelines, runs and recurringruns.",
        )

    return router
