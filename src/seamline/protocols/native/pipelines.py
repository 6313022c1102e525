"""Pipelines, besides the registry protocol: publish, tag, show, fetch the bytes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from seamline.app.register.pipeline_users import releases_of
from seamline.app.register.show_pipeline import resolve_pipeline, show_pipeline
from seamline.protocols.kfp_registry import MAX_UPLOAD_BYTES
from seamline.protocols.native.access import PlatformOf, Publisher, Reader
from seamline.protocols.uploads import limited_route
from seamline.register.pipelines.catalogue import (
    DEFAULT_REPOSITORY,
    list_packages,
    list_tags,
    list_versions,
)
from seamline.register.pipelines.publishing import publish_pipeline, tag_pipeline

ROUTER = APIRouter(route_class=limited_route(MAX_UPLOAD_BYTES))
Repository = Annotated[str, Query(description="PROJECT/REPOSITORY")]


class NewTag(BaseModel):
    tag: str
    #: Of the version that it is to stand for: a tag or a digest.
    version: str


@ROUTER.post("/pipelines")
async def push(
    request: Request,
    platform: PlatformOf,
    who: Publisher,
    tags: str = "",
    commit: str | None = None,
    repository: Repository = DEFAULT_REPOSITORY,
) -> dict[str, Any]:
    names = [tag for tag in tags.split(",") if tag]
    data = await request.body()
    found = await run_in_threadpool(
        publish_pipeline,
        platform.stores,
        data,
        names,
        by=who.name,
        who=who,
        repository=repository,
        commit=commit,
        releases_of=releases_of,
    )
    return {"package": found.package, "digest": found.digest, "tags": names}


@ROUTER.get("/pipelines")
def list_(
    platform: PlatformOf, who: Reader, repository: Repository = DEFAULT_REPOSITORY
) -> list[dict[str, Any]]:
    stores = platform.stores
    return [
        {
            "package": one.package,
            "versions": len(list_versions(stores, one.package, repository=repository)),
            "tags": [tag.tag for tag in list_tags(stores, one.package, repository=repository)],
        }
        for one in list_packages(stores, repository=repository)
    ]


@ROUTER.get("/pipelines/{reference}")
def show(
    platform: PlatformOf, who: Reader, reference: str, repository: Repository = DEFAULT_REPOSITORY
) -> dict[str, Any]:
    """`reference`: NAME@TAG or NAME@sha256:…. With its interface, tags and who moved them, and who
    uses it."""
    return show_pipeline(platform.stores, reference, repository=repository)


@ROUTER.post("/pipelines/{name}/tags")
def tag(
    platform: PlatformOf,
    who: Publisher,
    name: str,
    body: NewTag,
    repository: Repository = DEFAULT_REPOSITORY,
) -> dict[str, Any]:
    found = resolve_pipeline(platform.stores, f"{name}@{body.version}", repository=repository)
    moved = tag_pipeline(
        platform.stores,
        found.package,
        found.digest,
        body.tag,
        by=who.name,
        who=who,
        repository=repository,
        releases_of=releases_of,
    )
    return {"package": moved.package, "tag": moved.tag, "digest": moved.digest}
