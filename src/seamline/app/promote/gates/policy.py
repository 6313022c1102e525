"""Gate: says which rules of the environment's policy ask for less than they did.

Compared is the policy by which a release last went live there (the shipped one, where none did). It
never shuts: approvals bind its evidence, so whoever approves has been told, with who applied the
change and when. What it does not know is whether a rule was too strict before.

Needs: nothing; it is asked of every regular promotion.

Opens: always open; to be read.
"""

from __future__ import annotations

from sqlalchemy import Connection

from seamline.app.platform import Platform
from seamline.domain.promote_facts import PolicyApplied
from seamline.domain.states import PromotionKind, Verdict
from seamline.promote.environments import find_environment, find_policy
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult
from seamline.promote.history import were_live
from seamline.promote.loosened import loosened_rules
from seamline.promote.policy import DEFAULT_POLICIES, POLICY, EnvironmentPolicy
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.store.facts import read_facts


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
        before, when = _policy_before(connection, promotion.environment)
        changed = [
            {"by": fact.by, "at": fact.at, "fact": fact.id}
            for fact in read_facts(connection, kinds=[PolicyApplied.kind])
            if fact.body["environment"] == policy.name and fact.body["digest"] == policy.digest
        ]
    loosened = loosened_rules(before, policy) if before else ()
    evidence = {
        "policy": policy.digest,
        "compared_with": before.digest if before else None,
        "loosened": list(loosened),
        "applied": changed[-1] if changed else None,
        PICTURE: ticks(
            [Tick(rule, None) for rule in loosened]
            or [Tick(f"no rule is looser than {when}", True)]
        ),
    }
    if not loosened:
        return GateResult(POLICY, Verdict.PASS, f"no rule is looser than {when}", evidence)
    by = f", since {changed[-1]['by']} applied it at {changed[-1]['at']}" if changed else ""
    sentence = f"looser than {when}{by}: {'; '.join(loosened)}"
    return GateResult(POLICY, Verdict.PASS, sentence, evidence)


def _policy_before(
    connection: Connection, environment: str
) -> tuple[EnvironmentPolicy | None, str]:
    """The policy that the last regular promotion went live by, and a word for when."""
    for one in were_live(connection, environment):
        if one.kind is PromotionKind.REGULAR and one.policy_digest is not None:
            found = find_policy(connection, one.policy_digest)
            if found is not None:
                return found, f"when promotion {one.id} went live"
    shipped = (one for one in DEFAULT_POLICIES if one.name == environment)
    return next(shipped, None), "shipped"
