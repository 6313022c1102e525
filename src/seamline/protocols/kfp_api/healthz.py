"""GET /healthz: the client's constructor asks before it has shown a token."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter


def make_router() -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    def healthz() -> dict[str, Any]:
        return {"multi_user": False, "pipeline_store": "database"}

    return router
