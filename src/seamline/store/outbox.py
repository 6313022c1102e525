"""Effects that must happen: claimed with a lease, executed at least once, in fact order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, update

from seamline.domain.clock import Clock, iso
from seamline.store.database import Database
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.schema import OUTBOX

LEASE_S = 120.0
MAX_BACKOFF_S = 60.0


@dataclass(frozen=True)
class OutboxEntry:
    fact: RecordedFact
    attempts: int


def claim_next(db: Database, clock: Clock) -> OutboxEntry | None:
    """The oldest entry that is due, leased to the caller; None when nothing is."""
    # A look costs no commit: an empty one would wake whoever waits for commits, and so us.
    if not has_due(db, clock):
        return None
    now = clock.now()
    with db.transaction() as tx:
        row = tx.execute(
            select(OUTBOX)
            .where(OUTBOX.c.done.is_(False), OUTBOX.c.due_at <= iso(now))
            .order_by(OUTBOX.c.seq)
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
    """What a killed process had claimed is due again, now. For the workspace's one holder."""
    now = iso(clock.now())
    with db.transaction() as tx:
        tx.execute(
            update(OUTBOX).where(OUTBOX.c.done.is_(False), OUTBOX.c.due_at > now).values(due_at=now)
        )


def has_due(db: Database, clock: Clock) -> bool:
    with db.read() as connection:
        query = select(OUTBOX.c.fact_id).where(
            OUTBOX.c.done.is_(False), OUTBOX.c.due_at <= iso(clock.now())
        )
        return connection.execute(query.limit(1)).first() is not None


def finish(db: Database, fact_id: str) -> None:
    with db.transaction() as tx:
        tx.execute(
            update(OUTBOX).where(OUTBOX.c.fact_id == fact_id).values(done=True, last_error=None)
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
