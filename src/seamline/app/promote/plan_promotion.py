"""`promote --plan`: what a promotion would do, and why it would not get there. Writes nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from seamline.app.platform import Platform
from seamline.app.promote.check_gates import decide_gate
from seamline.app.promote.endpoints import pins_of
from seamline.app.promote.gates import Gate, gates_of, is_slow
from seamline.app.promote.parties import parties_of
from seamline.app.promote.release_teams import teams_of
from seamline.domain.clock import iso
from seamline.domain.errors import SeamlineError
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.code import promotes_code
from seamline.promote.decide import may_vote, why_may_not_approve, why_not_yet
from seamline.promote.environments import Environment, find_environment
from seamline.promote.policy import EXTERNAL
from seamline.promote.promotion import Promotion, list_promotions
from seamline.promote.release import Release, StoredRelease, find_release
from seamline.promote.release_diff import changes_between
from seamline.promote.requests import REPLACEABLE, check_request
from seamline.promote.situation import load_situation
from seamline.trust.principals import list_principals

#: Stands for the promotion that is not made.
PLANNED = "planned"
_OF_WHAT_IS_TRAINED = ("code", "evaluation", "backtest", "formats")


def plan_promotion(
    platform: Platform, reference: str, environment: str, *, by: str
) -> dict[str, Any]:
    """`refused` is why it could not even be asked for; `waits` what it would wait for once its
    gates are open. External gates are not asked by a plan."""
    stores = platform.stores
    now = iso(stores.clock.now())
    with stores.db.read() as connection:
        release = find_release(connection, reference)
        target = find_environment(connection, environment)
        live = find_release(connection, target.release) if target.release else None
        planned = planned_promotion(release, environment, by, now)
        waits = why_not_yet(load_situation(connection, stores, planned))
        others = list_promotions(connection, environment=environment, open_only=True)
        refused = why_refused(connection, release, target)
    gates = [
        _look(platform, name, gate, planned, release)
        for name, gate in gates_of(platform, target.policy, planned, release).items()
    ]
    return {
        "release": release.digest,
        "release_alias": release.alias,
        "environment": environment,
        "live": live.alias if live else None,
        "live_release": live.digest if live else None,
        "changes": [
            one.to_json()
            for one in changes_between(live.release if live else Release(), release.release)
        ],
        "deployments": _deployments(platform, release),
        "refused": refused,
        "supersedes": [one.id for one in others if one.phase in REPLACEABLE],
        "gates": gates,
        "waits": waits,
        "approvers": _approvers(platform, target, release, planned),
        "would": _outcome(refused, gates, waits),
    }


def planned_promotion(release: StoredRelease, environment: str, by: str, now: str) -> Promotion:
    """One that nobody made, to ask rules and gates about."""
    phase = PromotionPhase.CHECKING
    return Promotion(PLANNED, release.digest, environment, phase, by, now, now, None, None, "")


def why_refused(connection: Connection, release: StoredRelease, target: Environment) -> str | None:
    """Why it could not even be asked for."""
    try:
        check_request(connection, release, target)
    except SeamlineError as error:
        return str(error)
    return None


def _look(
    platform: Platform, name: str, gate: Gate, planned: Promotion, release: StoredRelease
) -> dict[str, Any]:
    later = _asked_later(platform, name, planned)
    if later is not None:
        return {"gate": name, "verdict": None, "sentence": later}
    result = decide_gate(platform, name, gate, planned, release)
    if result is None:
        return {"gate": name, "verdict": None, "sentence": "takes its time"}
    return {"gate": name, "verdict": result.verdict.value, "sentence": result.sentence}


def _asked_later(platform: Platform, name: str, planned: Promotion) -> str | None:
    """What a plan does not do: ask others, run something, or train."""
    if name.startswith(EXTERNAL):
        return "is asked when the promotion is checked"
    if is_slow(name):
        return "is run when the promotion is checked"
    with platform.stores.db.read() as connection:
        if name in _OF_WHAT_IS_TRAINED and promotes_code(connection, planned):
            return f"is asked of what is trained in {planned.environment}"
    return None


def _approvers(
    platform: Platform, target: Environment, release: StoredRelease, planned: Promotion
) -> list[dict[str, Any]]:
    """Everybody with one of the roles, and why some of them may not."""
    if target.policy.approvals.count == 0:
        return []
    parties, teams = parties_of(platform, release, planned), teams_of(platform, release.release)
    with platform.stores.db.read() as connection:
        people = list_principals(connection)
    return [
        {"name": one.name, "why_not": why_may_not_approve(one, target.policy, parties, teams)}
        for one in people
        if may_vote(one, target.policy)
    ]


def _deployments(platform: Platform, release: StoredRelease) -> list[str]:
    packages = release.release.packages
    declared = platform.declarations()
    return sorted(
        one.name for one in declared.deployments.values() if pins_of(one, packages, declared.models)
    )


def _outcome(refused: str | None, gates: list[dict[str, Any]], waits: list[str]) -> str:
    """The phase in which it would stop, or `live`."""
    if refused:
        return "refused"
    verdicts = {gate["verdict"] for gate in gates}
    if Verdict.ERROR in verdicts:
        return PromotionPhase.ERRORED
    if verdicts & {Verdict.FAIL, Verdict.INCONCLUSIVE}:
        return PromotionPhase.FAILED
    return PromotionPhase.AWAITING_APPROVAL if waits else PromotionPhase.LIVE
