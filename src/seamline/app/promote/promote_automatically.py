"""Environments whose policy says `automatic` ask for promotion by themselves."""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.errors import Conflict, Refused, Unavailable
from seamline.domain.states import Promotes, PromotionPhase
from seamline.promote.environments import TRAINING, list_environments
from seamline.promote.holds import standing_holds
from seamline.promote.promotion import find_promotion, list_promotions
from seamline.promote.requests import request_promotion
from seamline.store.facts import RecordedFact
from seamline.store.stores import Stores


def on_release_created(platform: Platform, fact: RecordedFact) -> None:
    request_automatic(platform.stores, fact.body["release"], TRAINING, fact)


def on_release_live(platform: Platform, fact: RecordedFact) -> None:
    if fact.body["after"] != PromotionPhase.LIVE:
        return
    stores = platform.stores
    with stores.db.read() as connection:
        promotion = find_promotion(connection, fact.body["promotion_id"])
    here = fact.body["environment"]
    request_automatic(stores, promotion.goes_live, here, fact, Promotes.MODEL)
    request_automatic(stores, promotion.release, here, fact, Promotes.CODE)


def request_automatic(
    stores: Stores,
    release: str,
    after: str,
    fact: RecordedFact,
    promotes: Promotes | None = None,
) -> None:
    """Where the release may come next by itself; `promotes`: only into environments that take over
    this. Raises Unavailable while another one is applied there."""
    with stores.db.read() as connection:
        wanting = [
            one.name
            for one in list_environments(connection)
            if one.policy.automatic
            and one.policy.after == after
            and one.release != release
            and promotes in (None, one.policy.promotes)
        ]
        held = {hold.environment for hold in standing_holds(connection)}
        known = list_promotions(connection)
        asked = {(one.release, one.environment) for one in known}
        if after == TRAINING and release in {one.retrained for one in known}:
            return  # made for one environment, where it is on its way already
    busy: Conflict | None = None
    for environment in wanting:
        if (release, environment) in asked or environment in held:
            continue  # under a hold nothing comes in by itself
        try:
            request_promotion(stores, release, environment, by=fact.by, caused_by=fact.id)
        except Refused:
            continue  # it is not live upstream any more
        except Conflict as error:
            busy = error
    if busy is not None:
        # Somebody asked by hand meanwhile, or another promotion is being applied: looked at again.
        raise Unavailable(busy.message) from busy
