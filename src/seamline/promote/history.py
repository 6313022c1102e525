"""What was live where, and since when: told from promotions and their moves."""

from __future__ import annotations

from sqlalchemy import Connection

from seamline.domain.errors import Refused
from seamline.domain.states import Promotes, PromotionPhase
from seamline.promote.environments import Environment, find_environment
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release


def live_since(
    connection: Connection,
    release: StoredRelease,
    environment: str,
    promotes: Promotes = Promotes.MODEL,
) -> str | None:
    """A release is at home in dataops from its creation on; elsewhere, while it is live. As code it
    is live, too, where what was trained by its pipelines is."""
    found = find_environment(connection, environment)
    if found.policy.after is None:
        return release.created_at
    if found.release is None or found.promotion_id is None:
        return None
    # Pointed at is not yet live: it may still fail to be verified there.
    promotion = find_promotion(connection, found.promotion_id)
    if release.digest not in _names(promotion, promotes):
        return None
    return found.changed_at if promotion.phase is PromotionPhase.LIVE else None


def has_been_live(
    connection: Connection,
    release: StoredRelease,
    environment: str,
    promotes: Promotes = Promotes.MODEL,
) -> bool:
    """Now, or before another release took its place; not where it was rolled back since."""
    if live_since(connection, release, environment, promotes) is not None:
        return True
    known = were_live(connection, environment)
    mine = [one for one in known if release.digest in _names(one, promotes)]
    return bool(mine) and mine[0].phase is not PromotionPhase.ROLLED_BACK


def find_previous(connection: Connection, environment: Environment) -> StoredRelease:
    """The release that was live before the one that is, and was not rolled back itself; Refused
    where there is none."""
    seen = {environment.release}
    for one in were_live(connection, environment.name):
        if one.goes_live not in seen and one.phase is PromotionPhase.SUPERSEDED:
            return find_release(connection, one.goes_live)
        seen.add(one.goes_live)
    raise Refused(
        f"No other release was live in {environment.name} before: there is none to go back to."
    )


def _names(promotion: Promotion, promotes: Promotes) -> set[str]:
    code = {promotion.release} if promotes is Promotes.CODE else set()
    return {promotion.goes_live, *code}


def were_live(connection: Connection, environment: str) -> list[Promotion]:
    """The promotions that went live there, the one that did last first."""
    known = list_promotions(connection, environment=environment)
    return sorted(
        (one for one in known if one.live_number is not None),
        key=lambda one: one.live_number or 0,
        reverse=True,
    )
