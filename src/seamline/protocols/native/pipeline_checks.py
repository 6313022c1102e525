"""Questions about versions of pipelines that change nothing; files are sent to be looked at."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from seamline.app.register.compare_pipelines import (
    Pinned,
    check_pipeline,
    diff_pipelines,
    list_outdated,
)
from seamline.protocols.kfp_registry import MAX_UPLOAD_BYTES
from seamline.protocols.native.access import PlatformOf, Reader
from seamline.protocols.native.pipelines import Repository
from seamline.protocols.uploads import limited_route
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY
from seamline.trust.roles import Verb

ROUTER = APIRouter(route_class=limited_route(MAX_UPLOAD_BYTES, Verb.READ))


class Pin(BaseModel):
    name: str
    tag: str
    digest: str
    repository: str = DEFAULT_REPOSITORY


class Pins(BaseModel):
    pipelines: Annotated[list[Pin], Field(max_length=1000)]


@ROUTER.post("/pipeline-checks")
async def check(
    request: Request,
    platform: PlatformOf,
    who: Reader,
    against: str | None = None,
    tag: Annotated[str | None, Query(alias="as")] = None,
    repository: Repository = DEFAULT_REPOSITORY,
) -> dict[str, Any]:
    """The verdict that publishing the body as `as` would get. `against`: TAG or NAME@TAG;
    default: the version that `as` follows."""
    data = await request.body()
    verdict = await run_in_threadpool(
        check_pipeline, platform.stores, data, against=against, tag=tag, repository=repository
    )
    return verdict.to_json()


@ROUTER.get("/pipeline-diffs")
def diff(
    platform: PlatformOf,
    who: Reader,
    before: str,
    after: str,
    repository: Repository = DEFAULT_REPOSITORY,
) -> dict[str, Any]:
    """Two versions, NAME@TAG each: changes of the interface and of the components."""
    return diff_pipelines(platform.stores, before, after, repository=repository)


@ROUTER.post("/outdated-pipelines")
def outdated(platform: PlatformOf, who: Reader, body: Pins) -> list[dict[str, Any]]:
    """Of what a lock file pins: what is newer, and whether it fits those who use the pinned."""
    return list_outdated(platform.stores, [Pinned(**pin.model_dump()) for pin in body.pipelines])
