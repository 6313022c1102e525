"""Which releases of an environment may have to answer next."""

from __future__ import annotations

from sqlalchemy import Connection

from seamline.domain.errors import Refused
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import Environment
from seamline.promote.history import find_previous, were_live
from seamline.promote.promotion import list_promotions

#: What is checked or waits is loaded meanwhile; what is being verified is live already, or is not
#: to be.
_ON_THEIR_WAY = (
    PromotionPhase.CHECKING,
    PromotionPhase.AWAITING_APPROVAL,
    PromotionPhase.APPLYING,
)


def wanted_standbys(connection: Connection, environment: Environment) -> list[str]:
    """Digests, the most wanted first, no more than the policy keeps warm: what a rollback would
    bring back, then what is on its way in."""
    name = environment.name
    found = [*_before(connection, environment)]
    coming = list_promotions(connection, environment=name, open_only=True)
    found += [one.goes_live for one in coming if one.phase in _ON_THEIR_WAY]
    wanted = [one for one in dict.fromkeys(found) if one != environment.release]
    return wanted[: environment.policy.warm]


def _before(connection: Connection, environment: Environment) -> list[str]:
    """While a new one is verified, the one that it takes over from."""
    live = [
        one.goes_live
        for one in were_live(connection, environment.name)
        if one.phase is PromotionPhase.LIVE and one.goes_live != environment.release
    ]
    if live:
        return live
    try:
        return [find_previous(connection, environment).digest]
    except Refused:
        return []
