from __future__ import annotations

from seamline.domain.clock import ManualClock
from seamline.domain.promote_facts import PolicyApplied, ReleaseCreated
from seamline.store.outbox import (
    LEASE_S,
    claim_next,
    continue_later,
    finish,
    has_due,
    postpone,
    release_leases,
)
from seamline.store.stores import Stores


def _release(stores: Stores, name: str) -> None:
    with stores.db.transaction() as tx:
        stores.facts.append(tx, PolicyApplied("staging", "sha256:1", None), by="ada")
        stores.facts.append(tx, ReleaseCreated(f"sha256:{name}", name), by="ada")


def test_entries_come_in_fact_order_and_only_reacting_kinds(
    stores: Stores, clock: ManualClock
) -> None:
    for name in ("a", "b"):
        _release(stores, name)
    first = claim_next(stores.db, clock)
    second = claim_next(stores.db, clock)
    assert first is not None
    assert second is not None
    assert [first.fact.body["alias"], second.fact.body["alias"]] == ["a", "b"]
    assert claim_next(stores.db, clock) is None


def test_a_lost_lease_is_claimed_again(stores: Stores, clock: ManualClock) -> None:
    _release(stores, "a")
    assert claim_next(stores.db, clock) is not None
    assert not has_due(stores.db, clock)
    clock.advance(LEASE_S + 1)
    again = claim_next(stores.db, clock)
    assert again is not None
    assert again.attempts == 2
    finish(stores.db, again.fact.id)
    clock.advance(LEASE_S + 1)
    assert claim_next(stores.db, clock) is None


def test_a_failed_effect_waits_longer_each_time(stores: Stores, clock: ManualClock) -> None:
    _release(stores, "a")
    for attempt, wait_s in ((1, 1), (2, 2), (3, 4)):
        entry = claim_next(stores.db, clock)
        assert entry is not None
        assert entry.attempts == attempt
        postpone(stores.db, clock, entry, "the disk is full")
        clock.advance(wait_s - 0.5)
        assert claim_next(stores.db, clock) is None
        clock.advance(0.5)


def _claim(stores: Stores, clock: ManualClock) -> tuple[str, str, int]:
    entry = claim_next(stores.db, clock)
    assert entry is not None
    return entry.fact.id, entry.fact.body["alias"], entry.attempts


def test_what_goes_on_in_portions_takes_its_place_behind_what_is_due(
    stores: Stores, clock: ManualClock
) -> None:
    for name in ("long", "b", "c"):
        _release(stores, name)
        clock.advance(1)
    seen = []
    for _ in range(5):
        fact_id, name, attempts = _claim(stores, clock)
        assert attempts == 1
        seen.append(name)
        clock.advance(1)
        if name == "long" and seen.count("long") < 3:
            continue_later(stores.db, clock, fact_id)
        else:
            finish(stores.db, fact_id)
    assert seen == ["long", "b", "c", "long", "long"]
    assert not has_due(stores.db, clock)


def test_what_a_killed_process_has_leased_comes_first_again(
    stores: Stores, clock: ManualClock
) -> None:
    for name in ("a", "b"):
        _release(stores, name)
        clock.advance(1)
    assert _claim(stores, clock)[1] == "a"
    clock.advance(1)
    release_leases(stores.db, clock)
    assert [_claim(stores, clock)[1:] for _ in range(2)] == [("a", 2), ("b", 1)]


def test_a_clock_that_jumps_back_keeps_nothing_waiting(stores: Stores, clock: ManualClock) -> None:
    for name in ("a", "b"):
        _release(stores, name)
    entry = claim_next(stores.db, clock)
    assert entry is not None
    postpone(stores.db, clock, entry, "the disk is full")
    clock.advance(-86_400)
    found = [claim_next(stores.db, clock) for _ in range(2)]
    assert sorted(one.fact.body["alias"] for one in found if one) == ["a", "b"]
    assert claim_next(stores.db, clock) is None
