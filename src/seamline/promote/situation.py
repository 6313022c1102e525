"""What is known of a promotion now: what its next step is decided from."""

from __future__ import annotations

from sqlalchemy import Connection

from seamline.domain.facts import PromotionMoved
from seamline.domain.states import PromotionPhase
from seamline.promote.approvals import approvals_of
from seamline.promote.decide import Situation
from seamline.promote.environments import find_environment
from seamline.promote.gate_results import gate_results
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release
from seamline.store.facts import read_facts
from seamline.store.stores import Stores


def load_situation(connection: Connection, stores: Stores, promotion: Promotion) -> Situation:
    policy = find_environment(connection, promotion.environment).policy
    release = find_release(connection, promotion.release)
    upstream = live_since(connection, release, policy.after) if policy.after else None
    return Situation(
        promotion.phase,
        policy,
        {
            result.gate: (result.verdict, result.sentence)
            for result in gate_results(connection, promotion.id)
        },
        promotion.policy_digest,
        promotion.evidence_digest,
        approvals_of(connection, promotion.id),
        upstream,
        stores.clock.now(),
    )


def live_since(connection: Connection, release: StoredRelease, environment: str) -> str | None:
    """A release is at home in dataops from its creation on; elsewhere, while it is live."""
    found = find_environment(connection, environment)
    if found.policy.after is None:
        return release.created_at
    if found.release != release.digest or found.promotion_id is None:
        return None
    # Pointed at is not yet live: it may still fail to be verified there.
    promotion = find_promotion(connection, found.promotion_id)
    return found.changed_at if promotion.phase is PromotionPhase.LIVE else None


def has_been_live(connection: Connection, release: StoredRelease, environment: str) -> bool:
    """Now, or before another release took its place."""
    if live_since(connection, release, environment) is not None:
        return True
    return any(
        fact.body["after"] == PromotionPhase.LIVE
        for one in list_promotions(connection, environment=environment)
        if one.release == release.digest
        for fact in read_facts(connection, kinds=[PromotionMoved.kind], subject=one.id)
    )
