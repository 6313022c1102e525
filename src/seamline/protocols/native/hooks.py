"""Hooks: who is told of facts, what became of it, and telling again."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.hooks.deliveries import DeliveryState
from seamline.hooks.listing import list_deliveries, list_hooks, redeliver
from seamline.protocols.native.access import Limit, PlatformOf, ProjectOwner, Reader

ROUTER = APIRouter()


class Again(BaseModel):
    #: Left out: all that were given up.
    fact_id: str | None = None


@ROUTER.get("/hooks")
def list_(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        return list_hooks(connection)


@ROUTER.get("/hooks/{name}/deliveries")
def deliveries(
    platform: PlatformOf,
    who: Reader,
    name: str,
    state: DeliveryState | None = None,
    limit: Limit = 50,
) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        return list_deliveries(connection, name, state, limit)


@ROUTER.post("/hooks/{name}/redeliveries")
def again(platform: PlatformOf, who: ProjectOwner, name: str, body: Again) -> list[dict[str, Any]]:
    return redeliver(platform.stores, name, body.fact_id, by=who.name)
