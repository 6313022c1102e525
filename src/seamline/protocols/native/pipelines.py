"""Pipelines, besides the registry protocol."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from seamline.protocols.native.access import PlatformOf, Publisher, Reader
from seamline.register.pipelines import (
    list_packages,
    list_tags,
    list_versions,
    publish_pipeline,
)

ROUTER = APIRouter()


@ROUTER.post("/pipelines")
async def push(
    request: Request, platform: PlatformOf, who: Publisher, tags: str = ""
) -> dict[str, Any]:
    names = [tag for tag in tags.split(",") if tag]
    found = publish_pipeline(platform.stores, await request.body(), names, by=who.name)
    return {"package": found.package, "digest": found.digest, "tags": names}


@ROUTER.get("/pipelines")
def list_(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    stores = platform.stores
    return [
        {
            "package": one.name,
            "versions": len(list_versions(stores, one.name)),
            "tags": [tag.name for tag in list_tags(stores, one.name)],
        }
        for one in list_packages(stores)
    ]
