"""Principals, and the roles that they have: everywhere, or in an environment, or for a team."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection

from seamline.promote.environments import find_environment
from seamline.protocols.native.access import Admin, PlatformOf, Reader
from seamline.trust.principals import (
    add_principal,
    grant_role,
    list_principals,
    parse_role,
    take_role,
)
from seamline.trust.roles import Grant, Principal, Verb
from seamline.trust.teams import require_principal
from seamline.trust.tokens import issue_token, list_tokens, revoke_tokens

ROUTER = APIRouter()


class NewPrincipal(BaseModel):
    """Each role in each of the environments, for each of the teams; without any, all."""

    # A limit that is spelled wrong must not be no limit.
    model_config = ConfigDict(extra="forbid")

    name: str
    roles: list[str]
    environments: list[str] | None = None
    teams: list[str] | None = None


class OneRole(BaseModel):
    """In this environment, for this team's things; without, in each, for everybody's."""

    model_config = ConfigDict(extra="forbid")

    role: str
    environment: str | None = None
    team: str | None = None


@ROUTER.post("/principals")
def add(platform: PlatformOf, who: Admin, body: NewPrincipal) -> dict[str, Any]:
    stores, roles = platform.stores, frozenset(parse_role(role) for role in body.roles)
    places = body.environments if body.environments is not None else [None]
    teams = body.teams if body.teams is not None else [None]
    asked = {Grant(role, team, place) for role in roles for place in places for team in teams}
    everywhere = frozenset(one.role for one in asked if one == Grant(one.role))
    with stores.db.transaction() as tx:
        for environment in body.environments or ():
            find_environment(tx, environment)
        limited = sorted((one for one in asked if one != Grant(one.role)), key=str)
        token = add_principal(
            tx, stores.facts, stores.clock, body.name, everywhere, by=who.name, grants=limited
        )
        shown = _shown(require_principal(tx, body.name))
    platform.access.look()
    return {**shown, "token": token}


@ROUTER.get("/principals")
def list_(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        return [_shown(one) for one in list_principals(connection)]


@ROUTER.get("/principals/{name}")
def show(platform: PlatformOf, who: Reader, name: str) -> dict[str, Any]:
    """With what is known of their tokens, for themselves and admins."""
    with platform.stores.db.read() as connection:
        found = require_principal(connection, name)
        tokens = [one.to_json() for one in list_tokens(connection, name)]
    is_theirs = who.name == name or who.may(Verb.ADMINISTER)
    return {**_shown(found), **({"tokens": tokens} if is_theirs else {})}


@ROUTER.post("/principals/{name}/roles")
def grant(platform: PlatformOf, who: Admin, name: str, body: OneRole) -> dict[str, Any]:
    stores = platform.stores
    with stores.db.transaction() as tx:
        given = _grant(tx, body)
        found = grant_role(tx, stores.facts, stores.clock, name, given, by=who.name)
    platform.access.look()
    return _shown(found)


@ROUTER.post("/principals/{name}/roles/take")
def take(platform: PlatformOf, who: Admin, name: str, body: OneRole) -> dict[str, Any]:
    """What was granted in just this way; it ends at once, whichever token they hold."""
    stores = platform.stores
    taken = Grant(parse_role(body.role), body.team, body.environment)
    with stores.db.transaction() as tx:
        found = take_role(tx, stores.facts, name, taken, by=who.name)
    platform.access.look()
    return _shown(found)


@ROUTER.post("/principals/{name}/tokens")
def issue(platform: PlatformOf, who: Admin, name: str) -> dict[str, Any]:
    stores = platform.stores
    with stores.db.transaction() as tx:
        issued = issue_token(tx, stores.facts, stores.clock, name, by=who.name)
    platform.access.look()
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
    platform.access.look()
    return {"name": name, "revoked": count}


def _grant(tx: Connection, body: OneRole) -> Grant:
    if body.environment is not None:
        find_environment(tx, body.environment)
    return Grant(parse_role(body.role), body.team, body.environment)


def _shown(one: Principal) -> dict[str, Any]:
    """`roles`: everywhere and for everybody's things; `grants`: the others."""
    return {
        "name": one.name,
        "roles": sorted(one.roles),
        "grants": [
            {"role": grant.role.value, "environment": grant.environment, "team": grant.team}
            for grant in sorted(one.grants, key=str)
        ],
        "teams": sorted(one.teams),
    }
