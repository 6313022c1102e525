"""Requests for promotion: refused out of order; a newer one takes over."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from seamline.domain.clock import iso, new_id
from seamline.domain.digests import short
from seamline.domain.errors import Conflict, InvalidInput, Refused
from seamline.domain.facts import PromotionRequested
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import TRAINING, find_environment
from seamline.promote.promotion import Promotion, list_promotions, move
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.rows import ENVIRONMENTS, PROMOTIONS
from seamline.promote.situation import has_been_live
from seamline.store.stores import Stores

#: Phases in which a newer request for the same environment takes over.
REPLACEABLE = (
    PromotionPhase.REQUESTED,
    PromotionPhase.CHECKING,
    PromotionPhase.AWAITING_APPROVAL,
)


def request_promotion(
    stores: Stores, reference: str, environment: str, *, by: str, caused_by: str | None = None
) -> Promotion:
    """Refused out of order; an older request for the environment is superseded."""
    with stores.db.transaction() as tx:
        release = find_release(tx, reference)
        _lock_environment(tx, environment)
        policy = find_environment(tx, environment).policy
        if environment == TRAINING or policy.after is None:
            raise InvalidInput(
                f"Nothing is promoted into {environment}: releases are made there.",
                next_step="Promote to an environment that follows it.",
            )
        if not has_been_live(tx, release, policy.after):
            raise Refused(
                f"Release {release.alias} ({short(release.digest)}) has not been live in "
                f"{policy.after}, which comes before {environment}.",
                next_step=f"First: seamline promote {release.alias} --to {policy.after}.",
            )
        for open_one in list_promotions(tx, environment=environment, open_only=True):
            _make_way(tx, stores, open_one, release, by)
        now = iso(stores.clock.now())
        promotion = Promotion(
            new_id(stores.clock),
            release.digest,
            environment,
            PromotionPhase.REQUESTED,
            by,
            now,
            now,
            None,
            None,
            "",
        )
        tx.execute(insert(PROMOTIONS).values(**promotion.to_json()))
        fact = PromotionRequested(promotion.id, release.digest, environment)
        stores.facts.append(tx, fact, by=by, caused_by=caused_by)
    return promotion


def _lock_environment(tx: Connection, name: str) -> None:
    """Requests for one environment queue up (SQLite has one writer anyway)."""
    row = select(ENVIRONMENTS.c.name).where(ENVIRONMENTS.c.name == name)
    tx.execute(row.with_for_update())


def _make_way(
    tx: Connection, stores: Stores, other: Promotion, release: StoredRelease, by: str
) -> None:
    if other.release == release.digest:
        raise Conflict(
            f"Promotion {other.id} of this release to {other.environment} is "
            f"{other.phase.replace('_', ' ')} already.",
            next_step=f"See it: seamline promotion show {other.id}.",
        )
    if other.phase not in REPLACEABLE:
        raise Conflict(
            f"Promotion {other.id} to {other.environment} is {other.phase}: two never interleave.",
            next_step="Ask again when it has ended.",
        )
    reason = f"a newer request: release {release.alias}"
    move(tx, stores, other, PromotionPhase.SUPERSEDED, reason, by=by)
