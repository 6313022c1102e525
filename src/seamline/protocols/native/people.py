"""Principals, tokens, facts and the audit."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.protocols.native.access import Admin, PlatformOf, Reader
from seamline.trust.principals import add_principal, list_principals, parse_role
from seamline.trust.tokens import issue_token, revoke_tokens

ROUTER = APIRouter()


class NewPrincipal(BaseModel):
    name: str
    roles: list[str]


@ROUTER.post("/principals")
def add(platform: PlatformOf, who: Admin, body: NewPrincipal) -> dict[str, Any]:
    stores, roles = platform.stores, frozenset(parse_role(role) for role in body.roles)
    with stores.db.transaction() as tx:
        token = add_principal(tx, stores.facts, stores.clock, body.name, roles, by=who.name)
    return {"name": body.name, "roles": sorted(roles), "token": token}


@ROUTER.get("/principals")
def list_(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        found = list_principals(connection)
    return [
        {"name": one.name, "roles": sorted(one.roles), "teams": sorted(one.teams)} for one in found
    ]


@ROUTER.post("/principals/{name}/tokens")
def issue(platform: PlatformOf, who: Admin, name: str) -> dict[str, Any]:
    stores = platform.stores
    with stores.db.transaction() as tx:
        issued = issue_token(tx, stores.facts, stores.clock, name, by=who.name)
    return {
        "name": name,
        "id": issued.id,
        "token": issued.token,
        "expires_at": issued.expires_at,
    }


@ROUTER.delete("/principals/{name}/tokens")
def revoke(platform: PlatformOf, who: Admin, name: str) -> dict[str, Any]:
    stores = platform.stores
    with stores.db.transaction() as tx:
        count = revoke_tokens(tx, stores.facts, stores.clock, name, by=who.name)
    return {"name": name, "revoked": count}
