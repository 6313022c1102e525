"""What people do about a release: ask for it, approve or reject it, go back to another one.

Each asks what they may do there, for all the teams whose things the release holds.
"""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.app.promote.parties import parties_of
from seamline.app.promote.release_teams import teams_of
from seamline.promote.approvals import approve, reject
from seamline.promote.decide import why_may_not_approve
from seamline.promote.environments import find_environment, live_release
from seamline.promote.history import find_previous
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.requests import request_emergency, request_promotion, request_rollback
from seamline.trust.approver_keys import key_in_force
from seamline.trust.refusals import require_teams
from seamline.trust.roles import Principal, Verb


def ask_promotion(
    platform: Platform,
    reference: str,
    environment: str,
    who: Principal,
    *,
    emergency: bool = False,
    reason: str = "",
) -> Promotion:
    """`reason` is for whoever approves; an emergency has that of its broken glass."""
    with platform.stores.db.read() as connection:
        release = find_release(connection, reference)
    _require(platform, who, Verb.REQUEST_PROMOTION, environment, release)
    stores = platform.stores
    if emergency:
        return request_emergency(stores, reference, environment, by=who.name)
    return request_promotion(stores, reference, environment, by=who.name, reason=reason)


def ask_rollback(
    platform: Platform, environment: str, reason: str, who: Principal, *, to: str | None = None
) -> Promotion:
    """Both what goes and what comes back has to be theirs to move."""
    with platform.stores.db.read() as connection:
        live = live_release(connection, environment)
        if live is not None:
            target = find_environment(connection, environment)
            back = find_previous(connection, target) if to is None else find_release(connection, to)
            _require(platform, who, Verb.ROLL_BACK, environment, live, back)
    return request_rollback(platform.stores, environment, reason, by=who.name, to=to)


def approve_promotion(
    platform: Platform,
    promotion_id: str,
    who: Principal,
    *,
    comment: str = "",
    signed: bytes | None = None,
) -> Promotion:
    """`signed`: see `approve`."""
    promotion, release = _find(platform, promotion_id)
    parties = parties_of(platform, release, promotion)
    teams = teams_of(platform, release.release)
    return approve(
        platform.stores, promotion_id, who, parties, teams=teams, comment=comment, signed=signed
    )


def reject_promotion(
    platform: Platform, promotion_id: str, who: Principal, reason: str
) -> Promotion:
    _, release = _find(platform, promotion_id)
    teams = teams_of(platform, release.release)
    return reject(platform.stores, promotion_id, who, reason, teams=teams)


def why_not_decide(
    platform: Platform, promotion_id: str, who: Principal
) -> tuple[str | None, str | None]:
    """Why they may not approve it on a page, and why not reject it; None where they may."""
    promotion, release = _find(platform, promotion_id)
    parties, teams = parties_of(platform, release, promotion), teams_of(platform, release.release)
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
        key = key_in_force(connection, who.name)
    signs = None
    if key is not None:
        signs = (
            f"{who.name} signs approvals with a key, which no browser holds: "
            f"seamline promotion approve {promotion_id} --sign-with FILE"
        )
    return (
        why_may_not_approve(who, policy, parties, teams) or signs,
        why_may_not_approve(who, policy, {}, teams),
    )


def _find(platform: Platform, promotion_id: str) -> tuple[Promotion, StoredRelease]:
    with platform.stores.db.read() as connection:
        promotion = find_promotion(connection, promotion_id)
        return promotion, find_release(connection, promotion.goes_live)


def _require(
    platform: Platform, who: Principal, verb: Verb, environment: str, *releases: StoredRelease
) -> None:
    teams = teams_of(platform, *(one.release for one in releases))
    named = " and ".join(dict.fromkeys(one.alias for one in releases))
    require_teams(who, verb, environment, teams, named)
