"""Approvals and rejections: each bound to what stood when it was given (law 5)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict

from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import iso, new_id
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, Refused
from seamline.domain.promote_facts import ApprovalDismissed, ApprovalGiven, ApprovalSigned
from seamline.domain.states import PromotionPhase
from seamline.promote.decide import Approval, why_may_not_approve
from seamline.promote.environments import find_environment
from seamline.promote.policy import Party
from seamline.promote.promotion import Promotion, find_promotion, move
from seamline.promote.rows import APPROVALS
from seamline.store.stores import Stores
from seamline.trust.approval_statements import ApprovalStatement, check_approval
from seamline.trust.approver_keys import key_in_force
from seamline.trust.principals import PLATFORM
from seamline.trust.roles import Principal


def approve(
    stores: Stores,
    promotion_id: str,
    approver: Principal,
    parties: Mapping[Party, Mapping[str, str]],
    *,
    teams: Set[str | None] = frozenset(),
    comment: str = "",
    signed: bytes | None = None,
) -> Promotion:
    """Bound to release, environment, policy and evidence as they stand now (law 5).

    `teams`: whose things the release holds; None among them: something is no team's.
    `signed`: the envelope in which the approver's own key signed it; whoever has such a key has to.
    """
    with stores.db.transaction() as tx:
        promotion = find_promotion(tx, promotion_id, for_update=True)
        _check_waiting(promotion, "approved")
        policy = find_environment(tx, promotion.environment).policy
        refusal = why_may_not_approve(approver, policy, parties, teams)
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
            _check_signed(tx, promotion, approver, comment, signed),
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
        if signed is not None:
            proof = ApprovalSigned(promotion_id, approval.id, approval.key_id, signed.decode())
            stores.facts.append(tx, proof, by=approver.name)
    return promotion


def _check_signed(
    tx: Connection, promotion: Promotion, approver: Principal, comment: str, signed: bytes | None
) -> str:
    """The id of the key that signed it; empty where the approver has none."""
    key = key_in_force(tx, approver.name)
    if signed is None:
        if key is None:
            return ""
        raise Forbidden(
            f"{approver.name} signs approvals with a key ({key.key_id}); this one is not signed.",
            next_step=f"seamline promotion approve {promotion.id} --sign-with FILE",
        )
    if key is None:
        raise Refused(
            f"{approver.name} has no key here that could have signed this.",
            next_step="Register it first: seamline approver-key add FILE.pub.",
        )
    wanted = ApprovalStatement(
        promotion.id,
        promotion.release,
        promotion.environment,
        promotion.policy_digest or "",
        promotion.evidence_digest or "",
        comment,
        approver.name,
    )
    check_approval(signed, wanted, key.public)
    return key.key_id


def reject(
    stores: Stores,
    promotion_id: str,
    approver: Principal,
    reason: str,
    *,
    teams: Set[str | None] = frozenset(),
) -> Promotion:
    """Raises InvalidInput without a reason, Forbidden without the role."""
    if not reason.strip():
        raise InvalidInput("A rejection needs a reason.", next_step="Say why: --reason '…'.")
    with stores.db.transaction() as tx:
        promotion = find_promotion(tx, promotion_id)
        _check_waiting(promotion, "rejected")
        policy = find_environment(tx, promotion.environment).policy
        refusal = why_may_not_approve(approver, policy, {}, teams)
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
            row.key_id,
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
