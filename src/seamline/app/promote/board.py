"""What people look at: environments, what is live, what waits for whom and why not yet."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from seamline.app.platform import Platform
from seamline.app.promote.next_up import next_up, show_window
from seamline.app.serve.data_plane import list_standbys
from seamline.domain.promote_facts import EnvironmentChanged, ReleaseShipped
from seamline.domain.states import PromotionPhase
from seamline.promote.approvals import approvals_of
from seamline.promote.decide import Situation, why_not_yet
from seamline.promote.environments import Environment, list_environments
from seamline.promote.gate_results import gate_results
from seamline.promote.glass import broken_glass
from seamline.promote.holds import standing_holds
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.requests import why_asked
from seamline.promote.shipments import find_shipped
from seamline.promote.situation import load_situation
from seamline.store.outbox import list_undone


def show_promotion(platform: Platform, promotion_id: str) -> dict[str, Any]:
    with platform.stores.db.read() as connection:
        return _promotion(platform, connection, find_promotion(connection, promotion_id))


def show_board(platform: Platform) -> dict[str, Any]:
    """`standbys`: what the data plane could swap to at once."""
    plane = platform.data_plane_url()
    with platform.stores.db.read() as connection:
        holds = standing_holds(connection)
        glass = broken_glass(connection, platform.stores.clock.now())
        environments = []
        for environment in list_environments(connection):
            live = _live(connection, environment)
            waiting = list_promotions(connection, environment=environment.name, open_only=True)
            environments.append(
                {
                    **environment.to_json(),
                    "live": live.to_json() if live else None,
                    "next": next_up(platform, connection, environment),
                    "window": show_window(platform, environment),
                    "waiting": [_promotion(platform, connection, one) for one in waiting],
                    "holds": [
                        one.to_json() for one in holds if one.environment == environment.name
                    ],
                    "glass": [
                        one.to_json() for one in glass if one.environment == environment.name
                    ],
                }
            )
    for one in environments:
        one["standbys"] = list_standbys(plane, one["name"])
    return {"environments": environments, "data_plane": plane}


def _live(connection: Connection, environment: Environment) -> StoredRelease | None:
    """Live once it has been verified there; until then its promotion is among the waiting."""
    if environment.release is None or environment.promotion_id is None:
        return None
    promotion = find_promotion(connection, environment.promotion_id)
    if promotion.phase is PromotionPhase.VERIFYING:
        return None
    return find_release(connection, environment.release)


def _promotion(platform: Platform, connection: Connection, promotion: Promotion) -> dict[str, Any]:
    situation = load_situation(connection, platform.stores, promotion)
    phase = promotion.phase
    waits = why_not_yet(situation) if phase is PromotionPhase.AWAITING_APPROVAL else []
    shipped = find_shipped(connection, promotion.id)
    moving = phase is PromotionPhase.AWAITING_APPROVAL and not waits
    return {
        **promotion.to_json(),
        # A promotion that waits for nothing any more is about to move: not settled.
        "settled_phase": "moving" if moving else phase.value,
        "release_alias": find_release(connection, promotion.release).alias,
        "why_asked": why_asked(connection, promotion),
        "policy": situation.policy.to_json(),
        "gates": [one.to_json() for one in gate_results(connection, promotion.id)],
        "approvals": [one.__dict__ for one in approvals_of(connection, promotion.id)],
        "why_not_yet": waits or _why_not_there(platform, situation, promotion),
        # Where it is promoted, when that is another server, and under which id there.
        "server": shipped and {"url": shipped.body["url"], "promotion_id": shipped.body["there"]},
    }


def _why_not_there(platform: Platform, situation: Situation, promotion: Promotion) -> list[str]:
    """What went wrong the last time that the environment's own server was asked."""
    if situation.policy.url is None or promotion.phase is not PromotionPhase.VERIFYING:
        return []
    sending = list_undone(platform.stores.db, EnvironmentChanged.kind, [promotion.environment])
    following = list_undone(platform.stores.db, ReleaseShipped.kind, [promotion.id])
    return [said for said in (*sending.values(), *following.values()) if said]
