"""Approvals and rejections: each bound to what stood when it was given (law 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import iso, new_id
from seamline.domain.errors import Conflict, Forbidden, InvalidInput
from seamline.domain.promote_facts import ApprovalDismissed, ApprovalGiven
from seamline.domain.states import PromotionPhase
from seamline.promote.decide import Approval, why_may_not_approve
from seamline.promote.environments import find_environment
from seamline.promote.policy import Party
from seamline.promote.promotion import Promotion, find_promotion, move
from seamline.promote.rows import APPROVALS
from seamline.store.stores import Stores
from seamline.trust.principals import PLATFORM
from seamline.trust.roles import Principal


def approve(
    stores: Stores,
    promotion_id: str,
    approver: Principal,
    parties: Mapping[Party, Mapping[str, str]],
    *,
    comment: str = "",
) -> Promotion:
    """Bound to release, environment, policy and evidence as they stand now (law 5)."""
    with stores.db.transaction() as tx:
        promotion = find_promotion(tx, promotion_id, for_update=True)
        _check_waiting(promotion, "approved")
        policy = find_environment(tx, promotion.environment).policy
        refusal = why_may_not_approve(approver, policy, parties)
        if refusal is not None:
            raise Forbidden(refusal, next_step="Somebody else has to approve.")
        if any(given.principal == approver.name for given in approvals_of(tx, promotion_id)):
            raise Conflict(f"{approver.name} has approved promotion {promotion_id} already.")
        approval = Approval(
            new_id(stores.clock),
            approver.name,
            promotion.policy_digest or "",
            promotion.evidence_digest or "",
            comment,
            iso(stores.clock.now()),
            tuple(party for party in Party if approver.name in parties.get(party, {})),
        )
        row = {**asdict(approval), "self_approved": " ".join(approval.self_approved)}
        tx.execute(insert(APPROVALS).values(promotion_id=promotion_id, **row))
        fact = ApprovalGiven(
            promotion_id,
            promotion.goes_live,
            promotion.environment,
            approval.policy_digest,
            approval.evidence_digest,
            comment,
            tuple(party.value for party in approval.self_approved),
        )
        stores.facts.append(tx, fact, by=approver.name)
    return promotion


def reject(stores: Stores, promotion_id: str, approver: Principal, reason: str) -> Promotion:
    """Raises InvalidInput without a reason, Forbidden without the role."""
    if not reason.strip():
        raise InvalidInput("A rejection needs a reason.", next_step="Say why: --reason '…'.")
    with stores.db.transaction() as tx:
        promotion = find_promotion(tx, promotion_id)
        _check_waiting(promotion, "rejected")
        policy = find_environment(tx, promotion.environment).policy
        refusal = why_may_not_approve(approver, policy, {})
        if refusal is not None:
            raise Forbidden(refusal.replace("approve", "reject"))
        move(tx, stores, promotion, PromotionPhase.REJECTED, reason.strip(), by=approver.name)
        return find_promotion(tx, promotion_id)


def approvals_of(connection: Connection, promotion_id: str) -> tuple[Approval, ...]:
    rows = connection.execute(
        select(APPROVALS)
        .where(APPROVALS.c.promotion_id == promotion_id, APPROVALS.c.dismissed_at.is_(None))
        .order_by(APPROVALS.c.at)
    )
    return tuple(
        Approval(
            row.id,
            row.principal,
            row.policy_digest,
            row.evidence_digest,
            row.comment,
            row.at,
            tuple(Party(party) for party in row.self_approved.split()),
        )
        for row in rows
    )


def dismiss(
    tx: Connection, stores: Stores, promotion: Promotion, approval: Approval, reason: str
) -> None:
    tx.execute(
        update(APPROVALS)
        .where(APPROVALS.c.id == approval.id)
        .values(dismissed_at=iso(stores.clock.now()))
    )
    stores.facts.append(tx, ApprovalDismissed(promotion.id, approval.id, reason), by=PLATFORM)


def _check_waiting(promotion: Promotion, deed: str) -> None:
    if promotion.phase is not PromotionPhase.AWAITING_APPROVAL:
        raise Conflict(
            f"Promotion {promotion.id} is {promotion.phase.replace('_', ' ')}; "
            f"it can be {deed} only while it awaits approval."
            + (f" {promotion.reason}" if promotion.reason else "")
        )
