"""The facts about a promotion or a release, in their order, each as a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from seamline.console.fact_words import say_fact
from seamline.domain.facts import SnapshotWritten
from seamline.domain.promote_facts import EnvironmentChanged, HoldSet, ReleaseCreated
from seamline.promote.promotion import list_promotions
from seamline.promote.release import aliases_of
from seamline.store.facts import RecordedFact, read_facts


def facts_of_promotion(connection: Connection, promotion_id: str) -> list[RecordedFact]:
    own = read_facts(connection, subject=promotion_id)
    kinds = [EnvironmentChanged.kind]
    return _in_order([*own, *read_facts(connection, kinds=kinds, mentioning=promotion_id)])


def facts_of_release(connection: Connection, digest: str) -> list[RecordedFact]:
    """Its making, all of its promotions, its holds, and where it was served."""
    found = read_facts(connection, subject=digest, kinds=[ReleaseCreated.kind])
    for one in list_promotions(connection):
        if one.release == digest:
            found += read_facts(connection, subject=one.id)
    kinds = [EnvironmentChanged.kind, HoldSet.kind, SnapshotWritten.kind]
    return _in_order([*found, *read_facts(connection, kinds=kinds, mentioning=digest)])


def told(connection: Connection, facts: Iterable[RecordedFact]) -> list[dict[str, Any]]:
    """As JSON, with the sentence and with what a page needs to link to."""
    listed = list(facts)
    digests = {
        value
        for fact in listed
        for value in fact.body.values()
        if isinstance(value, str) and value.startswith("sha256:")
    }
    aliases = aliases_of(connection, digests)
    return [
        {**fact.to_json(), "sentence": say_fact(fact.kind, fact.body, aliases)} for fact in listed
    ]


def _in_order(facts: Iterable[RecordedFact]) -> list[RecordedFact]:
    return sorted({fact.seq: fact for fact in facts}.values(), key=lambda fact: fact.seq)
