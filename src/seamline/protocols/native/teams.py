"""Teams, who is in them, and which names in the registries are theirs."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from seamline.protocols.native.access import Admin, PlatformOf, Reader
from seamline.register.owners import PACKAGES, hand_over, list_owned_names
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY
from seamline.trust.teams import add_team, join_team, leave_team, list_teams

ROUTER = APIRouter()


class NewTeam(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str


class NewMember(BaseModel):
    model_config = ConfigDict(extra="forbid")

    principal: str


class HandedName(BaseModel):
    """`repository`: of a pipeline's name."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["package", "pipeline"]
    name: str
    repository: str = DEFAULT_REPOSITORY


@ROUTER.post("/teams")
def add(platform: PlatformOf, who: Admin, body: NewTeam) -> dict[str, Any]:
    stores = platform.stores
    with stores.db.transaction() as tx:
        add_team(tx, stores.facts, stores.clock, body.name, by=who.name)
    return {"name": body.name, "members": []}


@ROUTER.get("/teams")
def list_(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        found = list_teams(connection)
    return [{"name": one.name, "members": list(one.members)} for one in found]


@ROUTER.post("/teams/{team}/members")
def join(platform: PlatformOf, who: Admin, team: str, body: NewMember) -> dict[str, Any]:
    stores = platform.stores
    with stores.db.transaction() as tx:
        join_team(tx, stores.facts, stores.clock, team, body.principal, by=who.name)
    return {"team": team, "principal": body.principal}


@ROUTER.delete("/teams/{team}/members/{principal}")
def leave(platform: PlatformOf, who: Admin, team: str, principal: str) -> dict[str, Any]:
    """Their tokens for this team stop at once; what the team published stays the team's."""
    stores = platform.stores
    with stores.db.transaction() as tx:
        leave_team(tx, stores.facts, team, principal, by=who.name)
    return {"team": team, "principal": principal}


@ROUTER.get("/names")
def names(platform: PlatformOf, who: Reader, team: str | None = None) -> list[dict[str, Any]]:
    """Whose each published name is, in every registry."""
    return [one.to_json() for one in list_owned_names(platform.stores, team)]


@ROUTER.post("/teams/{team}/names")
def give(platform: PlatformOf, who: Admin, team: str, body: HandedName) -> dict[str, Any]:
    """From now on the name is the team's, whoever published it first."""
    registry = PACKAGES if body.kind == "package" else body.repository
    return hand_over(platform.stores, registry, body.name, team, by=who.name).to_json()
