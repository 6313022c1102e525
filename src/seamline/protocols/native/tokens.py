"""Tokens, one by one: issue within limits, list, rotate, revoke."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from seamline.domain.errors import not_found
from seamline.promote.environments import find_environment
from seamline.protocols.native.access import Admin, PlatformOf, Reader
from seamline.trust.roles import Scope, Verb, parse_verb
from seamline.trust.tokens import (
    DEFAULT_GRACE_S,
    DEFAULT_TOKEN_DAYS,
    IssuedToken,
    find_token,
    issue_token,
    list_tokens,
    revoke_token,
    rotate_token,
)

ROUTER = APIRouter()


class NewToken(BaseModel):
    """`team`, `environments`, `endpoints`, `verbs`: what it is limited to; left out, to nothing."""

    # A limit that is spelled wrong must not be no limit.
    model_config = ConfigDict(extra="forbid")

    principal: str
    team: str | None = None
    environments: list[str] | None = None
    endpoints: list[str] | None = None
    verbs: list[str] | None = None
    days: float = DEFAULT_TOKEN_DAYS


class Rotation(BaseModel):
    """`grace_s`: how long the old token goes on."""

    model_config = ConfigDict(extra="forbid")

    grace_s: float = DEFAULT_GRACE_S


@ROUTER.post("/tokens")
def issue(platform: PlatformOf, who: Admin, body: NewToken) -> dict[str, Any]:
    """The answer is the only place where the token can ever be read."""
    stores = platform.stores
    verbs = None if body.verbs is None else frozenset(parse_verb(verb) for verb in body.verbs)
    environments = None if body.environments is None else frozenset(body.environments)
    endpoints = None if body.endpoints is None else frozenset(body.endpoints)
    for endpoint in sorted(endpoints or ()):
        if endpoint not in platform.declarations().deployments:
            raise not_found("endpoint", endpoint, platform.declarations().deployments)
    with stores.db.transaction() as tx:
        for environment in sorted(environments or ()):
            find_environment(tx, environment)
        scope = Scope(body.team, environments, verbs, endpoints)
        issued = issue_token(
            tx,
            stores.facts,
            stores.clock,
            body.principal,
            by=who.name,
            days=body.days,
            scope=scope,
        )
        shown = find_token(tx, issued.id).to_json()
    platform.access.look()
    return {**shown, **_secret(issued)}


@ROUTER.get("/tokens")
def list_(platform: PlatformOf, who: Reader, principal: str | None = None) -> list[dict[str, Any]]:
    """Without the tokens themselves; whoever is no admin sees their own."""
    of = principal if who.may(Verb.ADMINISTER) else who.name
    with platform.stores.db.read() as connection:
        return [one.to_json() for one in list_tokens(connection, of)]


@ROUTER.post("/tokens/{token_id}/rotate")
def rotate(platform: PlatformOf, who: Admin, token_id: str, body: Rotation) -> dict[str, Any]:
    """Another token with the same limits; until `old_until` both hold."""
    stores = platform.stores
    with stores.db.transaction() as tx:
        issued, old = rotate_token(
            tx, stores.facts, stores.clock, token_id, by=who.name, grace_s=body.grace_s
        )
        shown = find_token(tx, issued.id).to_json()
    platform.access.look()
    return {**shown, **_secret(issued), "replaces": old.id, "old_until": old.expires_at}


@ROUTER.delete("/tokens/{token_id}")
def revoke(platform: PlatformOf, who: Admin, token_id: str) -> dict[str, Any]:
    stores = platform.stores
    with stores.db.transaction() as tx:
        found = revoke_token(tx, stores.facts, stores.clock, token_id, by=who.name)
    platform.access.look()
    return found.to_json()


def _secret(issued: IssuedToken) -> dict[str, str]:
    return {"token": issued.token}
