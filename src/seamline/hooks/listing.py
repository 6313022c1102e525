"""Hooks and their deliveries as people see them; sending again."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, func, select, update

from seamline.domain.errors import Conflict, NotFound, not_found
from seamline.hooks.deliveries import AT_ONCE, DeliveryState
from seamline.hooks.rows import HOOK_DELIVERIES, HOOKS
from seamline.store.stores import Stores

_SHOWN = ("hook", "chain_seq", "fact_id", "kind", "state", "attempts", "status", "error")


def list_hooks(connection: Connection) -> list[dict[str, Any]]:
    """Each with how many deliveries are in which state, and why the first one waits."""
    counts: dict[str, dict[str, int]] = {}
    query = select(HOOK_DELIVERIES.c.hook, HOOK_DELIVERIES.c.state, func.count())
    grouped = query.group_by(HOOK_DELIVERIES.c.hook, HOOK_DELIVERIES.c.state)
    for name, state, count in connection.execute(grouped):
        counts.setdefault(name, {})[state] = count
    return [
        {
            "name": row.name,
            "url": row.url,
            "events": json.loads(row.events),
            **{state.value: counts.get(row.name, {}).get(state, 0) for state in DeliveryState},
            "next": _first_waiting(connection, row.name),
        }
        for row in connection.execute(select(HOOKS).order_by(HOOKS.c.name)).all()
    ]


def list_deliveries(
    connection: Connection, hook: str, state: DeliveryState | None, limit: int
) -> list[dict[str, Any]]:
    """Newest first; also of a hook that is declared no more."""
    query = select(HOOK_DELIVERIES).where(HOOK_DELIVERIES.c.hook == hook)
    if state is not None:
        query = query.where(HOOK_DELIVERIES.c.state == state)
    rows = connection.execute(query.order_by(HOOK_DELIVERIES.c.chain_seq.desc()).limit(limit)).all()
    if not rows:
        known = set(connection.execute(select(HOOKS.c.name)).scalars())
        known |= set(connection.execute(select(HOOK_DELIVERIES.c.hook).distinct()).scalars())
        if hook not in known:
            raise not_found("hook", hook, known)
    return [_shown(row) for row in rows]


def redeliver(stores: Stores, hook: str, fact_id: str | None, *, by: str) -> list[dict[str, Any]]:
    """Sends one again, or all that were given up: before what waits, in the chain's order.

    One that waits already is tried at once. NotFound for a hook that is declared no more, and for
    a fact that it was not told of; Conflict for one that is being sent.
    """
    with stores.db.transaction() as tx:
        known = set(tx.execute(select(HOOKS.c.name)).scalars())
        if hook not in known:
            raise not_found("hook", hook, known)
        of_hook = HOOK_DELIVERIES.c.hook == hook
        wanted = (
            HOOK_DELIVERIES.c.state == DeliveryState.FAILED
            if fact_id is None
            else HOOK_DELIVERIES.c.fact_id == fact_id
        )
        found = tx.execute(
            select(HOOK_DELIVERIES)
            .where(of_hook, wanted)
            .order_by(HOOK_DELIVERIES.c.chain_seq)
            .with_for_update()
        ).all()
        if fact_id is not None:
            _check_one(hook, fact_id, found)
        for row in found:
            tx.execute(
                update(HOOK_DELIVERIES)
                .where(of_hook, HOOK_DELIVERIES.c.chain_seq == row.chain_seq)
                .values(state=DeliveryState.PENDING, attempts=0, due_at=AT_ONCE, asked_by=by)
            )
        again = [row.chain_seq for row in found]
        query = select(HOOK_DELIVERIES).where(of_hook, HOOK_DELIVERIES.c.chain_seq.in_(again))
        return [_shown(row) for row in tx.execute(query.order_by(HOOK_DELIVERIES.c.chain_seq))]


def _check_one(hook: str, fact_id: str, found: Any) -> None:
    if not found:
        raise NotFound(
            f"The hook {hook!r} was not told of a fact {fact_id!r}.",
            next_step=f"See what it was told: seamline hook deliveries {hook}.",
        )
    if found[0].is_leased:
        raise Conflict(f"Fact {fact_id} is being sent to {hook} at this moment.")


def _first_waiting(connection: Connection, hook: str) -> dict[str, Any] | None:
    query = select(HOOK_DELIVERIES).where(
        HOOK_DELIVERIES.c.hook == hook, HOOK_DELIVERIES.c.state == DeliveryState.PENDING
    )
    row = connection.execute(query.order_by(HOOK_DELIVERIES.c.chain_seq).limit(1)).one_or_none()
    return None if row is None else _shown(row)


def _shown(row: Any) -> dict[str, Any]:
    is_due = row.state == DeliveryState.PENDING and not row.is_leased and row.due_at != AT_ONCE
    return {
        **{name: getattr(row, name) for name in _SHOWN},
        "tried_at": row.tried_at,
        "due_at": row.due_at if is_due else None,
        "asked_by": row.asked_by,
    }
