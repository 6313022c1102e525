"""One published pipeline: its interface, its tags and who moved them, and who uses it."""

from __future__ import annotations

from typing import Any

from seamline.app.references import split_reference
from seamline.app.register.environment_pipelines import find_pipeline
from seamline.app.register.pipeline_users import releases_of
from seamline.domain.errors import InvalidInput
from seamline.domain.facts import PipelineTagMoved
from seamline.register.pipelines.catalogue import (
    DEFAULT_REPOSITORY,
    PipelineVersionRow,
    commit_of_pipeline,
    list_tags,
    list_versions,
)
from seamline.register.pipelines.consumers import find_consumers
from seamline.register.pipelines.shapes import load_shape, record_missing_shapes
from seamline.store.facts import read_facts
from seamline.store.stores import Stores


def resolve_pipeline(
    stores: Stores, reference: str, *, repository: str = DEFAULT_REPOSITORY
) -> PipelineVersionRow:
    """NAME@TAG or NAME@sha256:…; InvalidInput without a tag."""
    name, tag = split_reference(reference)
    if tag is None:
        raise InvalidInput(
            f"{reference!r} names no tag.", next_step=f"Write {name}@1.0.0, for one."
        )
    return find_pipeline(stores, name, tag, repository=repository)


def show_pipeline(
    stores: Stores, reference: str, *, repository: str = DEFAULT_REPOSITORY
) -> dict[str, Any]:
    """`consumers` and `releases` are those of this version."""
    found = resolve_pipeline(stores, reference, repository=repository)
    record_missing_shapes(stores)
    versions = list_versions(stores, found.package, repository=repository)
    tags = list_tags(stores, found.package, repository=repository)
    interface = load_shape(stores, found.digest, f"pipeline {reference}").interface
    others = [one.digest for one in versions if one.digest != found.digest]
    with stores.db.read() as connection:
        consumers = find_consumers(connection, repository, found.package, [found.digest])
        releases = releases_of(connection, [found.digest])
        # An empty list would stand for all versions.
        elsewhere = find_consumers(connection, repository, found.package, others) if others else []
    known = {one.digest for one in consumers}
    return {
        "repository": repository,
        "package": found.package,
        "digest": found.digest,
        "interface_digest": interface.digest,
        "size_bytes": found.size_bytes,
        "published_by": found.published_by,
        "published_at": found.published_at,
        "commit": commit_of_pipeline(stores, found.digest),
        "path": str(stores.blobs.path_of(found.digest).resolve()),
        "interface": interface.to_json(),
        "tags": [{"tag": tag.tag, "digest": tag.digest} for tag in tags],
        "history": list_tag_moves(stores, found.package, repository=repository),
        "consumers": [one.to_json() for one in consumers],
        "releases": list(releases),
        "consumers_of_other_versions": [
            one.to_json() for one in elsewhere if one.digest not in known
        ],
    }


def list_tag_moves(
    stores: Stores, package: str, *, repository: str = DEFAULT_REPOSITORY
) -> list[dict[str, Any]]:
    """Who moved which tag, when, from where to where; oldest first. From the ledger."""
    with stores.db.read() as connection:
        facts = read_facts(connection, kinds=[PipelineTagMoved.kind], subject=package)
    return [
        {
            "tag": fact.body["tag"],
            "before": fact.body["before"],
            "after": fact.body["after"],
            "by": fact.by,
            "at": fact.at,
            "fact": fact.id,
        }
        for fact in facts
        if fact.body["repository"] == repository
    ]
