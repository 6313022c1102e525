"""The room's rows against its facts: what was edited by hand.

Rows are what is looked up, facts are what was done, and only facts are chained. Each function
compares some rows with the facts about them, and says in sentences where they disagree; nothing
that disagrees becomes live (`steps`), and `seamline audit verify` goes through all of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from seamline.domain.errors import SeamlineError
from seamline.domain.promote_facts import (
    ApprovalDismissed,
    ApprovalGiven,
    CodeRetrained,
    EmergencyRequested,
    GateDecided,
    GlassBroken,
    GlassMended,
    HoldLifted,
    HoldSet,
    PolicyApplied,
    PromotionMoved,
    PromotionRequested,
    ReleaseCreated,
    RollbackRequested,
)
from seamline.domain.states import PromotionKind, PromotionPhase
from seamline.promote.environments import (
    Environment,
    find_environment,
    find_policy,
    list_environments,
)
from seamline.promote.gate_results import evidence_digest, gate_results
from seamline.promote.pointers import pointer_problems
from seamline.promote.promotion import Promotion, list_promotions
from seamline.promote.release import find_release
from seamline.promote.rows import APPROVALS, GLASS, HOLDS, POLICIES, RELEASES
from seamline.store.facts import RecordedFact, read_facts

_REQUESTS = {
    PromotionRequested.kind: PromotionKind.REGULAR,
    RollbackRequested.kind: PromotionKind.ROLLBACK,
    EmergencyRequested.kind: PromotionKind.EMERGENCY,
}
_OF_PROMOTIONS = (
    *_REQUESTS,
    GateDecided.kind,
    ApprovalGiven.kind,
    ApprovalDismissed.kind,
    PromotionMoved.kind,
    CodeRetrained.kind,
)
_HOLDS = (HoldSet.kind, HoldLifted.kind)
_GLASS = (GlassBroken.kind, GlassMended.kind)
_FROZEN = (PromotionPhase.AWAITING_APPROVAL, PromotionPhase.APPLYING)


@dataclass
class Told:
    """A promotion as its facts tell it."""

    says: dict[str, str | None]
    #: gate → verdict and digest of its evidence, as decided last.
    gates: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: (by, policy, evidence, comment, self-approved) of each approval, dismissed or not.
    given: Counter[tuple[str, ...]] = field(default_factory=Counter)
    dismissed: set[str] = field(default_factory=set)
    was_live: bool = False


def tell_promotion(facts: Iterable[RecordedFact]) -> Told | None:
    """None where nobody asked for it."""
    told: Told | None = None
    for fact in facts:
        body = fact.body
        if fact.kind in _REQUESTS:
            told = Told(
                {
                    "release": body["release"],
                    "environment": body["environment"],
                    "requested_by": fact.by,
                    "kind": _REQUESTS[fact.kind].value,
                    "glass_id": body.get("glass_id"),
                    "retrained": None,
                    "phase": PromotionPhase.REQUESTED.value,
                }
            )
        elif told is None:
            continue
        elif fact.kind == PromotionMoved.kind:
            told.says["phase"] = body["after"]
            told.was_live |= body["after"] == PromotionPhase.LIVE
        elif fact.kind == CodeRetrained.kind:
            told.says["retrained"] = body["retrained"]
        elif fact.kind == GateDecided.kind:
            told.gates[body["gate"]] = (body["verdict"], body["evidence_digest"])
        elif fact.kind == ApprovalGiven.kind:
            roles = " ".join(body.get("self_approved", ()))
            bound = (body["policy_digest"], body["evidence_digest"])
            told.given[fact.by, *bound, body["comment"], roles] += 1
        elif fact.kind == ApprovalDismissed.kind:
            told.dismissed.add(body["approval_id"])
    return told


def promotion_problems(
    connection: Connection, promotion: Promotion, facts: Iterable[RecordedFact]
) -> list[str]:
    """`facts`: of this promotion, oldest first."""
    told, what = tell_promotion(facts), f"promotion {promotion.id}"
    if told is None:
        return [f"{what}: no fact says that it was requested"]
    row = promotion.to_json()
    found = [
        _differs(f"{what}, {name}", row[name], said)
        for name, said in told.says.items()
        if row[name] != said
    ]
    results = gate_results(connection, promotion.id)
    gates = {one.gate: (one.verdict.value, one.evidence_digest) for one in results}
    found += [
        _differs(f"{what}, gate {name}", gates.get(name), told.gates.get(name))
        for name in sorted(gates.keys() | told.gates.keys())
        if gates.get(name) != told.gates.get(name)
    ]
    if promotion.phase in _FROZEN and promotion.evidence_digest != evidence_digest(results):
        found.append(f"{what}: its evidence is not what it was when approval was asked")
    if promotion.live_number is not None and not told.was_live:
        found.append(f"{what}: no fact says that it was ever live")
    return found + _approval_problems(connection, promotion, told)


def _approval_problems(connection: Connection, promotion: Promotion, told: Told) -> list[str]:
    mine = select(APPROVALS).where(APPROVALS.c.promotion_id == promotion.id)
    rows = connection.execute(mine).all()
    given: Counter[tuple[str, ...]] = Counter(
        (row.principal, row.policy_digest, row.evidence_digest, row.comment, row.self_approved)
        for row in rows
    )
    what = f"promotion {promotion.id}"
    found = [f"{what}: no fact tells the approval of {one[0]}" for one in given - told.given]
    found += [f"{what}: the approval of {one[0]} is gone" for one in told.given - given]
    dismissed = {row.id for row in rows if row.dismissed_at is not None}
    for approval in sorted(dismissed ^ told.dismissed):
        is_row = approval in dismissed
        found.append(
            f"{what}: approval {approval} is {'' if is_row else 'not '}dismissed, "
            f"the facts say that it is{' not' if is_row else ''}"
        )
    return found


def policy_problems(environment: Environment, facts: Sequence[RecordedFact]) -> list[str]:
    """`facts`: among them the policies that were applied, oldest first."""
    about = (PolicyApplied.kind, environment.name)
    applied = [one for one in facts if (one.kind, one.subject) == about]
    digest, said = environment.policy.digest, applied[-1].body["digest"] if applied else None
    what = f"policy of {environment.name}"
    return [_differs(what, digest, said)] if digest != said else []


def hold_problems(connection: Connection, facts: Iterable[RecordedFact]) -> list[str]:
    rows = {row.id: row for row in connection.execute(select(HOLDS))}
    told = _by_subject(facts, _HOLDS)
    found = [f"hold {one}: its row is gone" for one in sorted(told.keys() - rows.keys())]
    for name, row in rows.items():
        said = told.get(name, [])
        shown = [(row.environment, row.release, row.reason, row.set_by), row.lifted_at is not None]
        sets = [one for one in said if one.kind == HoldSet.kind]
        expected = [
            *((one.body["environment"], one.body["release"], one.body["reason"], one.by)
              for one in sets),
            len(said) > len(sets),
        ]  # fmt: skip
        if shown != expected:
            found.append(_differs(f"hold {name}", shown, expected))
    return found


def glass_problems(connection: Connection, facts: Iterable[RecordedFact]) -> list[str]:
    rows = {row.id: row for row in connection.execute(select(GLASS))}
    told = _by_subject(facts, _GLASS)
    found = [f"broken glass {one}: its row is gone" for one in sorted(told.keys() - rows.keys())]
    for name, row in rows.items():
        said = told.get(name, [])
        broken = [one for one in said if one.kind == GlassBroken.kind]
        shown = [(row.environment, row.principal, row.until), row.mended_at is not None]
        expected = [
            *((one.body["environment"], one.by, one.body["until"]) for one in broken),
            len(said) > len(broken),
        ]
        if shown != expected:
            found.append(_differs(f"broken glass {name}", shown, expected))
    return found


def problems_of(connection: Connection, promotion: Promotion) -> list[str]:
    """Whatever this promotion's next step is decided from."""
    environment = find_environment(connection, promotion.environment)
    upstream = environment.policy.after
    found = promotion_problems(connection, promotion, read_facts(connection, subject=promotion.id))
    applied = read_facts(connection, kinds=[PolicyApplied.kind], subject=environment.name)
    found += policy_problems(environment, applied)
    found += hold_problems(connection, read_facts(connection, kinds=_HOLDS))
    if promotion.glass_id is not None:
        found += glass_problems(connection, read_facts(connection, kinds=_GLASS))
    if upstream is not None:
        before = find_environment(connection, upstream)
        found += pointer_problems(connection, upstream, before.release, before.changed_at)
        for one in list_promotions(connection, environment=upstream):
            if promotion.release in (one.release, one.goes_live):
                told = read_facts(connection, subject=one.id)
                found += promotion_problems(connection, one, told)
    return found


def all_problems(connection: Connection) -> list[str]:
    """Every row of the room, and every fact that there should be a row for."""
    kinds = (*_OF_PROMOTIONS, *_HOLDS, *_GLASS, PolicyApplied.kind, ReleaseCreated.kind)
    facts = read_facts(connection, kinds=kinds)
    found: list[str] = []
    for environment in list_environments(connection):
        found += policy_problems(environment, facts)
        found += pointer_problems(
            connection, environment.name, environment.release, environment.changed_at
        )
    promotions = {one.id: one for one in list_promotions(connection)}
    told = _by_subject(facts, _OF_PROMOTIONS)
    found += [f"promotion {one}: its row is gone" for one in told.keys() - promotions.keys()]
    for promotion in promotions.values():
        found += promotion_problems(connection, promotion, told.get(promotion.id, []))
    found += hold_problems(connection, facts)
    found += glass_problems(connection, facts)
    return found + _release_problems(connection, facts) + _kept_policy_problems(connection)


def _release_problems(connection: Connection, facts: Iterable[RecordedFact]) -> list[str]:
    rows = {row.digest: row for row in connection.execute(select(RELEASES))}
    created = {one.subject: one for one in facts if one.kind == ReleaseCreated.kind}
    found = [f"release {one}: its row is gone" for one in created.keys() - rows.keys()]
    for digest, row in rows.items():
        fact = created.get(digest)
        said = (fact.body["alias"], fact.by) if fact else None
        if said != (row.alias, row.created_by):
            found.append(_differs(f"release {digest}", (row.alias, row.created_by), said))
        try:
            find_release(connection, digest)
        except (SeamlineError, ValueError) as error:
            found.append(f"release {row.alias}: {error}")
    return found


def _kept_policy_problems(connection: Connection) -> list[str]:
    found = []
    for digest in connection.execute(select(POLICIES.c.digest)).scalars().all():
        try:
            find_policy(connection, digest)
        except (SeamlineError, ValueError, LookupError) as error:
            found.append(f"policy {digest}: {error}")
    return found


def _by_subject(
    facts: Iterable[RecordedFact], kinds: Sequence[str]
) -> Mapping[str, list[RecordedFact]]:
    found: dict[str, list[RecordedFact]] = defaultdict(list)
    for fact in facts:
        if fact.kind in kinds:
            found[fact.subject].append(fact)
    return found


def _differs(what: str, row: object, said: object) -> str:
    return f"{what}: its row says {row}, the facts say {said}"
