"""For data planes on other machines: the signed snapshot, its packages; and their logs back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from seamline.app.serve.far.giving import (
    Give,
    SignedFilePolls,
    access_list_of,
    as_it_is,
    find_served_package,
    place_of_snapshot,
    receive_counts,
    receive_segment,
)
from seamline.domain.errors import NotFound
from seamline.protocols.native.access import MAX_WAIT_S, Ingester, PlatformOf, Reader
from seamline.protocols.pypi_files import file_response
from seamline.protocols.uploads import limited_route
from seamline.serve.far_counts import Told
from seamline.trust.access_list import access_list_path
from seamline.trust.roles import Verb

#: A segment has at most 50,000 rows and a batch more.
MAX_SEGMENT_BYTES = 256 << 20
ROUTER = APIRouter(route_class=limited_route(MAX_SEGMENT_BYTES, Verb.INGEST))


@ROUTER.get("/environments/{environment}/snapshot", response_class=Response)
async def snapshot(
    platform: PlatformOf,
    who: Reader,
    request: Request,
    environment: str,
    wait_s: Annotated[float, Query(ge=0)] = 0.0,
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """The environment's signed serving snapshot (a DSSE envelope). With `If-None-Match`, 304 when
    there is no other within `wait_s` (25 at the most)."""
    path = await run_in_threadpool(place_of_snapshot, platform, environment)
    try:
        return await _answer(request, path, if_none_match, wait_s)
    except NotFound:
        raise NotFound(
            f"Nothing is deployed in {environment} yet.", next_step="Promote a release to it."
        ) from None


@ROUTER.get("/environments/{environment}/access-list", response_class=Response)
async def access_list(
    platform: PlatformOf,
    who: Ingester,
    request: Request,
    environment: str,
    wait_s: Annotated[float, Query(ge=0)] = 0.0,
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """Who may ask a data plane of this environment (signed; digests of tokens, no token), as
    `snapshot`."""
    await run_in_threadpool(place_of_snapshot, platform, environment)
    path, give = access_list_path(platform.root), access_list_of(platform, environment)
    return await _answer(request, path, if_none_match, wait_s, give)


async def _answer(
    request: Request, path: Path, if_none_match: str, wait_s: float, give: Give = as_it_is
) -> Response:
    polls: SignedFilePolls = request.app.state.signed_file_polls
    known = if_none_match.strip('"')
    digest, envelope = await polls.next_file(path, known, min(wait_s, MAX_WAIT_S), give)
    headers = {"ETag": f'"{digest}"', "Cache-Control": "no-cache"}
    if not envelope:
        return Response(status_code=304, headers=headers)
    return Response(envelope, media_type="application/json", headers=headers)


@ROUTER.get("/environments/{environment}/packages/{digest}", response_class=Response)
def package(
    platform: PlatformOf, who: Reader, request: Request, environment: str, digest: str
) -> Response:
    """A wheel that the environment's snapshot names, whole or in ranges."""
    size_bytes = find_served_package(platform, environment, digest)
    blobs, what = platform.stores.blobs, f"package of {environment}"
    return file_response(
        request, size_bytes, f'"{digest}"', lambda: blobs.open_verified(digest, what)
    )


@ROUTER.put("/environments/{environment}/log-segments/{log}/{name}")
async def segment(
    platform: PlatformOf, who: Ingester, request: Request, environment: str, log: str, name: str
) -> dict[str, Any]:
    """A finished segment of `predictions` or `feedback` (an Arrow IPC stream), taken once."""
    data = await request.body()
    await run_in_threadpool(receive_segment, platform, environment, log, name, data)
    return {"received": name}


class PlaneCounts(BaseModel):
    """`life`: of the process that counts; `counts`: endpoint → status → requests since it began."""

    host: str
    life: str
    counts: dict[str, dict[str, int]]


@ROUTER.put("/environments/{environment}/plane-counts/{plane}")
def plane_counts(
    platform: PlatformOf, who: Ingester, environment: str, plane: str, body: PlaneCounts
) -> dict[str, Any]:
    """What a data plane elsewhere has answered, refusals among it; told again it is the same."""
    receive_counts(platform, environment, plane, Told(body.host, body.life, body.counts))
    return {"received": plane}
