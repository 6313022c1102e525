"""Requests: a regular promotion, a rollback, an emergency. A newer one takes over from an older."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from seamline.domain.clock import iso, new_id
from seamline.domain.digests import short
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, Refused
from seamline.domain.promote_facts import (
    EmergencyRequested,
    PromotionRequested,
    RollbackRequested,
)
from seamline.domain.states import PromotionKind, PromotionPhase
from seamline.promote.environments import TRAINING, Environment, lock_environment
from seamline.promote.glass import broken_glass
from seamline.promote.history import find_previous, has_been_live
from seamline.promote.holds import check_reason, record_hold, standing_holds
from seamline.promote.promotion import Promotion, list_promotions, move
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.rows import PROMOTIONS
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
    """Refused out of order, or while a hold keeps this release back; an older request for the
    environment is superseded."""
    with stores.db.transaction() as tx:
        release = find_release(tx, reference)
        target = lock_environment(tx, environment)
        check_request(tx, release, target)
        _make_way(tx, stores, environment, release, by)
        promotion = _insert(tx, stores, release, environment, PromotionKind.REGULAR, by)
        fact = PromotionRequested(promotion.id, release.digest, environment)
        stores.facts.append(tx, fact, by=by, caused_by=caused_by)
    return promotion


def request_emergency(stores: Stores, reference: str, environment: str, *, by: str) -> Promotion:
    """Under glass that the same person has broken; Forbidden without. Holds and the order of
    environments do not keep it back."""
    with stores.db.transaction() as tx:
        release = find_release(tx, reference)
        lock_environment(tx, environment)
        mine = [one for one in broken_glass(tx, stores.clock.now(), environment)
                if one.principal == by]  # fmt: skip
        if not mine:
            raise Forbidden(
                f"{by} has not broken the glass of {environment}.",
                next_step=f"First: seamline glass break {environment} --reason '…'.",
            )
        _make_way(tx, stores, environment, release, by)
        promotion = _insert(
            tx, stores, release, environment, PromotionKind.EMERGENCY, by, mine[-1].id
        )
        fact = EmergencyRequested(promotion.id, environment, release.digest, mine[-1].id)
        stores.facts.append(tx, fact, by=by)
    return promotion


def request_rollback(
    stores: Stores, environment: str, reason: str, *, by: str, to: str | None = None
) -> Promotion:
    """To the release that was live before, or to `to`, which has to have been live there. In the
    same transaction a hold is set: what goes does not come back by itself."""
    check_reason(reason, "A rollback")
    with stores.db.transaction() as tx:
        target = lock_environment(tx, environment)
        if target.release is None or target.promotion_id is None:
            raise Refused(f"Nothing is live in {environment}: there is nothing to roll back.")
        release = find_previous(tx, target) if to is None else find_release(tx, to)
        if release.digest == target.release:
            raise InvalidInput(f"Release {release.alias} is what is live in {environment}.")
        if not has_been_live(tx, release, environment):
            raise Refused(
                f"Release {release.alias} ({short(release.digest)}) was never live in "
                f"{environment}: that would be no rollback.",
                next_step=f"Promote it: seamline promote {release.alias} --to {environment}.",
            )
        _make_way(tx, stores, environment, release, by)
        promotion = _insert(tx, stores, release, environment, PromotionKind.ROLLBACK, by)
        fact = RollbackRequested(
            promotion.id, environment, release.digest, target.release, reason.strip()
        )
        asked = stores.facts.append(tx, fact, by=by)
        record_hold(tx, stores, environment, target.release, reason, by=by, caused_by=asked)
    return promotion


def check_request(tx: Connection, release: StoredRelease, target: Environment) -> None:
    """Raises Refused where the release has not been live in the environment before, or is held
    back in this one."""
    after = target.policy.after
    if target.name == TRAINING or after is None:
        raise InvalidInput(
            f"Nothing is promoted into {target.name}: releases are made there.",
            next_step="Promote to an environment that follows it.",
        )
    if not has_been_live(tx, release, after):
        raise Refused(
            f"Release {release.alias} ({short(release.digest)}) has not been live in "
            f"{after}, which comes before {target.name}.",
            next_step=f"First: seamline promote {release.alias} --to {after}.",
        )
    _check_held(tx, release, target.name)


def _check_held(tx: Connection, release: StoredRelease, environment: str) -> None:
    for hold in standing_holds(tx, environment):
        if hold.release == release.digest:
            raise Refused(
                f"Release {release.alias} ({short(release.digest)}) was rolled back in "
                f"{environment} by {hold.set_by} at {hold.set_at}: {hold.reason}.",
                next_step=f"Lift the hold first: seamline hold lift {environment} --reason '…'.",
            )


def _insert(
    tx: Connection,
    stores: Stores,
    release: StoredRelease,
    environment: str,
    kind: PromotionKind,
    by: str,
    glass_id: str | None = None,
) -> Promotion:
    now = iso(stores.clock.now())
    promotion = Promotion(
        new_id(stores.clock), release.digest, environment, PromotionPhase.REQUESTED, by, now, now,
        None, None, "", kind, glass_id,
    )  # fmt: skip
    tx.execute(insert(PROMOTIONS).values(**promotion.to_json()))
    return promotion


def _make_way(
    tx: Connection, stores: Stores, environment: str, release: StoredRelease, by: str
) -> None:
    for other in list_promotions(tx, environment=environment, open_only=True):
        if other.release == release.digest:
            raise Conflict(
                f"Promotion {other.id} of this release to {environment} is "
                f"{other.phase.replace('_', ' ')} already.",
                next_step=f"See it: seamline promotion show {other.id}.",
            )
        if other.phase not in REPLACEABLE:
            raise Conflict(
                f"Promotion {other.id} to {environment} is {other.phase}: two never interleave.",
                next_step="Ask again when it has ended.",
            )
        reason = f"a newer request: release {release.alias}"
        move(tx, stores, other, PromotionPhase.SUPERSEDED, reason, by=by)
