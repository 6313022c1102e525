"""Releases that come from another server: what that one asks of this one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from seamline.app.promote.receive_release import Letter, receive_piece, receive_release
from seamline.promote.environments import find_environment
from seamline.protocols.native.access import PlatformOf, Requester
from seamline.protocols.uploads import limited_route
from seamline.trust.roles import Verb

#: Of a signed shipment with its statements, and of a piece of what it names.
MAX_BYTES = 16 << 20
ROUTER = APIRouter(route_class=limited_route(MAX_BYTES, Verb.REQUEST_PROMOTION))


class NewShipment(BaseModel):
    envelope: str
    #: The history of the origin's keys, and what ended keys had signed.
    keys: list[str]
    sealed: dict[str, str] = {}
    #: Digest of a wheel or a pipeline → signed statements about it.
    statements: dict[str, list[str]] = {}


@ROUTER.post("/environments/{environment}/shipments")
def receive(
    platform: PlatformOf, who: Requester, environment: str, body: NewShipment
) -> dict[str, Any]:
    """What is missing yet; when nothing is, the promotion here."""
    letter = Letter(
        body.envelope,
        tuple(body.keys),
        body.sealed,
        {digest: tuple(found) for digest, found in body.statements.items()},
    )
    return receive_release(platform, environment, letter, who)


@ROUTER.put("/environments/{environment}/shipments/{digest}")
async def receive_part(
    platform: PlatformOf,
    who: Requester,
    request: Request,
    environment: str,
    digest: str,
    offset: int,
) -> dict[str, int]:
    data = await request.body()

    def take() -> int:
        with platform.stores.db.read() as connection:
            find_environment(connection, environment)
        return receive_piece(platform.stores, digest, offset, data)

    return {"have": await run_in_threadpool(take)}
