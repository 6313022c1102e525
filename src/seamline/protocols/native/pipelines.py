"""Pipelines, besides the registry protocol."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from seamline.app.submit_run import find_pipeline_by_reference
from seamline.protocols.kfp_registry import MAX_UPLOAD_BYTES
from seamline.protocols.native.access import PlatformOf, Publisher, Reader
from seamline.protocols.uploads import limited_route
from seamline.register.pipelines import (
    list_packages,
    list_tags,
    list_versions,
    publish_pipeline,
)

ROUTER = APIRouter(route_class=limited_route(MAX_UPLOAD_BYTES))


@ROUTER.post("/pipelines")
async def push(
    request: Request,
    platform: PlatformOf,
    who: Publisher,
    tags: str = "",
    commit: str | None = None,
) -> dict[str, Any]:
    names = [tag for tag in tags.split(",") if tag]
    found = publish_pipeline(
        platform.stores, await request.body(), names, by=who.name, commit=commit
    )
    return {"package": found.package, "digest": found.digest, "tags": names}


@ROUTER.get("/pipelines")
def list_(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    stores = platform.stores
    return [
        {
            "package": one.package,
            "versions": len(list_versions(stores, one.package)),
            "tags": [tag.tag for tag in list_tags(stores, one.package)],
        }
        for one in list_packages(stores)
    ]


@ROUTER.get("/pipelines/{reference}")
def show(platform: PlatformOf, who: Reader, reference: str) -> dict[str, Any]:
    found = find_pipeline_by_reference(platform, reference)
    path = platform.stores.blobs.path_of(found.digest).resolve()
    return {"package": found.package, "digest": found.digest, "path": str(path)}
