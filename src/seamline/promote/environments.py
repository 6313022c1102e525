"""Environments: their order, their policy, and the pointer to the live release."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from seamline.domain.digests import short
from seamline.domain.errors import DigestMismatch, Refused, not_found
from seamline.domain.promote_facts import EnvironmentChanged, PolicyApplied
from seamline.promote.policy import EnvironmentPolicy, check_policies
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.rows import ENVIRONMENTS, POLICIES
from seamline.store.facts import FactLog, read_facts

#: The one environment that trains; everywhere else only the current release runs (law 4).
TRAINING = "dataops"


@dataclass(frozen=True)
class Environment:
    name: str
    position: int
    policy: EnvironmentPolicy
    release: str | None
    promotion_id: str | None
    changed_at: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "position": self.position,
            "policy": self.policy.to_json(),
            "policy_digest": self.policy.digest,
            "release": self.release,
            "promotion_id": self.promotion_id,
            "changed_at": self.changed_at,
        }


def apply_policies(
    tx: Connection, facts: FactLog, policies: tuple[EnvironmentPolicy, ...], *, by: str
) -> list[str]:
    """Exactly these environments; live pointers stay. Returns the names whose policy changed.

    Raises Refused for an environment that goes while a release is live in it.
    """
    check_policies(policies)
    changed = []
    tx.execute(select(ENVIRONMENTS.c.name).order_by(ENVIRONMENTS.c.position).with_for_update())
    before = {environment.name: environment for environment in list_environments(tx)}
    for gone in set(before) - {policy.name for policy in policies}:
        _remove(tx, before[gone])
    for position, policy in enumerate(policies):
        known = before.get(policy.name)
        if known is not None and (known.policy, known.position) == (policy, position):
            continue
        values = {
            "position": position,
            "policy": json.dumps(policy.to_json()),
            "policy_digest": policy.digest,
        }
        if known is None:
            tx.execute(insert(ENVIRONMENTS).values(name=policy.name, **values))
        else:
            tx.execute(
                update(ENVIRONMENTS).where(ENVIRONMENTS.c.name == policy.name).values(**values)
            )
        record_policy(tx, policy)
        changed.append(policy.name)
        old = known.policy.digest if known else None
        facts.append(tx, PolicyApplied(policy.name, policy.digest, old), by=by)
    return changed


def record_policy(tx: Connection, policy: EnvironmentPolicy) -> None:
    """Kept by its digest: later promotions are told what was looser or stricter then."""
    known = select(POLICIES.c.digest).where(POLICIES.c.digest == policy.digest)
    if tx.execute(known).one_or_none() is None:
        tx.execute(
            insert(POLICIES).values(digest=policy.digest, document=json.dumps(policy.to_json()))
        )


def find_policy(connection: Connection, digest: str) -> EnvironmentPolicy | None:
    """As it was; None for one of before policies were kept."""
    query = select(POLICIES.c.document).where(POLICIES.c.digest == digest)
    row = connection.execute(query).one_or_none()
    return None if row is None else EnvironmentPolicy.from_json(json.loads(row.document))


def _remove(tx: Connection, environment: Environment) -> None:
    if environment.release is not None:
        raise Refused(
            f"The environment {environment.name} cannot go: release "
            f"{short(environment.release)} is live in it.",
            next_step="Keep it in the file.",
        )
    tx.execute(delete(ENVIRONMENTS).where(ENVIRONMENTS.c.name == environment.name))


def list_environments(connection: Connection) -> list[Environment]:
    rows = connection.execute(select(ENVIRONMENTS).order_by(ENVIRONMENTS.c.position))
    return [_environment(row) for row in rows]


def find_environment(connection: Connection, name: str) -> Environment:
    row = connection.execute(select(ENVIRONMENTS).where(ENVIRONMENTS.c.name == name)).one_or_none()
    if row is None:
        known = connection.execute(select(ENVIRONMENTS.c.name)).scalars()
        raise not_found("environment", name, known)
    return _environment(row)


def lock_environment(tx: Connection, name: str) -> Environment:
    """Whoever means to change what it points at, or to let something in, queues up here, before any
    promotion and the ledger are locked (SQLite has one writer anyway)."""
    row = select(ENVIRONMENTS.c.name).where(ENVIRONMENTS.c.name == name)
    tx.execute(row.with_for_update())
    return find_environment(tx, name)


def live_release(connection: Connection, environment: str) -> StoredRelease | None:
    """What the environment points at; DigestMismatch where the ledger tells of another release."""
    found = find_environment(connection, environment)
    told = read_facts(
        connection,
        kinds=[EnvironmentChanged.kind],
        subject=environment,
        newest_first=True,
        limit=1,
    )
    pointed = told[0].body["release"] if told else None
    if found.release != pointed:
        raise DigestMismatch(
            f"The release that is live in {environment}",
            expected=pointed or "none",
            actual=found.release or "none",
        )
    return None if found.release is None else find_release(connection, found.release)


def _environment(row: Any) -> Environment:
    return Environment(
        row.name,
        row.position,
        EnvironmentPolicy.from_json(json.loads(row.policy)),
        row.release,
        row.promotion_id,
        row.changed_at,
    )
