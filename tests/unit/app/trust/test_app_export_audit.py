"""The ledger outside of its workspace: what is altered, cut off or written anew is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from seamline.app.trust.export_audit import export_ledger, sign_head
from seamline.domain.clock import ManualClock
from seamline.domain.errors import InvalidInput, Refused
from seamline.domain.promote_facts import PromotionMoved
from seamline.store.chain import GENESIS
from seamline.store.schema import CHAIN_HEAD, FACTS
from seamline.store.stores import Stores, open_stores
from seamline.trust.audit import verify_export
from seamline.trust.keys import load_or_create_key
from seamline.trust.signing import rotate_key


def tell(stores: Stores, count: int, by: str = "zoë") -> None:
    """Facts with what canonical JSON and Python write differently: numbers, signs, lines."""
    with stores.db.transaction() as tx:
        for number in range(count):
            reason = f'{number} "quoted"\n\u2028 \x07 é 😀'
            fact = PromotionMoved(f"p{number}", "r", "staging", "checking", "live", reason)
            stores.facts.append(tx, fact, by=by)


def key_of(stores: Stores) -> str:
    return load_or_create_key(stores.root / "keys").public.key_id


def test_an_export_holds_by_itself(stores: Stores) -> None:
    tell(stores, 5)
    lines = list(export_ledger(stores))
    report = verify_export(lines, key_of(stores))
    assert (report.facts, report.problems) == (5, ())
    assert json.loads(lines[1])["body"]["promotion_id"] == "p0"


def test_nothing_recorded_is_an_export_too(stores: Stores) -> None:
    report = verify_export(list(export_ledger(stores)))
    assert (report.facts, report.head, report.problems) == (0, GENESIS, ())


def test_an_export_that_a_tool_wrote_anew_holds(sqlite_stores: Stores) -> None:
    """What is hashed is what it says, not how: spaces, order and escapes are the file's."""
    tell(sqlite_stores, 3)
    header, *lines = export_ledger(sqlite_stores)
    documents = [json.loads(line) for line in lines]
    spaced = [json.dumps(one).encode() for one in documents]
    turned = [json.dumps(dict(reversed(one.items()))).encode() for one in documents]
    for written in (lines, spaced, turned):
        assert verify_export([header, *written]).problems == ()
    twice = spaced[0][:-1] + b', "body": {}}'
    assert "breaks at fact 1" in verify_export([header, twice]).problems[0]


@pytest.mark.parametrize("line", [1, 3, 5])
def test_the_first_altered_fact_is_named(sqlite_stores: Stores, line: int) -> None:
    tell(sqlite_stores, 5)
    lines = list(export_ledger(sqlite_stores))
    altered = json.loads(lines[line])
    altered["by"] = "eve"
    lines[line] = json.dumps(altered).encode()
    [problem] = verify_export(lines).problems
    assert f"The chain breaks at fact {line}: {altered['id']} (promotion.moved by eve" in problem


def test_facts_that_are_missing_are_told(sqlite_stores: Stores) -> None:
    tell(sqlite_stores, 5)
    lines = list(export_ledger(sqlite_stores))
    assert "breaks at fact 3" in verify_export([*lines[:3], *lines[4:]]).problems[0]
    assert "ends at fact 3" in verify_export(lines[:4]).problems[0]
    assert "2 facts at the end are missing" in verify_export(lines[:4]).problems[0]
    assert "breaks at fact 1" in verify_export([lines[0], *lines[2:]]).problems[0]
    assert "is no fact" in verify_export([*lines[:4], lines[4][:40]]).problems[0]


def test_a_tail_cut_off_with_the_head_is_found_against_an_anchor(stores: Stores) -> None:
    """Whoever owns the database and the key can cut the tail and sign again: the anchor tells."""
    tell(stores, 5)
    _, anchor = sign_head(stores)
    with stores.db.transaction() as tx:
        third = tx.execute(FACTS.select().where(FACTS.c.chain_seq == 3)).one()
        tx.execute(delete(FACTS).where(FACTS.c.chain_seq > 3))
        tx.execute(update(CHAIN_HEAD).values(chain_seq=3, hash=third.hash))
    lines = list(export_ledger(stores))
    assert verify_export(lines).problems == ()
    [problem] = verify_export(lines, anchors=[anchor]).problems
    assert "The chain ends at fact 3; the head anchored at" in problem
    tell(stores, 4)
    [problem] = verify_export(list(export_ledger(stores)), anchors=[anchor]).problems
    assert (
        problem == "Fact 5 is not the one of the head anchored at 2026-01-01T00:00:00.000000Z: "
        "the ledger was written anew."
    )


def test_an_anchor_of_before_a_rotation_holds(sqlite_stores: Stores) -> None:
    tell(sqlite_stores, 2)
    pin = key_of(sqlite_stores)
    _, anchor = sign_head(sqlite_stores)
    rotate_key(sqlite_stores, [], by="ada")
    lines = list(export_ledger(sqlite_stores))
    report = verify_export(lines, pin, [anchor])
    assert (report.facts, report.anchors, report.problems) == (3, 1, ())


def test_an_ended_key_signs_no_head(sqlite_stores: Stores) -> None:
    tell(sqlite_stores, 2)
    old = list(export_ledger(sqlite_stores))
    rotate_key(sqlite_stores, [], by="ada")
    new = list(export_ledger(sqlite_stores))
    header = json.loads(new[0]) | {"head": json.loads(old[0])["head"]}
    with pytest.raises(Refused, match="signed"):
        verify_export([json.dumps(header).encode(), *old[1:]])


def test_another_workspaces_ledger_is_refused(
    sqlite_stores: Stores, tmp_path: Path, clock: ManualClock
) -> None:
    other = open_stores(tmp_path / "other", clock)
    tell(other, 3)
    tell(sqlite_stores, 3)
    lines, (_, anchor) = list(export_ledger(sqlite_stores)), sign_head(other)
    with pytest.raises(Refused, match="is none of this workspace's keys"):
        verify_export(lines, key_of(other))
    [problem] = verify_export(lines, anchors=[anchor]).problems
    assert "An anchor is not this workspace's" in problem
    with pytest.raises(InvalidInput, match="no export of a ledger"):
        verify_export([b"{}"])
    other.db.close()
