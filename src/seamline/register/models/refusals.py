"""Models that were refused: from the ledger, where alone they are told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from seamline.domain.facts import ModelRefused
from seamline.register.models.catalogue import ModelVersion
from seamline.store.facts import read_facts
from seamline.store.stores import Stores


@dataclass(frozen=True)
class Refusal:
    model: str
    run_id: str
    #: In sentences, with what to do.
    reason: str
    at: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def standing_refusals(stores: Stores, versions: Collection[ModelVersion]) -> list[Refusal]:
    """The last refusal of each model that no version has come after, newest first.

    `versions`: all that there are, or all of the models that are asked about.
    """
    with stores.db.read() as connection:
        told = read_facts(connection, kinds=[ModelRefused.kind])
    last = {
        fact.subject: Refusal(
            fact.subject, str(fact.body["run_id"]), str(fact.body["reason"]), fact.at
        )
        for fact in told
    }
    for one in versions:
        refusal = last.get(one.model)
        if refusal is not None and refusal.at < one.registered_at:
            del last[one.model]
    return sorted(last.values(), key=lambda one: one.at, reverse=True)
