"""Promotions: request, gate results, approvals, moves. Each change is one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import iso, new_id
from seamline.domain.digests import short
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, Refused, not_found
from seamline.domain.facts import (
    ApprovalDismissed,
    ApprovalGiven,
    EnvironmentChanged,
    GateDecided,
    PromotionMoved,
    PromotionRequested,
)
from seamline.domain.states import PromotionPhase, Verdict, check_transition, is_terminal
from seamline.promote.decide import Approval, Situation, Step, decide_step, why_may_not_approve
from seamline.promote.environments import TRAINING, find_environment
from seamline.promote.policy import EnvironmentPolicy, Party
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.rows import APPROVALS, ENVIRONMENTS, GATE_RESULTS, PROMOTIONS
from seamline.store.canonical import canonical_json, digest_of_json
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.roles import Principal

#: Phases in which a newer request for the same environment takes over.
REPLACEABLE = (
    PromotionPhase.REQUESTED,
    PromotionPhase.CHECKING,
    PromotionPhase.AWAITING_APPROVAL,
)
PLATFORM = "seamline"


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

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "phase": self.phase.value}


@dataclass(frozen=True)
class GateResult:
    gate: str
    verdict: Verdict
    sentence: str
    evidence: dict[str, Any]

    @property
    def evidence_digest(self) -> str:
        return digest_of_json(self.evidence)

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "verdict": self.verdict.value, "digest": self.evidence_digest}


def request_promotion(
    stores: Stores, reference: str, environment: str, *, by: str, caused_by: str | None = None
) -> Promotion:
    """Refused out of order; an older request for the environment is superseded."""
    with stores.db.transaction() as tx:
        release = find_release(tx, reference)
        _lock_environment(tx, environment)
        policy = find_environment(tx, environment).policy
        if environment == TRAINING or policy.after is None:
            raise InvalidInput(
                f"Nothing is promoted into {environment}: releases are made there.",
                next_step="Promote to an environment that follows it.",
            )
        if not has_been_live(tx, release, policy.after):
            raise Refused(
                f"Release {release.alias} ({short(release.digest)}) has not been live in "
                f"{policy.after}, which comes before {environment}.",
                next_step=f"First: seamline promote {release.alias} --to {policy.after}.",
            )
        for open_one in list_promotions(tx, environment=environment, open_only=True):
            _make_way(tx, stores, open_one, release, by)
        now = iso(stores.clock.now())
        promotion = Promotion(
            new_id(stores.clock),
            release.digest,
            environment,
            PromotionPhase.REQUESTED,
            by,
            now,
            now,
            None,
            None,
            "",
        )
        tx.execute(insert(PROMOTIONS).values(**promotion.to_json()))
        fact = PromotionRequested(promotion.id, release.digest, environment)
        stores.facts.append(tx, fact, by=by, caused_by=caused_by)
    return promotion


def _lock_environment(tx: Connection, name: str) -> None:
    """Requests for one environment queue up (SQLite has one writer anyway)."""
    row = select(ENVIRONMENTS.c.name).where(ENVIRONMENTS.c.name == name)
    tx.execute(row.with_for_update())


def _make_way(
    tx: Connection, stores: Stores, other: Promotion, release: StoredRelease, by: str
) -> None:
    if other.release == release.digest:
        raise Conflict(
            f"Promotion {other.id} of this release to {other.environment} is "
            f"{other.phase.replace('_', ' ')} already.",
            next_step=f"See it: seamline promotion show {other.id}.",
        )
    if other.phase not in REPLACEABLE:
        raise Conflict(
            f"Promotion {other.id} to {other.environment} is {other.phase}: two never interleave.",
            next_step="Ask again when it has ended.",
        )
    reason = f"a newer request: release {release.alias}"
    move(tx, stores, other, PromotionPhase.SUPERSEDED, reason, by=by)


def move(
    tx: Connection,
    stores: Stores,
    promotion: Promotion,
    after: PromotionPhase,
    reason: str,
    *,
    by: str,
    caused_by: str | None = None,
    **values: str | None,
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


def record_gate(stores: Stores, promotion_id: str, result: GateResult, *, by: str) -> None:
    """Replaces an earlier result of the same gate; the facts keep both."""
    with stores.db.transaction() as tx:
        key = (GATE_RESULTS.c.promotion_id == promotion_id, GATE_RESULTS.c.gate == result.gate)
        values = {
            "verdict": result.verdict.value,
            "sentence": result.sentence,
            "evidence": canonical_json(result.evidence).decode(),
            "evidence_digest": result.evidence_digest,
            "at": iso(stores.clock.now()),
        }
        if tx.execute(update(GATE_RESULTS).where(*key).values(**values)).rowcount == 0:
            tx.execute(
                insert(GATE_RESULTS).values(promotion_id=promotion_id, gate=result.gate, **values)
            )
        fact = GateDecided(promotion_id, result.gate, result.verdict.value, result.evidence_digest)
        stores.facts.append(tx, fact, by=by)


def advance(stores: Stores, promotion_id: str, *, caused_by: str | None = None) -> Promotion:
    """Take the decided step, if there is one; returns the promotion as it stands."""
    with stores.db.transaction() as tx:
        promotion = find_promotion(tx, promotion_id, for_update=True)
        situation = load_situation(tx, stores, promotion)
        step = decide_step(situation)
        for approval in step.dismiss:
            _dismiss(tx, stores, promotion, approval, "; ".join(step.reasons) or "it is stale")
        if step.phase is not None:
            values = _frozen(tx, promotion, situation.policy, step)
            reason = "; ".join(step.reasons)
            move(
                tx,
                stores,
                promotion,
                step.phase,
                reason,
                by=PLATFORM,
                caused_by=caused_by,
                **values,
            )
        return find_promotion(tx, promotion_id)


def _frozen(
    tx: Connection, promotion: Promotion, policy: EnvironmentPolicy, step: Step
) -> dict[str, str | None]:
    """The evidence is frozen when approval is asked (or none is needed)."""
    asked = {PromotionPhase.AWAITING_APPROVAL, PromotionPhase.APPLYING}
    if promotion.phase is not PromotionPhase.CHECKING or step.phase not in asked:
        return {}
    return {
        "policy_digest": policy.digest,
        "evidence_digest": evidence_digest(gate_results(tx, promotion.id)),
    }


def evidence_digest(results: list[GateResult]) -> str:
    return digest_of_json(
        {result.gate: [result.verdict.value, result.evidence_digest] for result in results}
    )


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
        )
        tx.execute(insert(APPROVALS).values(promotion_id=promotion_id, **approval.__dict__))
        fact = ApprovalGiven(
            promotion_id,
            promotion.release,
            promotion.environment,
            approval.policy_digest,
            approval.evidence_digest,
            comment,
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


def point_environment(stores: Stores, promotion: Promotion, *, caused_by: str | None) -> None:
    """The pointer and the phase move in one transaction: applying → verifying."""
    with stores.db.transaction() as tx:
        before = find_environment(tx, promotion.environment).release
        now = iso(stores.clock.now())
        tx.execute(
            update(ENVIRONMENTS)
            .where(ENVIRONMENTS.c.name == promotion.environment)
            .values(release=promotion.release, promotion_id=promotion.id, changed_at=now)
        )
        move(tx, stores, promotion, PromotionPhase.VERIFYING, "", by=PLATFORM, caused_by=caused_by)
        fact = EnvironmentChanged(promotion.environment, promotion.release, before, promotion.id)
        stores.facts.append(tx, fact, by=PLATFORM, caused_by=caused_by)


def finish(
    stores: Stores, promotion_id: str, after: PromotionPhase, reason: str, *, caused_by: str | None
) -> None:
    """Move to an end (or live), unless it is there already: safe to do twice.

    What was verified supersedes the release before; what was not gives the pointer back to it.
    """
    with stores.db.transaction() as tx:
        promotion = find_promotion(tx, promotion_id)
        if promotion.phase is after or is_terminal(promotion.phase):
            return
        move(tx, stores, promotion, after, reason, by=PLATFORM, caused_by=caused_by)
        here = list_promotions(tx, environment=promotion.environment)
        live = [one for one in here if one.phase is PromotionPhase.LIVE and one.id != promotion.id]
        if after is PromotionPhase.LIVE:
            for other in live:
                reason = f"promotion {promotion.id} went live"
                move(tx, stores, other, PromotionPhase.SUPERSEDED, reason, by=PLATFORM)
        elif promotion.phase is PromotionPhase.VERIFYING:
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


def gate_results(connection: Connection, promotion_id: str) -> list[GateResult]:
    rows = connection.execute(
        select(GATE_RESULTS)
        .where(GATE_RESULTS.c.promotion_id == promotion_id)
        .order_by(GATE_RESULTS.c.gate)
    )
    return [
        GateResult(row.gate, Verdict(row.verdict), row.sentence, json.loads(row.evidence))
        for row in rows
    ]


def approvals_of(connection: Connection, promotion_id: str) -> tuple[Approval, ...]:
    rows = connection.execute(
        select(APPROVALS)
        .where(APPROVALS.c.promotion_id == promotion_id, APPROVALS.c.dismissed_at.is_(None))
        .order_by(APPROVALS.c.at)
    )
    return tuple(
        Approval(row.id, row.principal, row.policy_digest, row.evidence_digest, row.comment, row.at)
        for row in rows
    )


def _dismiss(
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
    )
