"""Releases, promotions, approvals, and the board."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.app.promote.board import show_board, show_promotion
from seamline.app.promote.make_release import make_release
from seamline.app.promote.plan_promotion import plan_promotion
from seamline.app.promote.release_teams import teams_of_names
from seamline.app.promote.show_release import compare_releases, verify_release
from seamline.app.promote.take_part import (
    approve_promotion,
    ask_promotion,
    ask_rollback,
    reject_promotion,
)
from seamline.app.references import split_reference
from seamline.domain.states import PromotionPhase, is_terminal
from seamline.promote.environments import TRAINING
from seamline.promote.promotion import list_promotions
from seamline.promote.release import find_release, list_releases
from seamline.protocols.native.access import (
    Approver,
    PlatformOf,
    Reader,
    Releaser,
    Requester,
    RollingBack,
    await_state,
)
from seamline.trust.refusals import require_teams
from seamline.trust.roles import Verb

ROUTER = APIRouter()
_SETTLED = {
    phase.value
    for phase in PromotionPhase
    if is_terminal(phase) or phase in {PromotionPhase.AWAITING_APPROVAL, PromotionPhase.LIVE}
}
_ENDED = _SETTLED - {PromotionPhase.AWAITING_APPROVAL.value}


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
    #: To approve: the envelope in which the caller's own key signed it.
    signed: str | None = None


@ROUTER.get("/board")
def board(platform: PlatformOf, who: Reader) -> dict[str, Any]:
    return show_board(platform)


@ROUTER.post("/releases")
def create(platform: PlatformOf, who: Releaser, body: NewRelease) -> dict[str, Any]:
    models = [split_reference(one)[0] for one in body.models]
    pipelines = [one.partition("@")[0] for one in body.pipelines]
    theirs = teams_of_names(platform, models, pipelines)
    require_teams(who, Verb.RELEASE, TRAINING, theirs, f"the release {body.alias}")
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
    made = ask_promotion(
        platform,
        body.release,
        body.environment,
        who,
        emergency=body.emergency,
        reason=body.reason,
    )
    return show_promotion(platform, made.id)


@ROUTER.post("/promotions/plan")
def plan(platform: PlatformOf, who: Reader, body: NewPromotion) -> dict[str, Any]:
    return plan_promotion(platform, body.release, body.environment, by=who.name)


@ROUTER.post("/rollbacks")
def roll_back(platform: PlatformOf, who: RollingBack, body: NewRollback) -> dict[str, Any]:
    made = ask_rollback(platform, body.environment, body.reason, who, to=body.to)
    return show_promotion(platform, made.id)


@ROUTER.get("/promotions")
def promotions(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        found = list_promotions(connection)
    return [show_promotion(platform, one.id) for one in found]


@ROUTER.get("/promotions/{promotion_id}")
def promotion(
    platform: PlatformOf,
    who: Reader,
    promotion_id: str,
    wait_s: float = 0,
    until: Literal["settled", "end"] = "settled",
) -> dict[str, Any]:
    """`wait_s`: held until somebody is waited for, or (`until=end`) it is live or never will be."""

    def show() -> dict[str, Any]:
        return show_promotion(platform, promotion_id)

    ends = _SETTLED if until == "settled" else _ENDED
    await_state(platform, lambda: show()["settled_phase"], ends, wait_s)
    return show()


@ROUTER.post("/promotions/{promotion_id}/approve")
def approve_(
    platform: PlatformOf, who: Approver, promotion_id: str, body: Opinion
) -> dict[str, Any]:
    signed = body.signed.encode() if body.signed is not None else None
    approve_promotion(platform, promotion_id, who, comment=body.comment, signed=signed)
    return show_promotion(platform, promotion_id)


@ROUTER.post("/promotions/{promotion_id}/reject")
def reject_(
    platform: PlatformOf, who: Approver, promotion_id: str, body: Opinion
) -> dict[str, Any]:
    reject_promotion(platform, promotion_id, who, body.reason)
    return show_promotion(platform, promotion_id)
