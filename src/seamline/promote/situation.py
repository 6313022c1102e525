"""What is known of a promotion now: what its next step is decided from."""

from __future__ import annotations

from sqlalchemy import Connection

from seamline.promote.approvals import approvals_of
from seamline.promote.decide import Situation
from seamline.promote.environments import find_environment
from seamline.promote.gate_results import gate_results
from seamline.promote.glass import find_glass
from seamline.promote.history import has_been_live, live_since
from seamline.promote.holds import standing_holds
from seamline.promote.policy import EnvironmentPolicy
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease, find_release
from seamline.store.stores import Stores


def load_situation(connection: Connection, stores: Stores, promotion: Promotion) -> Situation:
    policy = find_environment(connection, promotion.environment).policy
    release = find_release(connection, promotion.release)
    now = stores.clock.now()
    upstream = None
    if policy.after:
        upstream = live_since(connection, release, policy.after, policy.promotes)
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
        now,
        promotion.kind,
        (*_held(connection, promotion), *_went_back(connection, release, policy)),
        promotion.glass_id is not None
        and find_glass(connection, promotion.glass_id).is_broken(now),
    )


def _held(connection: Connection, promotion: Promotion) -> list[str]:
    return [
        f"{hold.environment} is on hold by {hold.set_by} since {hold.set_at}: {hold.reason}"
        for hold in standing_holds(connection, promotion.environment)
        if hold.release in (None, promotion.release, promotion.goes_live)
    ]


def _went_back(
    connection: Connection, release: StoredRelease, policy: EnvironmentPolicy
) -> list[str]:
    """The order of environments was looked at when it was asked for; a rollback may have come
    since."""
    if policy.after is None or has_been_live(connection, release, policy.after, policy.promotes):
        return []
    return [
        f"release {release.alias} is not, or not any longer, one that was live in {policy.after}"
    ]
