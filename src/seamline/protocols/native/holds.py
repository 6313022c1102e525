"""Holds and broken glass: what keeps promotions back, and what lets one through."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.promote.glass import break_glass, broken_glass, mend_glass
from seamline.promote.holds import lift_holds, set_hold, standing_holds
from seamline.protocols.native.access import GlassBreaker, PlatformOf, Reader, RollingBack
from seamline.trust.refusals import require_whole
from seamline.trust.roles import Verb

ROUTER = APIRouter()


class Reasoned(BaseModel):
    environment: str
    reason: str


class NewGlass(Reasoned):
    lasts_s: float


class Mending(BaseModel):
    environment: str


@ROUTER.get("/holds")
def holds(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        return [one.to_json() for one in standing_holds(connection)]


@ROUTER.post("/holds")
def set_(platform: PlatformOf, who: RollingBack, body: Reasoned) -> dict[str, Any]:
    require_whole(who, Verb.ROLL_BACK, body.environment)
    return set_hold(platform.stores, body.environment, body.reason, by=who.name).to_json()


@ROUTER.post("/holds/lift")
def lift(platform: PlatformOf, who: RollingBack, body: Reasoned) -> list[dict[str, Any]]:
    require_whole(who, Verb.ROLL_BACK, body.environment)
    lifted = lift_holds(platform.stores, body.environment, body.reason, by=who.name)
    return [one.to_json() for one in lifted]


@ROUTER.get("/glass")
def glass(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        found = broken_glass(connection, platform.stores.clock.now())
    return [one.to_json() for one in found]


@ROUTER.post("/glass")
def break_(platform: PlatformOf, who: GlassBreaker, body: NewGlass) -> dict[str, Any]:
    made = break_glass(platform.stores, body.environment, who, body.reason, body.lasts_s)
    return made.to_json()


@ROUTER.post("/glass/mend")
def mend(platform: PlatformOf, who: RollingBack, body: Mending) -> list[dict[str, Any]]:
    require_whole(who, Verb.ROLL_BACK, body.environment)
    return [one.to_json() for one in mend_glass(platform.stores, body.environment, by=who.name)]
