"""What every page says above everything else: broken glass, and what came in under it."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.domain.states import PromotionKind
from seamline.promote.environments import list_environments
from seamline.promote.glass import broken_glass
from seamline.promote.promotion import find_promotion
from seamline.promote.release import find_release


def read_alarms(platform: Platform) -> list[dict[str, Any]]:
    """Glass that is broken now, then each release that is live by an emergency: until it has been
    promoted the regular way nobody but the one who hurried has looked at it."""
    with platform.stores.db.read() as connection:
        found: list[dict[str, Any]] = [
            {"kind": "glass", **one.to_json()}
            for one in broken_glass(connection, platform.stores.clock.now())
        ]
        for environment in list_environments(connection):
            if environment.release is None or environment.promotion_id is None:
                continue
            promotion = find_promotion(connection, environment.promotion_id)
            if promotion.kind is PromotionKind.EMERGENCY:
                release = find_release(connection, environment.release)
                found.append(
                    {
                        "kind": "emergency",
                        "environment": environment.name,
                        "release_alias": release.alias,
                        "promotion_id": promotion.id,
                        "principal": promotion.requested_by,
                        "at": promotion.requested_at,
                    }
                )
    return found
