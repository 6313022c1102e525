"""Releases, promotions, approvals, and the board."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.app.promote.board import show_board, show_promotion
from seamline.app.promote.make_release import make_release
from seamline.app.promote.parties import parties_of
from seamline.app.promote.plan_promotion import plan_promotion
from seamline.app.promote.show_release import compare_releases, verify_release
from seamline.domain.states import PromotionPhase, is_terminal
from seamline.promote.approvals import approve, reject
from seamline.promote.promotion import find_promotion, list_promotions
from seamline.promote.release import find_release, list_releases
from seamline.promote.requests import request_emergency, request_promotion, request_rollback
from seamline.protocols.native.access import (
    Approver,
    PlatformOf,
    Reader,
    Releaser,
    Requester,
    RollingBack,
    await_state,
)

ROUTER = APIRouter()
_SETTLED = {
    phase.value
    for phase in PromotionPhase
    if is_terminal(phase) or phase in {PromotionPhase.AWAITING_APPROVAL, PromotionPhase.LIVE}
}


class NewRelease(BaseModel):
    alias: str
    models: list[str] = []
    pipelines: list[str] = []


class NewPromotion(BaseModel):
    release: str
    environment: str
    #: Under glass that the caller has broken.
    emergency: bool = False
    #: Why: whoever approves reads it. In an emergency the reason is the broken glass's.
    reason: str = ""


class NewRollback(BaseModel):
    environment: str
    reason: str
    #: The release to go back to; without it the one that was live before.
    to: str | None = None


class Opinion(BaseModel):
    comment: str = ""
    reason: str = ""


@ROUTER.get("/board")
def board(platform: PlatformOf, who: Reader) -> dict[str, Any]:
    return show_board(platform)


@ROUTER.post("/releases")
def create(platform: PlatformOf, who: Releaser, body: NewRelease) -> dict[str, Any]:
    made = make_release(platform, body.alias, body.models, body.pipelines, by=who.name)
    return made.to_json()


@ROUTER.get("/releases")
def releases(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        return [one.to_json() for one in list_releases(connection)]


@ROUTER.get("/releases/{reference}")
def release(platform: PlatformOf, who: Reader, reference: str) -> dict[str, Any]:
    with platform.stores.db.read() as connection:
        return find_release(connection, reference).to_json()


@ROUTER.get("/releases/{reference}/diff")
def diff(platform: PlatformOf, who: Reader, reference: str, against: str) -> dict[str, Any]:
    return compare_releases(platform, against, reference)


@ROUTER.get("/releases/{reference}/verify")
def verify(platform: PlatformOf, who: Reader, reference: str) -> dict[str, Any]:
    return verify_release(platform, reference)


@ROUTER.post("/promotions")
def request_(platform: PlatformOf, who: Requester, body: NewPromotion) -> dict[str, Any]:
    stores, release, environment = platform.stores, body.release, body.environment
    if body.emergency:
        made = request_emergency(stores, release, environment, by=who.name)
    else:
        made = request_promotion(stores, release, environment, by=who.name, reason=body.reason)
    return show_promotion(platform, made.id)


@ROUTER.post("/promotions/plan")
def plan(platform: PlatformOf, who: Reader, body: NewPromotion) -> dict[str, Any]:
    return plan_promotion(platform, body.release, body.environment, by=who.name)


@ROUTER.post("/rollbacks")
def roll_back(platform: PlatformOf, who: RollingBack, body: NewRollback) -> dict[str, Any]:
    made = request_rollback(platform.stores, body.environment, body.reason, by=who.name, to=body.to)
    return show_promotion(platform, made.id)


@ROUTER.get("/promotions")
def promotions(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        found = list_promotions(connection)
    return [show_promotion(platform, one.id) for one in found]


@ROUTER.get("/promotions/{promotion_id}")
def promotion(
    platform: PlatformOf, who: Reader, promotion_id: str, wait_s: float = 0
) -> dict[str, Any]:
    def show() -> dict[str, Any]:
        return show_promotion(platform, promotion_id)

    await_state(platform, lambda: show()["settled_phase"], _SETTLED, wait_s)
    return show()


@ROUTER.post("/promotions/{promotion_id}/approve")
def approve_(
    platform: PlatformOf, who: Approver, promotion_id: str, body: Opinion
) -> dict[str, Any]:
    with platform.stores.db.read() as connection:
        found = find_promotion(connection, promotion_id)
        stored = find_release(connection, found.release)
    parties = parties_of(platform, stored, found)
    approve(platform.stores, promotion_id, who, parties, comment=body.comment)
    return show_promotion(platform, promotion_id)


@ROUTER.post("/promotions/{promotion_id}/reject")
def reject_(
    platform: PlatformOf, who: Approver, promotion_id: str, body: Opinion
) -> dict[str, Any]:
    reject(platform.stores, promotion_id, who, body.reason)
    return show_promotion(platform, promotion_id)
