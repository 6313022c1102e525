"""Seamline's own API, `/api/v1`: JSON over the use cases, one file per noun."""

from __future__ import annotations

from fastapi import APIRouter

from seamline.protocols.native import (
    data,
    governance,
    models,
    monitoring,
    people,
    pipelines,
    projects,
    runs,
    schedules,
    secrets,
)


def make_router() -> APIRouter:
    router = APIRouter()
    for module in (
        projects,
        data,
        pipelines,
        runs,
        schedules,
        models,
        governance,
        monitoring,
        people,
        secrets,
    ):
        router.include_router(module.ROUTER)
    return router
