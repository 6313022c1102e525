"""Pages of releases and of promotions: what is in them, where they are, and how that came."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from seamline.app.platform import Platform
from seamline.app.promote.board import show_promotion
from seamline.app.promote.plan_promotion import planned_promotion, why_refused
from seamline.app.promote.show_release import compare_releases, verify_release
from seamline.console.page import HEADERS, Pages
from seamline.console.sources import read_request
from seamline.console.timeline import facts_of_promotion, facts_of_release, told
from seamline.domain.clock import iso
from seamline.domain.promote_facts import ReleaseRefused
from seamline.domain.states import PromotionPhase, is_terminal
from seamline.promote.decide import why_not_yet
from seamline.promote.environments import Environment, list_environments
from seamline.promote.history import live_since
from seamline.promote.promotion import find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release, list_releases
from seamline.promote.requests import REPLACEABLE
from seamline.promote.situation import load_situation
from seamline.store.facts import read_facts
from seamline.trust.roles import Principal

LISTED = 100
RECENT_REFUSALS = 20


def add_release_views(router: APIRouter, pages: Pages) -> None:
    @router.get("/releases")
    def releases(request: Request) -> Response:
        _, who = pages.sessions.reader(request)
        return pages.page(request, "releases.html", read_releases(_platform(request)), who)

    @router.get("/releases/{reference}")
    def release(request: Request, reference: str, against: str = "", verify: str = "") -> Response:
        """`verify`: hash all of it now."""
        _, who = pages.sessions.reader(request)
        data = read_release(_platform(request), reference, against or None, bool(verify))
        return pages.page(request, "release.html", data, who)

    @router.get("/releases/{reference}/document")
    def document(request: Request, reference: str) -> Response:
        """The bytes whose sha256 is the release's name."""
        pages.sessions.reader(request)
        with _platform(request).stores.db.read() as connection:
            found = find_release(connection, reference)
        name = f'attachment; filename="{found.alias}.json"'
        headers = {**HEADERS, "Content-Disposition": name}
        return Response(found.release.document(), 200, headers, "application/json")

    @router.get("/promotions/{promotion_id}")
    def promotion(request: Request, promotion_id: str) -> Response:
        principal, who = pages.sessions.reader(request)
        data = read_promotion(_platform(request), promotion_id, principal)
        return pages.page(request, "promotion.html", data, who)


def read_releases(platform: Platform) -> dict[str, Any]:
    with platform.stores.db.read() as connection:
        found = list_releases(connection, LISTED)
        places = {
            one.digest: [
                environment.name
                for environment in list_environments(connection)
                if environment.release == one.digest
            ]
            for one in found
        }
        refused = read_facts(
            connection, kinds=[ReleaseRefused.kind], newest_first=True, limit=RECENT_REFUSALS
        )
    return {
        "refusals": [{"at": one.at, **one.body} for one in refused],
        "releases": [{**one.to_json(), "live_in": places[one.digest]} for one in found],
        "listed": LISTED,
        "now": iso(platform.stores.clock.now()),
    }


def read_release(
    platform: Platform, reference: str, against: str | None, verify: bool
) -> dict[str, Any]:
    """`against`: another release; None: what is live in the last environment that has another,
    else the newest other one."""
    with platform.stores.db.read() as connection:
        release = find_release(connection, reference)
        environments = list_environments(connection)
        found = [_place(platform, connection, release, one) for one in environments]
        recent = [one for one in list_releases(connection, LISTED) if one.digest != release.digest]
        newest = recent[0].digest if recent else None
        other = against or _rival(environments, release.digest) or newest
        timeline = told(connection, facts_of_release(connection, release.digest))
    return {
        "release": release.to_json(),
        "places": [_with_promotions(platform, one) for one in found],
        "verified": verify_release(platform, release.digest) if verify else None,
        "diff": compare_releases(platform, other, release.digest) if other else None,
        "rivals": [
            {
                "alias": one.alias,
                "digest": one.digest,
                "live_in": [place.name for place in environments if place.release == one.digest],
            }
            for one in recent
        ],
        "timeline": timeline,
        "now": iso(platform.stores.clock.now()),
    }


def _place(
    platform: Platform, connection: Connection, release: StoredRelease, environment: Environment
) -> dict[str, Any]:
    """Where it stands in an environment: live, on its way, or what it would take."""
    known = list_promotions(connection, environment=environment.name)
    last = next((one for one in known if one.release == release.digest), None)
    now = iso(platform.stores.clock.now())
    planned = planned_promotion(release, environment.name, "", now)
    can_come = environment.policy.after is not None and environment.release != release.digest
    refused = why_refused(connection, release, environment) if can_come else None
    asks = can_come and refused is None
    return {
        "environment": environment.name,
        "is_origin": environment.policy.after is None,
        "live_since": live_since(connection, release, environment.name),
        "last": last.id if last else None,
        "refused": refused,
        "waits": why_not_yet(load_situation(connection, platform.stores, planned)) if asks else [],
    }


def _with_promotions(platform: Platform, place: dict[str, Any]) -> dict[str, Any]:
    """`going`: on its way there now."""
    last = show_promotion(platform, place["last"]) if place["last"] else None
    moving = {*REPLACEABLE, PromotionPhase.APPLYING, PromotionPhase.VERIFYING}
    going = last if last and last["phase"] in moving else None
    return {**place, "last": last, "going": going}


def _rival(environments: list[Environment], digest: str) -> str | None:
    others = [one.release for one in environments if one.release not in (None, digest)]
    return others[-1] if others else None


def read_promotion(platform: Platform, promotion_id: str, principal: Principal) -> dict[str, Any]:
    """Raises NotFound."""
    with platform.stores.db.read() as connection:
        promotion = find_promotion(connection, promotion_id)
        timeline = told(connection, facts_of_promotion(connection, promotion_id))
    shown = read_request(platform, promotion, principal)
    return {
        "promotion": shown,
        "timeline": timeline,
        "is_moving": not is_terminal(promotion.phase)
        and shown["settled_phase"] not in ("awaiting_approval", "live"),
        "now": iso(platform.stores.clock.now()),
    }


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform
