"""A delivery that is not taken in: said as a fact, once."""

from __future__ import annotations

from seamline.domain.facts import DeliveryRefused
from seamline.store.facts import read_facts
from seamline.store.stores import Stores


def record_refusal(
    stores: Stores,
    dataset: str,
    source: str,
    sentences: tuple[str, ...],
    *,
    by: str,
    caused_by: str | None,
) -> str:
    """The fact's id. What a reaction that is done again refuses again has been said already."""
    fact = DeliveryRefused(dataset, source, sentences)
    with stores.db.transaction() as tx:
        if caused_by is not None:
            kinds = [fact.kind]
            for known in read_facts(tx, kinds=kinds, subject=dataset, caused_by=caused_by):
                if known.body == {**fact.to_json(), "violations": list(sentences)}:
                    return known.id
        return stores.facts.append(tx, fact, by=by, caused_by=caused_by)
