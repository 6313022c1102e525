"""Tags that are environments' names: they stand for what is live there, and only the platform
moves them.

So `RegistryClient.download_pipeline(NAME, tag="production")` gives what production runs. Which
names these are is told by the facts: a name that was ever an environment's stays reserved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from seamline.domain.errors import Refused
from seamline.domain.facts import PipelineTagMoved
from seamline.domain.promote_facts import PolicyApplied
from seamline.register.pipelines.catalogue import (
    DEFAULT_REPOSITORY,
    PipelineTag,
    live_tags,
)
from seamline.register.pipelines.tag_rows import drop_tag, write_tag
from seamline.register.rows import PIPELINE_NAMES, PIPELINE_TAGS
from seamline.register.statements import state_pipeline
from seamline.store.facts import read_facts
from seamline.store.stores import Stores


def check_unreserved(connection: Connection, tag: str) -> None:
    """Refused for the name of an environment."""
    if tag in _environments(connection):
        raise Refused(
            f"The tag {tag} is the name of an environment: it stands for what the live release of "
            f"{tag} holds, and moves with it alone.",
            next_step=f"To have a version run there, make a release that holds it: seamline "
            f"promote RELEASE --to {tag}. Or choose another tag.",
        )


def move_environment_tags(
    stores: Stores,
    environment: str,
    versions: Mapping[str, tuple[str, Mapping[str, Any]]],
    *,
    by: str,
    caused_by: str | None,
) -> None:
    """From now on the tag `environment` is on these versions and on no other, signed as tags are.

    `versions`: package → (digest, its IR): both verified by the caller. Safe to do again.
    """
    with stores.db.transaction() as tx:
        held = tagged_with(tx, environment)
        _wait_for_others(tx, {*versions, *held})
        held = tagged_with(tx, environment)
        for package, (digest, document) in sorted(versions.items()):
            named = (DEFAULT_REPOSITORY, package, environment)
            write_tag(stores, tx, named, digest, by=by, caused_by=caused_by)
            what = (DEFAULT_REPOSITORY, package, digest)
            state_pipeline(stores, tx, document, what, [environment], by=by)
        for package in sorted(held.keys() - versions.keys()):
            gone = held[package]
            drop_tag(stores, tx, gone, DEFAULT_REPOSITORY, by=by, caused_by=caused_by)


def last_move(connection: Connection, package: str, tag: str) -> str | None:
    """What the ledger says that the tag stands for; None: nothing."""
    told = read_facts(connection, kinds=[PipelineTagMoved.kind], subject=package)
    here = [
        fact.body["after"]
        for fact in told
        if (fact.body["repository"], fact.body["tag"]) == (DEFAULT_REPOSITORY, tag)
    ]
    return here[-1] if here else None


def _environments(connection: Connection) -> set[str]:
    told = read_facts(connection, kinds=[PolicyApplied.kind])
    return {fact.body["environment"] for fact in told}


def tagged_with(connection: Connection, tag: str) -> dict[str, PipelineTag]:
    """Package → the tag, of those that have it."""
    table = PIPELINE_TAGS.c
    here = (table.repository == DEFAULT_REPOSITORY, table.tag == tag, table.deleted.is_(False))
    packages = connection.execute(select(table.package).where(*here)).scalars().all()
    return {
        package: found
        for package in packages
        for found in live_tags(connection, DEFAULT_REPOSITORY, package)
        if found.tag == tag
    }


def _wait_for_others(tx: Connection, packages: set[str]) -> None:
    """As whoever publishes does: names are locked before the ledger, in one order."""
    table = PIPELINE_NAMES.c
    here = (table.repository == DEFAULT_REPOSITORY, table.package.in_(sorted(packages)))
    tx.execute(select(table.package).where(*here).order_by(table.package).with_for_update()).all()
