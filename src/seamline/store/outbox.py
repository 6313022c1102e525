"""Effects that must happen: claimed with a lease, executed at least once.

In fact order, as long as they are done at once: what is tried again, or goes on in portions, takes
its place behind what has become due by then.

That an effect was claimed, or done, is written relaxed: a power cut that loses it has it done
again, as any end of the process does. What the effect itself wrote is on the disk before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select, update

from seamline.domain.clock import Clock, iso
from seamline.store.database import Database
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.schema import FACTS, OUTBOX

LEASE_S = 120.0
MAX_BACKOFF_S = 60.0


@dataclass(frozen=True)
class OutboxEntry:
    fact: RecordedFact
    attempts: int


def claim_next(db: Database, clock: Clock) -> OutboxEntry | None:
    """The entry that has been due for longest, leased to the caller; None when nothing is."""
    # A look costs no commit: an empty one would wake whoever waits for commits, and so us.
    if not has_due(db, clock):
        return None
    now = clock.now()
    with db.transaction(is_relaxed=True) as tx:
        row = tx.execute(
            select(OUTBOX)
            .where(OUTBOX.c.done.is_(False), _is_due(now))
            .order_by(OUTBOX.c.due_at, OUTBOX.c.seq)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        tx.execute(
            update(OUTBOX)
            .where(OUTBOX.c.fact_id == row.fact_id)
            .values(attempts=row.attempts + 1, due_at=iso(now + timedelta(seconds=LEASE_S)))
        )
        fact = read_facts(tx, ids=[row.fact_id])[0]
    return OutboxEntry(fact, row.attempts + 1)


def release_leases(db: Database, clock: Clock) -> None:
    """What a killed process had claimed is due again, as before. For the workspace's one holder."""
    said = select(FACTS.c.at).where(FACTS.c.id == OUTBOX.c.fact_id).scalar_subquery()
    with db.transaction() as tx:
        tx.execute(
            update(OUTBOX)
            .where(OUTBOX.c.done.is_(False), OUTBOX.c.due_at > iso(clock.now()))
            .values(due_at=said)
        )


def has_due(db: Database, clock: Clock) -> bool:
    with db.read() as connection:
        query = select(OUTBOX.c.fact_id).where(OUTBOX.c.done.is_(False), _is_due(clock.now()))
        return connection.execute(query.limit(1)).first() is not None


def _is_due(now: datetime) -> ColumnElement[bool]:
    """Nothing is put off for longer than a lease: what seems to be, a clock that has jumped back
    since put there."""
    beyond = iso(now + timedelta(seconds=2 * LEASE_S))
    return or_(OUTBOX.c.due_at <= iso(now), OUTBOX.c.due_at > beyond)


def list_undone(db: Database, kind: str, subjects: Sequence[str] | None = None) -> dict[str, str]:
    """Subject of a fact of this kind whose effects are not all done → what went wrong the last
    time, "" when nothing did. `subjects`: only these."""
    query = (
        select(FACTS.c.subject, OUTBOX.c.last_error)
        .join(OUTBOX, OUTBOX.c.fact_id == FACTS.c.id)
        .where(OUTBOX.c.done.is_(False), FACTS.c.kind == kind)
    )
    with db.read() as connection:
        found = {row.subject: row.last_error or "" for row in connection.execute(query)}
    return found if subjects is None else {one: found[one] for one in subjects if one in found}


def finish(db: Database, fact_id: str) -> None:
    with db.transaction(is_relaxed=True) as tx:
        tx.execute(
            update(OUTBOX).where(OUTBOX.c.fact_id == fact_id).values(done=True, last_error=None)
        )


def continue_later(db: Database, clock: Clock, fact_id: str) -> None:
    """A part is done: the rest comes when all that is due by now has had its turn."""
    with db.transaction() as tx:
        tx.execute(
            update(OUTBOX)
            .where(OUTBOX.c.fact_id == fact_id)
            .values(due_at=iso(clock.now()), attempts=0, last_error=None)
        )


def postpone(db: Database, clock: Clock, entry: OutboxEntry, error: str) -> None:
    """Try again later: 1 s, 2 s, 4 s … up to a minute."""
    wait = timedelta(seconds=min(MAX_BACKOFF_S, 2.0 ** (entry.attempts - 1)))
    with db.transaction() as tx:
        tx.execute(
            update(OUTBOX)
            .where(OUTBOX.c.fact_id == entry.fact.id)
            .values(due_at=iso(clock.now() + wait), last_error=error[:4000])
        )
