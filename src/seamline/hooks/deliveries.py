"""What is to be told to which hook: queued from the chain, claimed with a lease, in its order.

A hook's position and the deliveries up to it are written in one transaction, so a fact is queued
once whatever is killed when. Of a hook's deliveries only the first that is pending is ever sent:
later ones wait for it, and other hooks do not. Chain numbers have no gaps and follow the order of
commits on both databases, so no fact can slip in behind the position.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from seamline.domain.clock import from_iso, iso
from seamline.domain.durations import parse_duration_s
from seamline.hooks.declaration import HookDeclaration, is_wanted
from seamline.hooks.rows import HOOK_DELIVERIES, HOOKS
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.schema import CHAIN_HEAD, FACTS
from seamline.store.stores import Stores

MAX_BACKOFF_S = 3600.0
#: With the back-off above: given up after about eight hours.
MAX_ATTEMPTS = 20
#: Longer than an attempt can take, beside its own time-out.
_LEASE_S = 60.0
#: Looked at in one transaction.
_PORTION = 1000
_GONE = 410
#: Due whatever the clock says.
AT_ONCE = "1970-01-01T00:00:00.000000Z"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    #: Given up: it was tried often enough, or the receiver said that it is gone for good.
    FAILED = "failed"
    #: The hook was taken out of its file.
    CANCELED = "canceled"


@dataclass(frozen=True)
class Claimed:
    """A delivery that its holder is to send now."""

    hook: str
    url: str
    secret: str
    timeout_s: float
    fact: RecordedFact
    attempts: int


@dataclass(frozen=True)
class Answer:
    """`status` is None where none came; `retry_after_s`: what the receiver asks for."""

    status: int | None
    error: str | None = None
    retry_after_s: float = 0.0

    @property
    def is_taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


# -- hooks ---------------------------------------------------------------------------------------
def record_hooks(
    tx: Connection,
    before: Mapping[str, HookDeclaration],
    after: Mapping[str, HookDeclaration],
) -> None:
    """A new hook is told of what is recorded from here on; a changed one goes on where it was."""
    head = tx.execute(select(CHAIN_HEAD.c.chain_seq)).scalar_one()
    for name in sorted({*before, *after}):
        if before.get(name) == after.get(name):
            continue
        if name in before:
            while _queue(tx, name):  # by the events as they were
                continue
        if name not in after:
            _cancel(tx, name)
            continue
        one = after[name]
        values = {
            "url": one.url,
            "events": json.dumps(one.events),
            "secret": one.secret,
            "timeout_s": parse_duration_s(one.timeout),
        }
        if name in before:
            tx.execute(update(HOOKS).where(HOOKS.c.name == name).values(**values))
        else:
            tx.execute(insert(HOOKS).values(name=name, position=head, **values))


def _cancel(tx: Connection, name: str) -> None:
    tx.execute(delete(HOOKS).where(HOOKS.c.name == name))
    tx.execute(
        update(HOOK_DELIVERIES)
        .where(HOOK_DELIVERIES.c.hook == name, HOOK_DELIVERIES.c.state == DeliveryState.PENDING)
        .values(state=DeliveryState.CANCELED, is_leased=False)
    )


# -- queueing ------------------------------------------------------------------------------------
def queue_new(stores: Stores) -> None:
    """Deliveries for all that was recorded since, for every hook."""
    while behind := _hooks_behind(stores):
        for name in behind:
            with stores.db.transaction() as tx:
                _queue(tx, name)


def _hooks_behind(stores: Stores) -> list[str]:
    head = select(CHAIN_HEAD.c.chain_seq).scalar_subquery()
    with stores.db.read() as connection:
        query = select(HOOKS.c.name).where(HOOKS.c.position < head).order_by(HOOKS.c.name)
        return list(connection.execute(query).scalars())


def _queue(tx: Connection, name: str) -> bool:
    """One portion; whether there may be another."""
    query = select(HOOKS.c.position, HOOKS.c.events).where(HOOKS.c.name == name)
    hook = tx.execute(query.with_for_update()).one_or_none()
    if hook is None:
        return False
    columns = (FACTS.c.chain_seq, FACTS.c.id, FACTS.c.kind)
    new = tx.execute(
        select(*columns)
        .where(FACTS.c.chain_seq > hook.position)
        .order_by(FACTS.c.chain_seq)
        .limit(_PORTION)
    ).all()
    events = tuple(json.loads(hook.events))
    rows = [
        {
            "hook": name,
            "chain_seq": one.chain_seq,
            "fact_id": one.id,
            "kind": one.kind,
            "state": DeliveryState.PENDING,
            "attempts": 0,
            "due_at": AT_ONCE,
            "is_leased": False,
        }
        for one in new
        if is_wanted(one.kind, events)
    ]
    if rows:
        tx.execute(insert(HOOK_DELIVERIES), rows)
    if new:
        tx.execute(update(HOOKS).where(HOOKS.c.name == name).values(position=new[-1].chain_seq))
    return len(new) == _PORTION


# -- sending -------------------------------------------------------------------------------------
def waits_s(stores: Stores) -> dict[str, float]:
    """Hook → how long until its next attempt (0: now); without those that have nothing to tell."""
    first = (
        select(HOOK_DELIVERIES.c.hook, func.min(HOOK_DELIVERIES.c.chain_seq).label("chain_seq"))
        .where(HOOK_DELIVERIES.c.state == DeliveryState.PENDING)
        .group_by(HOOK_DELIVERIES.c.hook)
        .subquery()
    )
    query = select(HOOK_DELIVERIES.c.hook, HOOK_DELIVERIES.c.due_at).join(
        first,
        (first.c.hook == HOOK_DELIVERIES.c.hook)
        & (first.c.chain_seq == HOOK_DELIVERIES.c.chain_seq),
    )
    now = stores.clock.now()
    with stores.db.read() as connection:
        return {row.hook: _wait_s(row.due_at, now) for row in connection.execute(query)}


def _wait_s(due_at: str, now: datetime) -> float:
    """What lies further off than any wait can be was written before the clock was set back."""
    left_s = (from_iso(due_at) - now).total_seconds()
    return 0.0 if left_s > 2 * MAX_BACKOFF_S else max(0.0, left_s)


def claim(stores: Stores, hook: str) -> Claimed | None:
    """The hook's first pending delivery, leased to the caller; None where it is not due."""
    now = stores.clock.now()
    with stores.db.transaction() as tx:
        row = tx.execute(
            select(HOOK_DELIVERIES, HOOKS.c.url, HOOKS.c.secret, HOOKS.c.timeout_s)
            .join(HOOKS, HOOKS.c.name == HOOK_DELIVERIES.c.hook)
            .where(HOOKS.c.name == hook, HOOK_DELIVERIES.c.state == DeliveryState.PENDING)
            .order_by(HOOK_DELIVERIES.c.chain_seq)
            .limit(1)
            .with_for_update(of=HOOK_DELIVERIES)
        ).one_or_none()
        if row is None or _wait_s(row.due_at, now) > 0:
            return None
        lease = timedelta(seconds=row.timeout_s + _LEASE_S)
        _change(
            tx,
            hook,
            row.chain_seq,
            attempts=row.attempts + 1,
            due_at=iso(now + lease),
            is_leased=True,
        )
        [fact] = read_facts(tx, ids=[row.fact_id])
    return Claimed(hook, row.url, row.secret, row.timeout_s, fact, row.attempts + 1)


def record_answer(stores: Stores, claimed: Claimed, answer: Answer) -> DeliveryState:
    """What became of the attempt; DELIVERED and FAILED let the hook's next one go."""
    now = stores.clock.now()
    state = DeliveryState.PENDING
    if answer.is_taken:
        state = DeliveryState.DELIVERED
    elif answer.status == _GONE or claimed.attempts >= MAX_ATTEMPTS:
        state = DeliveryState.FAILED
    wait = timedelta(seconds=backoff_s(claimed.attempts, answer.retry_after_s))
    with stores.db.transaction() as tx:
        _change(
            tx,
            claimed.hook,
            claimed.fact.chain_seq or 0,
            state=state,
            due_at=iso(now + wait),
            is_leased=False,
            status=answer.status,
            error=None if answer.error is None else answer.error[:4000],
            tried_at=iso(now),
        )
    return state


def backoff_s(attempts: int, asked_s: float = 0.0) -> float:
    """1 s, 2 s, 4 s … up to an hour; longer where the receiver asks for it, up to the same.

    >>> backoff_s(1), backoff_s(5), backoff_s(1, asked_s=30.0), backoff_s(99)
    (1.0, 16.0, 30.0, 3600.0)
    """
    return min(MAX_BACKOFF_S, max(asked_s, 2.0 ** min(attempts - 1, 30)))


def release_leases(stores: Stores) -> None:
    """What a killed process was at is due, and that attempt does not count. For the one holder of
    the workspace."""
    with stores.db.transaction() as tx:
        tx.execute(
            update(HOOK_DELIVERIES)
            .where(HOOK_DELIVERIES.c.is_leased, HOOK_DELIVERIES.c.state == DeliveryState.PENDING)
            .values(
                is_leased=False,
                due_at=AT_ONCE,
                attempts=HOOK_DELIVERIES.c.attempts - 1,
            )
        )


def _change(tx: Connection, hook: str, chain_seq: int, **values: Any) -> None:
    """Only while it is pending: the hook may have been taken out meanwhile."""
    tx.execute(
        update(HOOK_DELIVERIES)
        .where(
            HOOK_DELIVERIES.c.hook == hook,
            HOOK_DELIVERIES.c.chain_seq == chain_seq,
            HOOK_DELIVERIES.c.state == DeliveryState.PENDING,
        )
        .values(**values)
    )
