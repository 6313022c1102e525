"""The steps of a promotion, and the environment's pointer: each is one transaction."""

from __future__ import annotations

from sqlalchemy import Connection, update

from seamline.domain.clock import iso
from seamline.domain.promote_facts import EnvironmentChanged
from seamline.domain.states import PromotionKind, PromotionPhase, is_terminal
from seamline.promote.approvals import dismiss
from seamline.promote.decide import Step, decide_step
from seamline.promote.environments import find_environment, lock_environment
from seamline.promote.gate_results import evidence_digest, gate_results
from seamline.promote.promotion import Promotion, find_promotion, list_promotions, move
from seamline.promote.rows import ENVIRONMENTS
from seamline.promote.situation import load_situation
from seamline.store.stores import Stores
from seamline.trust.principals import PLATFORM


def advance(stores: Stores, promotion_id: str, *, caused_by: str | None = None) -> Promotion:
    """Take the decided step, if there is one; returns the promotion as it stands. The pointer
    moves with `point_environment` alone."""
    with stores.db.transaction() as tx:
        promotion = find_promotion(tx, promotion_id, for_update=True)
        if promotion.phase is not PromotionPhase.APPLYING:
            step = decide_step(load_situation(tx, stores, promotion))
            _take(tx, stores, promotion, step, caused_by)
        return find_promotion(tx, promotion_id)


def _take(
    tx: Connection, stores: Stores, promotion: Promotion, step: Step, caused_by: str | None
) -> None:
    reason = "; ".join(step.reasons)
    for approval in step.dismiss:
        dismiss(tx, stores, promotion, approval, reason or "it is stale")
    if step.phase is not None:
        values = _frozen(tx, promotion, step)
        move(tx, stores, promotion, step.phase, reason, by=PLATFORM, caused_by=caused_by, **values)


def _frozen(tx: Connection, promotion: Promotion, step: Step) -> dict[str, str]:
    """The evidence is frozen when approval is asked (or none is needed)."""
    asked = {PromotionPhase.AWAITING_APPROVAL, PromotionPhase.APPLYING}
    if promotion.phase is not PromotionPhase.CHECKING or step.phase not in asked:
        return {}
    return {
        "policy_digest": find_environment(tx, promotion.environment).policy.digest,
        "evidence_digest": evidence_digest(gate_results(tx, promotion.id)),
    }


def point_environment(
    stores: Stores, promotion_id: str, *, caused_by: str | None = None
) -> Promotion:
    """The pointer and the phase move in one transaction: applying → verifying. What the policy
    asks is asked once more in it; where it does not hold any longer, the promotion goes back."""
    with stores.db.transaction() as tx:
        lock_environment(tx, find_promotion(tx, promotion_id).environment)
        promotion = find_promotion(tx, promotion_id, for_update=True)
        if promotion.phase is not PromotionPhase.APPLYING:
            return promotion
        step = decide_step(load_situation(tx, stores, promotion))
        _take(tx, stores, promotion, step, caused_by)
        if step.phase is PromotionPhase.VERIFYING:
            before = find_environment(tx, promotion.environment).release
            now = iso(stores.clock.now())
            tx.execute(
                update(ENVIRONMENTS)
                .where(ENVIRONMENTS.c.name == promotion.environment)
                .values(release=promotion.release, promotion_id=promotion.id, changed_at=now)
            )
            fact = EnvironmentChanged(
                promotion.environment, promotion.release, before, promotion.id
            )
            stores.facts.append(tx, fact, by=PLATFORM, caused_by=caused_by)
        return find_promotion(tx, promotion_id)


def finish(
    stores: Stores, promotion_id: str, after: PromotionPhase, reason: str, *, caused_by: str | None
) -> None:
    """Move to an end (or live), unless it is there already: safe to do twice.

    What was verified supersedes the release before; what was not gives the pointer back to it.
    """
    with stores.db.transaction() as tx:
        lock_environment(tx, find_promotion(tx, promotion_id).environment)
        promotion = find_promotion(tx, promotion_id)
        if promotion.phase is after or is_terminal(promotion.phase):
            return
        here = list_promotions(tx, environment=promotion.environment)
        live = [one for one in here if one.phase is PromotionPhase.LIVE and one.id != promotion.id]
        if after is not PromotionPhase.LIVE:
            move(tx, stores, promotion, after, reason, by=PLATFORM, caused_by=caused_by)
        else:
            number = 1 + max((one.live_number or 0 for one in here), default=0)
            move(tx, stores, promotion, after, reason, by=PLATFORM, caused_by=caused_by,
                 live_number=number)  # fmt: skip
            back = promotion.kind is PromotionKind.ROLLBACK
            end = PromotionPhase.ROLLED_BACK if back else PromotionPhase.SUPERSEDED
            for other in live:
                move(tx, stores, other, end, f"promotion {promotion.id} went live", by=PLATFORM)
        if after is not PromotionPhase.LIVE and promotion.phase is PromotionPhase.VERIFYING:
            _point_back(tx, stores, promotion, live[0] if live else None, caused_by)


def _point_back(
    tx: Connection,
    stores: Stores,
    promotion: Promotion,
    live: Promotion | None,
    caused_by: str | None,
) -> None:
    """To the release that is served still; its time there goes on."""
    back = {
        "release": live.release if live else None,
        "promotion_id": live.id if live else None,
        "changed_at": live.updated_at if live else None,
    }
    mine = (
        ENVIRONMENTS.c.name == promotion.environment,
        ENVIRONMENTS.c.promotion_id == promotion.id,
    )
    if tx.execute(update(ENVIRONMENTS).where(*mine).values(**back)).rowcount == 0:
        return
    fact = EnvironmentChanged(
        promotion.environment, back["release"], promotion.release, live.id if live else promotion.id
    )
    stores.facts.append(tx, fact, by=PLATFORM, caused_by=caused_by)
