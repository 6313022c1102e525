"""Keys of approvers: each person has at most one in force, and signs their approvals with it.

The private key never comes here. Whoever holds only a token of such a person cannot approve with
it: a key ends by an admin alone, so a stolen token does not exchange it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import Clock, iso
from seamline.domain.errors import Conflict, not_found
from seamline.domain.trust_facts import ApproverKeyAdded, ApproverKeyEnded
from seamline.store.facts import FactLog
from seamline.trust.keys import PublicKey, parse_public_key
from seamline.trust.rows import APPROVER_KEYS, PRINCIPALS
from seamline.trust.teams import require_principal


@dataclass(frozen=True)
class ApproverKey:
    key_id: str
    principal: str
    public_key: str
    added_at: str
    ended_at: str | None

    @property
    def public(self) -> PublicKey:
        return parse_public_key(self.public_key)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def add_approver_key(
    tx: Connection, facts: FactLog, clock: Clock, name: str, public: PublicKey, *, by: str
) -> ApproverKey:
    """Raises Conflict for a key that anybody has or had, or while another one is in force."""
    require_principal(tx, name)
    # Two of one person's at the same instant queue up.
    tx.execute(select(PRINCIPALS.c.name).where(PRINCIPALS.c.name == name).with_for_update())
    for known in list_approver_keys(tx):
        if known.key_id == public.key_id:
            raise Conflict(
                f"The key {public.key_id} is {known.principal}'s already"
                + (f", and ended at {known.ended_at}." if known.ended_at else "."),
                next_step="Each person has a key of their own: seamline approver-key create FILE.",
            )
    current = key_in_force(tx, name)
    if current is not None:
        raise Conflict(
            f"{name} signs with the key {current.key_id} already.",
            next_step=f"An admin ends it first: seamline approver-key end {current.key_id}.",
        )
    tx.execute(
        insert(APPROVER_KEYS).values(
            key_id=public.key_id,
            principal=name,
            public_key=public.text,
            added_at=iso(clock.now()),
        )
    )
    facts.append(tx, ApproverKeyAdded(name, public.key_id, public.text), by=by)
    return find_approver_key(tx, public.key_id)


def end_approver_key(
    tx: Connection, facts: FactLog, clock: Clock, key_id: str, *, by: str
) -> ApproverKey:
    """For good; once more changes nothing. What it signed before still holds."""
    found = find_approver_key(tx, key_id)
    if found.ended_at is not None:
        return found
    ending = update(APPROVER_KEYS).where(APPROVER_KEYS.c.key_id == key_id)
    tx.execute(ending.values(ended_at=iso(clock.now())))
    facts.append(tx, ApproverKeyEnded(found.principal, key_id), by=by)
    return find_approver_key(tx, key_id)


def find_approver_key(connection: Connection, key_id: str) -> ApproverKey:
    found = [one for one in list_approver_keys(connection) if one.key_id == key_id]
    if not found:
        known = [one.key_id for one in list_approver_keys(connection)]
        raise not_found("approver's key", key_id, known)
    return found[0]


def key_in_force(connection: Connection, name: str) -> ApproverKey | None:
    found = [one for one in list_approver_keys(connection, name) if one.ended_at is None]
    return found[0] if found else None


def list_approver_keys(connection: Connection, principal: str | None = None) -> list[ApproverKey]:
    """Oldest first."""
    query = select(APPROVER_KEYS).order_by(APPROVER_KEYS.c.added_at, APPROVER_KEYS.c.key_id)
    if principal is not None:
        query = query.where(APPROVER_KEYS.c.principal == principal)
    return [ApproverKey(**row) for row in connection.execute(query).mappings()]
