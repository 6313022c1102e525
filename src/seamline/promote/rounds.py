"""A round of checks: from the moment at which a promotion came to be checked, or the policy it is
checked by changed, until all of its gates are decided.

Gates that run something take their time, so a promotion is looked at several times in one round. A
gate is decided once in each; its fact is caused by what began the round.
"""

from __future__ import annotations

from sqlalchemy import Connection

from seamline.domain.promote_facts import GateDecided, PolicyApplied, PromotionMoved
from seamline.domain.states import PromotionPhase
from seamline.promote.promotion import Promotion
from seamline.store.facts import RecordedFact, read_facts


def find_round(connection: Connection, promotion: Promotion) -> str | None:
    """The id of the fact that began the promotion's present round; None before it is checked."""
    began = _checked_since(connection, promotion)
    if began is None:
        return None
    applied = read_facts(
        connection,
        kinds=[PolicyApplied.kind],
        subject=promotion.environment,
        newest_first=True,
        limit=1,
    )
    return max([began, *applied], key=lambda fact: fact.seq).id


def decided_in(connection: Connection, promotion: Promotion, round_id: str | None) -> set[str]:
    """The gates that were decided in that round."""
    if round_id is None:
        return set()
    told = read_facts(
        connection, kinds=[GateDecided.kind], subject=promotion.id, caused_by=round_id
    )
    return {fact.body["gate"] for fact in told}


def is_begun(connection: Connection, promotion: Promotion) -> bool:
    """Whether some gate was decided since the promotion came to be checked."""
    began = _checked_since(connection, promotion)
    told = read_facts(
        connection, kinds=[GateDecided.kind], subject=promotion.id, newest_first=True, limit=1
    )
    return began is not None and bool(told) and told[0].seq > began.seq


def _checked_since(connection: Connection, promotion: Promotion) -> RecordedFact | None:
    moved = read_facts(
        connection, kinds=[PromotionMoved.kind], subject=promotion.id, newest_first=True
    )
    return next((one for one in moved if one.body["after"] == PromotionPhase.CHECKING), None)
