"""A promotion: one release on its way into one environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from seamline.domain.clock import iso
from seamline.domain.errors import Conflict, not_found
from seamline.domain.promote_facts import PromotionMoved
from seamline.domain.states import PromotionKind, PromotionPhase, check_transition, is_terminal
from seamline.promote.rows import PROMOTIONS
from seamline.store.stores import Stores


@dataclass(frozen=True)
class Promotion:
    id: str
    release: str
    environment: str
    phase: PromotionPhase
    requested_by: str
    requested_at: str
    updated_at: str
    policy_digest: str | None
    evidence_digest: str | None
    reason: str
    kind: PromotionKind = PromotionKind.REGULAR
    glass_id: str | None = None
    #: Which in the row of those that went live in the environment.
    live_number: int | None = None
    #: What the release's training pipelines made in the environment, where it takes over code.
    retrained: str | None = None

    @property
    def goes_live(self) -> str:
        """The release whose bytes are checked, approved and served."""
        return self.retrained or self.release

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "phase": self.phase.value, "kind": self.kind.value}


def find_promotion(
    connection: Connection, promotion_id: str, *, for_update: bool = False
) -> Promotion:
    """`for_update`: others who mean to change it wait until this transaction has ended."""
    query = select(PROMOTIONS).where(PROMOTIONS.c.id == promotion_id)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        known = connection.execute(select(PROMOTIONS.c.id)).scalars()
        raise not_found("promotion", promotion_id, known)
    return _promotion(row)


def list_promotions(
    connection: Connection, *, environment: str | None = None, open_only: bool = False
) -> list[Promotion]:
    """Newest first."""
    query = select(PROMOTIONS).order_by(PROMOTIONS.c.requested_at.desc())
    if environment is not None:
        query = query.where(PROMOTIONS.c.environment == environment)
    found = [_promotion(row) for row in connection.execute(query)]
    if open_only:
        ended = PromotionPhase.LIVE
        found = [one for one in found if not is_terminal(one.phase) and one.phase is not ended]
    return found


def move(
    tx: Connection,
    stores: Stores,
    promotion: Promotion,
    after: PromotionPhase,
    reason: str,
    *,
    by: str,
    caused_by: str | None = None,
    **values: str | int | None,
) -> None:
    check_transition(promotion.phase, after)
    changed = tx.execute(
        update(PROMOTIONS)
        .where(PROMOTIONS.c.id == promotion.id, PROMOTIONS.c.phase == promotion.phase)
        .values(phase=after.value, reason=reason, updated_at=iso(stores.clock.now()), **values)
    )
    if changed.rowcount != 1:
        raise Conflict(f"Promotion {promotion.id} was moved by somebody else meanwhile.")
    fact = PromotionMoved(
        promotion.id,
        promotion.release,
        promotion.environment,
        promotion.phase.value,
        after.value,
        reason,
    )
    stores.facts.append(tx, fact, by=by, caused_by=caused_by)


def _promotion(row: Any) -> Promotion:
    return Promotion(
        row.id,
        row.release,
        row.environment,
        PromotionPhase(row.phase),
        row.requested_by,
        row.requested_at,
        row.updated_at,
        row.policy_digest,
        row.evidence_digest,
        row.reason,
        PromotionKind(row.kind),
        row.glass_id,
        row.live_number,
        row.retrained,
    )
