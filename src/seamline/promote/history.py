"""What was live where, and since when: told from promotions and their moves."""

from __future__ import annotations

from sqlalchemy import Connection

from seamline.domain.errors import Refused
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import Environment, find_environment
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release


def live_since(connection: Connection, release: StoredRelease, environment: str) -> str | None:
    """A release is at home in dataops from its creation on; elsewhere, while it is live."""
    found = find_environment(connection, environment)
    if found.policy.after is None:
        return release.created_at
    if found.release != release.digest or found.promotion_id is None:
        return None
    # Pointed at is not yet live: it may still fail to be verified there.
    promotion = find_promotion(connection, found.promotion_id)
    return found.changed_at if promotion.phase is PromotionPhase.LIVE else None


def has_been_live(connection: Connection, release: StoredRelease, environment: str) -> bool:
    """Now, or before another release took its place; not where it was rolled back since."""
    if live_since(connection, release, environment) is not None:
        return True
    mine = [one for one in were_live(connection, environment) if one.release == release.digest]
    return bool(mine) and mine[0].phase is not PromotionPhase.ROLLED_BACK


def find_previous(connection: Connection, environment: Environment) -> StoredRelease:
    """The release that was live before the one that is, and was not rolled back itself; Refused
    where there is none."""
    seen = {environment.release}
    for one in were_live(connection, environment.name):
        if one.release not in seen and one.phase is PromotionPhase.SUPERSEDED:
            return find_release(connection, one.release)
        seen.add(one.release)
    raise Refused(
        f"No other release was live in {environment.name} before: there is none to go back to."
    )


def were_live(connection: Connection, environment: str) -> list[Promotion]:
    """The promotions that went live there, the one that did last first."""
    known = list_promotions(connection, environment=environment)
    return sorted(
        (one for one in known if one.live_number is not None),
        key=lambda one: one.live_number or 0,
        reverse=True,
    )
