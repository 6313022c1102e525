"""The fact log: append, read, and verify the hash chain of governance facts (`store/chain.py`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, or_, select, update

from seamline.domain.clock import Clock, iso, new_id
from seamline.domain.fact import Fact, FactClass
from seamline.domain.facts import FACT_TYPES
from seamline.store.bulk import insert_rows
from seamline.store.canonical import canonical_json
from seamline.store.chain import GENESIS, ChainReport, Link, fits, link_hash
from seamline.store.schema import CHAIN_HEAD, FACTS, OUTBOX


@dataclass(frozen=True)
class RecordedFact:
    seq: int
    id: str
    kind: str
    subject: str
    at: str
    by: str
    caused_by: str | None
    body: dict[str, Any]
    chain_seq: int | None
    hash: str | None

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__}


class FactLog:
    """Appends facts inside the caller's transaction; kinds in `reacting` also enter the outbox."""

    def __init__(self, clock: Clock, reacting: frozenset[str] = frozenset()) -> None:
        self._clock = clock
        self._reacting = reacting

    def append(self, tx: Connection, fact: Fact, *, by: str, caused_by: str | None = None) -> str:
        """The new fact's id."""
        row, body = self._row(fact, by, caused_by)
        text = canonical_json(body).decode()
        if fact.fact_class is FactClass.GOVERNANCE:
            row |= _chain(tx, row, text)
        result = tx.execute(insert(FACTS).values(subject=fact.subject, body=text, **row))
        if fact.kind in self._reacting:
            seq = result.inserted_primary_key[0] if result.inserted_primary_key else 0
            tx.execute(
                insert(OUTBOX).values(
                    fact_id=row["id"], seq=seq, attempts=0, due_at=row["at"], done=False
                )
            )
        return str(row["id"])

    def append_all(self, tx: Connection, facts: Iterable[tuple[Fact, str, str | None]]) -> None:
        """(fact, by, caused by) in this order; a row of run events that nobody reacts to is one
        statement."""
        plain: list[dict[str, Any]] = []
        for fact, by, caused_by in facts:
            if fact.fact_class is FactClass.GOVERNANCE or fact.kind in self._reacting:
                insert_rows(tx, FACTS, plain)
                plain = []
                self.append(tx, fact, by=by, caused_by=caused_by)
            else:
                row, body = self._row(fact, by, caused_by)
                subject, text = fact.subject, canonical_json(body).decode()
                plain.append({**row, "subject": subject, "body": text})
        insert_rows(tx, FACTS, plain)

    def _row(
        self, fact: Fact, by: str, caused_by: str | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        row: dict[str, Any] = {
            "id": new_id(self._clock),
            "kind": fact.kind,
            "at": iso(self._clock.now()),
            "by": by,
            "caused_by": caused_by,
        }
        return row, json.loads(json.dumps(fact.to_json()))


def _chain(tx: Connection, row: dict[str, Any], body: str) -> dict[str, Any]:
    head = tx.execute(select(CHAIN_HEAD.c.chain_seq, CHAIN_HEAD.c.hash).with_for_update()).one()
    chain_seq, previous = head.chain_seq, head.hash
    link = link_hash(row["id"], row["kind"], row["at"], row["by"], row["caused_by"], body, previous)
    tx.execute(update(CHAIN_HEAD).values(chain_seq=chain_seq + 1, hash=link))
    return {"chain_seq": chain_seq + 1, "previous_hash": previous, "hash": link}


def read_facts(
    connection: Connection,
    *,
    kinds: Sequence[str] = (),
    subject: str | None = None,
    ids: Sequence[str] = (),
    mentioning: str | None = None,
    caused_by: str | None = None,
    by: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    chained_only: bool = False,
    after: int = 0,
    before: int | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[RecordedFact]:
    """`kinds`: "promotion.*" is all of a group. `since` is of it, `until` is not any more."""
    query = select(FACTS).where(FACTS.c.seq > after)
    query = query.order_by(FACTS.c.seq.desc() if newest_first else FACTS.c.seq)
    if kinds:
        groups = [FACTS.c.kind.startswith(one[:-1]) for one in kinds if one.endswith(".*")]
        query = query.where(or_(FACTS.c.kind.in_(kinds), *groups))
    if subject is not None:
        query = query.where(FACTS.c.subject == subject)
    if ids:
        query = query.where(FACTS.c.id.in_(ids))
    if mentioning is not None:  # somewhere in what they say: a digest, for one
        query = query.where(FACTS.c.body.contains(mentioning, autoescape=True))
    if caused_by is not None:
        query = query.where(FACTS.c.caused_by == caused_by)
    if by is not None:
        query = query.where(FACTS.c.by == by)
    if since is not None:
        query = query.where(FACTS.c.at >= iso(since))
    if until is not None:
        query = query.where(FACTS.c.at < iso(until))
    if chained_only:
        query = query.where(FACTS.c.chain_seq.is_not(None))
    if before is not None:
        query = query.where(FACTS.c.seq < before)
    if limit is not None:
        query = query.limit(limit)
    return [_recorded(row) for row in connection.execute(query).mappings()]


def read_head(connection: Connection) -> tuple[int, str]:
    """How many facts the chain says that it holds, and the hash of the last one."""
    row = connection.execute(select(CHAIN_HEAD.c.chain_seq, CHAIN_HEAD.c.hash)).one()
    return row.chain_seq, row.hash


def verify_chain(connection: Connection) -> ChainReport:
    """Recompute every link, in order; the first that does not fit is named."""
    previous, checked = GENESIS, 0
    with closing(_chained_rows(connection)) as rows:
        for link, subject in rows:
            if not (fits(link, checked + 1, previous) and _is_filed_rightly(link, subject)):
                return ChainReport(checked, previous, link.id)
            previous, checked = link.hash, checked + 1
    chain_seq, head = read_head(connection)
    if (head, chain_seq) != (previous, checked):
        return ChainReport(checked, previous, f"chain head {chain_seq}")
    return ChainReport(checked, previous, None)


def read_links(connection: Connection, *, until: int) -> Iterator[Link]:
    """The chain up to that number, for whoever verifies it elsewhere."""
    with closing(_chained_rows(connection)) as rows:
        for link, _ in rows:
            if link.chain_seq > until:
                return
            yield link


def _is_filed_rightly(link: Link, subject: str) -> bool:
    """The subject is a copy, outside the hash, and what people look facts up by."""
    cls = FACT_TYPES.get(link.kind)
    if cls is None:
        return True  # a newer version's fact: its hash still says that it is whole
    first = dataclasses.fields(cls)[0].name
    return str(json.loads(link.body).get(first)) == subject


def _chained_rows(connection: Connection) -> Generator[tuple[Link, str], None, None]:
    """In order, each with the subject that it is filed under."""
    names = ("previous_hash" if name == "previous" else name for name in Link._fields)
    columns = [FACTS.c[name] for name in names]
    query = select(*columns, FACTS.c.subject).where(FACTS.c.chain_seq.is_not(None))
    in_order = query.order_by(FACTS.c.chain_seq).execution_options(yield_per=1000)
    with connection.execute(in_order) as rows:
        for row in rows:
            yield Link._make(row[:-1]), row[-1]


def _recorded(row: Any) -> RecordedFact:
    return RecordedFact(
        row["seq"],
        row["id"],
        row["kind"],
        row["subject"],
        row["at"],
        row["by"],
        row["caused_by"],
        json.loads(row["body"]),
        row["chain_seq"],
        row["hash"],
    )
