"""Who trained, wrote and requested: the people whom law 5 keeps from approving."""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.facts import PipelinePublished, RunRequested
from seamline.promote.policy import Party
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.promote.shipments import received_of
from seamline.register.models.catalogue import find_model_version
from seamline.store.facts import read_facts


def parties_of(
    platform: Platform, release: StoredRelease, promotion: Promotion
) -> dict[Party, dict[str, str]]:
    """party → {person: what they did}, told from the facts."""
    trainers: dict[str, str] = {}
    authors: dict[str, str] = {}
    stores = platform.stores
    digests = {pin.digest for pin in release.release.pipelines}
    with stores.db.read() as connection:
        for pin in release.release.packages:
            version = find_model_version(stores, pin.name, pin.version)
            # What ran is a loop of the platform's making, where the run was over scenarios.
            digests.add(version.document["lineage"]["pipeline_digest"])
            for fact in read_facts(connection, kinds=[RunRequested.kind], subject=version.run_id):
                trainers[fact.by] = f"trained {pin.name} {pin.version} (run {version.run_id})"
                digests.add(fact.body["pipeline_digest"])
        for fact in read_facts(connection, kinds=[PipelinePublished.kind]):
            if fact.body["digest"] in digests:
                authors[fact.by] = f"published the pipeline {fact.body['package']}"
        elsewhere = received_of(connection, release.digest)
    found = {
        Party.TRAINER: trainers,
        Party.AUTHOR: authors,
        Party.REQUESTER: {promotion.requested_by: "requested this promotion"},
    }
    # Who did it on the server that a release came from did it: people have one name on both.
    for fact in elsewhere:
        for party, people in fact.body["parties"].items():
            found[Party(party)] = {**people, **found[Party(party)]}
    return found
