"""Holds: after a rollback nothing comes into an environment by itself until somebody lifts it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import iso, new_id
from seamline.domain.errors import InvalidInput, NotFound
from seamline.domain.promote_facts import HoldLifted, HoldSet
from seamline.promote.environments import find_environment
from seamline.promote.rows import HOLDS
from seamline.store.stores import Stores


@dataclass(frozen=True)
class Hold:
    """`release`: what was rolled back, and may not come again while the hold stands."""

    id: str
    environment: str
    release: str | None
    reason: str
    set_by: str
    set_at: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def set_hold(stores: Stores, environment: str, reason: str, *, by: str) -> Hold:
    """Raises InvalidInput without a reason, NotFound for an unknown environment."""
    with stores.db.transaction() as tx:
        find_environment(tx, environment)
        return record_hold(tx, stores, environment, None, reason, by=by, caused_by=None)


def record_hold(
    tx: Connection,
    stores: Stores,
    environment: str,
    release: str | None,
    reason: str,
    *,
    by: str,
    caused_by: str | None,
) -> Hold:
    check_reason(reason, "A hold")
    now = iso(stores.clock.now())
    hold = Hold(new_id(stores.clock), environment, release, reason.strip(), by, now)
    tx.execute(insert(HOLDS).values(**asdict(hold)))
    fact = HoldSet(hold.id, environment, release, hold.reason)
    stores.facts.append(tx, fact, by=by, caused_by=caused_by)
    return hold


def lift_holds(stores: Stores, environment: str, reason: str, *, by: str) -> list[Hold]:
    """All that stand in the environment; NotFound where none does."""
    check_reason(reason, "Lifting a hold")
    with stores.db.transaction() as tx:
        find_environment(tx, environment)
        standing = standing_holds(tx, environment)
        if not standing:
            raise NotFound(f"There is no hold on {environment}.")
        for hold in standing:
            lifted = tx.execute(
                update(HOLDS)
                .where(HOLDS.c.id == hold.id, HOLDS.c.lifted_at.is_(None))
                .values(lifted_by=by, lifted_at=iso(stores.clock.now()))
            )
            if lifted.rowcount == 1:  # nobody else did in the same instant
                stores.facts.append(tx, HoldLifted(hold.id, environment, reason.strip()), by=by)
    return standing


def standing_holds(connection: Connection, environment: str | None = None) -> list[Hold]:
    """Oldest first."""
    query = select(HOLDS).where(HOLDS.c.lifted_at.is_(None)).order_by(HOLDS.c.set_at, HOLDS.c.id)
    if environment is not None:
        query = query.where(HOLDS.c.environment == environment)
    return [
        Hold(row.id, row.environment, row.release, row.reason, row.set_by, row.set_at)
        for row in connection.execute(query)
    ]


def check_reason(reason: str, what: str) -> None:
    """Raises InvalidInput where nothing is said.

    >>> check_reason("drift on Mondays", "A rollback")
    """
    if not reason.strip():
        raise InvalidInput(f"{what} needs a reason.", next_step="Say why: --reason '…'.")
