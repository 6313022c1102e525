from __future__ import annotations

import threading

from sqlalchemy import update

from seamline.domain.facts import FACT_TYPES, RunStarted, TaskEnded, fact_from_json
from seamline.domain.promote_facts import ReleaseCreated
from seamline.store.facts import read_facts, verify_chain
from seamline.store.schema import CHAIN_HEAD, FACTS
from seamline.store.stores import Stores


def _append(stores: Stores, count: int) -> list[str]:
    with stores.db.transaction() as tx:
        return [
            stores.facts.append(tx, ReleaseCreated(f"sha256:{n:064x}", f"r{n}"), by="ada")
            for n in range(count)
        ]


def test_chain_verifies_and_facts_come_back_typed(stores: Stores) -> None:
    ids = _append(stores, 5)
    with stores.db.read() as connection:
        report = verify_chain(connection)
        found = read_facts(connection, kinds=[ReleaseCreated.kind])
    assert (report.checked, report.broken) == (5, None)
    assert [fact.id for fact in found] == ids
    assert fact_from_json(found[0].kind, found[0].body) == ReleaseCreated(f"sha256:{0:064x}", "r0")


def test_run_events_are_not_chained(stores: Stores) -> None:
    with stores.db.transaction() as tx:
        stores.facts.append(tx, RunStarted("r1"), by="ada")
        stores.facts.append(tx, TaskEnded("r1", "a/b", "failed", 2, "boom"), by="ada")
    with stores.db.read() as connection:
        assert verify_chain(connection).checked == 0
        assert [one.hash for one in read_facts(connection)] == [None, None]


def test_an_edited_fact_is_named(stores: Stores) -> None:
    ids = _append(stores, 4)
    with stores.db.transaction() as tx:
        tx.execute(update(FACTS).where(FACTS.c.id == ids[2]).values(by="mallory"))
    with stores.db.read() as connection:
        report = verify_chain(connection)
    assert (report.checked, report.broken) == (2, ids[2])


def test_a_removed_tail_is_seen_against_the_head(stores: Stores) -> None:
    ids = _append(stores, 3)
    with stores.db.transaction() as tx:
        tx.execute(FACTS.delete().where(FACTS.c.id == ids[-1]))
    with stores.db.read() as connection:
        assert verify_chain(connection).broken == "chain head 3"
    with stores.db.transaction() as tx:
        tx.execute(update(CHAIN_HEAD).values(chain_seq=2))
    with stores.db.read() as connection:
        assert verify_chain(connection).broken is not None


def test_a_rolled_back_transaction_leaves_no_fact(stores: Stores) -> None:
    try:
        with stores.db.transaction() as tx:
            stores.facts.append(tx, ReleaseCreated("sha256:1", "r"), by="ada")
            raise RuntimeError
    except RuntimeError:
        pass
    with stores.db.read() as connection:
        assert read_facts(connection) == []


def test_threads_append_one_chain(stores: Stores) -> None:
    threads = [threading.Thread(target=_append, args=(stores, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with stores.db.read() as connection:
        report = verify_chain(connection)
    assert (report.checked, report.broken) == (40, None)


def test_every_fact_type_has_a_kind_and_a_room() -> None:
    for kind, cls in FACT_TYPES.items():
        assert cls.kind == kind
        assert cls.room


def test_a_fact_filed_under_another_subject_breaks_the_chain(stores: Stores) -> None:
    """The hash does not cover the subject, and who trained is looked up by it."""
    ids = _append(stores, 3)
    with stores.db.transaction() as tx:
        tx.execute(update(FACTS).where(FACTS.c.id == ids[1]).values(subject="sha256:elsewhere"))
    with stores.db.read() as connection:
        assert verify_chain(connection).broken == ids[1]


def test_a_reader_sees_one_moment(stores: Stores) -> None:
    _append(stores, 1)
    with stores.db.read() as connection:
        before = read_facts(connection)
        writer = threading.Thread(target=_append, args=(stores, 1))
        writer.start()
        writer.join()
        assert read_facts(connection) == before
        assert verify_chain(connection).broken is None
