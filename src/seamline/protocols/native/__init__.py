"""Seamline's own API, `/api/v1`: JSON over the use cases, one file per noun."""

from __future__ import annotations

from fastapi import APIRouter

from seamline.protocols.native import (
    approver_keys,
    audit,
    batch_predictions,
    data,
    dataset_contracts,
    dataset_rows,
    evaluations,
    far_planes,
    gates,
    governance,
    holds,
    hooks,
    models,
    monitoring,
    outside,
    packages,
    people,
    pipeline_checks,
    pipelines,
    projects,
    runs,
    schedules,
    secrets,
    shipments,
    teams,
    tokens,
    trust,
)


def make_router() -> APIRouter:
    router = APIRouter()
    for module in (
        audit,
        projects,
        data,
        batch_predictions,
        dataset_contracts,
        dataset_rows,
        outside,
        pipelines,
        pipeline_checks,
        runs,
        schedules,
        models,
        evaluations,
        packages,
        gates,
        governance,
        holds,
        approver_keys,
        hooks,
        monitoring,
        people,
        secrets,
        shipments,
        far_planes,
        teams,
        tokens,
        trust,
    ):
        router.include_router(module.ROUTER)
    return router
