"""What people look at: environments, what is live, what waits for whom and why not yet."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from seamline.app.platform import Platform
from seamline.app.serve.data_plane import list_standbys
from seamline.domain.states import PromotionPhase
from seamline.promote.approvals import approvals_of
from seamline.promote.decide import why_not_yet
from seamline.promote.environments import Environment, list_environments
from seamline.promote.gate_results import gate_results
from seamline.promote.glass import broken_glass
from seamline.promote.holds import standing_holds
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.situation import load_situation


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
    waits = why_not_yet(situation) if promotion.phase is PromotionPhase.AWAITING_APPROVAL else []
    phase = promotion.phase
    moving = phase is PromotionPhase.AWAITING_APPROVAL and not waits
    return {
        **promotion.to_json(),
        # A promotion that waits for nothing any more is about to move: not settled.
        "settled_phase": "moving" if moving else phase.value,
        "release_alias": find_release(connection, promotion.release).alias,
        "policy": situation.policy.to_json(),
        "gates": [one.to_json() for one in gate_results(connection, promotion.id)],
        "approvals": [one.__dict__ for one in approvals_of(connection, promotion.id)],
        "why_not_yet": waits,
    }
