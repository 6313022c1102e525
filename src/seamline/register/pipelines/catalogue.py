"""Pipeline definitions: compiled IR, byte for byte, by digest and by tag.

A version is the sha256 of the file, so publishing the same bytes twice is one version.
Tags of the form x.y.z name one version for ever; all others move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from seamline.domain.errors import not_found
from seamline.domain.facts import PipelinePublished
from seamline.register.names import normalised_package
from seamline.register.rows import PIPELINE_TAGS, PIPELINE_VERSIONS
from seamline.store.facts import read_facts
from seamline.store.stores import Stores

DEFAULT_REPOSITORY = "default/main"


@dataclass(frozen=True)
class PipelineVersion:
    package: str
    digest: str


@dataclass(frozen=True)
class PipelineVersionRow:
    package: str
    digest: str
    size_bytes: int
    published_by: str
    published_at: str


@dataclass(frozen=True)
class PipelineTag:
    package: str
    tag: str
    digest: str
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class PipelinePackage:
    package: str
    created_at: str
    updated_at: str


def commit_of_pipeline(stores: Stores, digest: str) -> str | None:
    """What the publisher told when these bytes were first published."""
    with stores.db.read() as connection:
        told = read_facts(connection, kinds=[PipelinePublished.kind])
    commits = [fact.body.get("commit") for fact in told if fact.body["digest"] == digest]
    return next((commit for commit in commits if commit), None)


def read_pipeline(
    stores: Stores, package: str, reference: str, *, repository: str = DEFAULT_REPOSITORY
) -> bytes:
    """The very bytes that were published, verified; `reference` is a tag or a digest."""
    version = find_pipeline(stores, package, reference, repository=repository)
    return stores.blobs.get(version.digest, f"pipeline {version.package}")


def find_pipeline(
    stores: Stores, package: str, reference: str, *, repository: str = DEFAULT_REPOSITORY
) -> PipelineVersionRow:
    """By tag or by digest; NotFound names the nearest package, tag or version."""
    digest = reference
    if not reference.startswith("sha256:"):
        digest = find_tag(stores, package, reference, repository=repository).digest
    versions = list_versions(stores, package, repository=repository)
    for version in versions:
        if version.digest == digest:
            return version
    raise not_found(f"version of {package}", digest, [version.digest for version in versions])


def list_repositories(stores: Stores) -> list[str]:
    """PROJECT/REPOSITORY of all that hold a version."""
    column = PIPELINE_VERSIONS.c.repository
    with stores.db.read() as connection:
        return list(connection.execute(select(column).distinct().order_by(column)).scalars())


def list_packages(stores: Stores, *, repository: str = DEFAULT_REPOSITORY) -> list[PipelinePackage]:
    with stores.db.read() as connection:
        rows = connection.execute(
            select(PIPELINE_VERSIONS.c.package, PIPELINE_VERSIONS.c.published_at)
            .where(PIPELINE_VERSIONS.c.repository == repository)
            .order_by(PIPELINE_VERSIONS.c.package, PIPELINE_VERSIONS.c.published_at)
        ).all()
    times: dict[str, list[str]] = {}
    for row in rows:
        times.setdefault(row.package, []).append(row.published_at)
    return [PipelinePackage(name, published[0], published[-1]) for name, published in times.items()]


def find_package(
    stores: Stores, package: str, *, repository: str = DEFAULT_REPOSITORY
) -> PipelinePackage:
    packages = list_packages(stores, repository=repository)
    wanted = normalised_package(package)
    for found in packages:
        if found.package == wanted:
            return found
    raise not_found(f"pipeline in {repository}", package, [found.package for found in packages])


def list_versions(
    stores: Stores, package: str, *, repository: str = DEFAULT_REPOSITORY
) -> list[PipelineVersionRow]:
    """Newest first; NotFound when there is no such package."""
    name = find_package(stores, package, repository=repository).package
    with stores.db.read() as connection:
        rows = connection.execute(
            select(PIPELINE_VERSIONS)
            .where(
                PIPELINE_VERSIONS.c.repository == repository, PIPELINE_VERSIONS.c.package == name
            )
            .order_by(PIPELINE_VERSIONS.c.published_at.desc(), PIPELINE_VERSIONS.c.digest)
        )
        return [_version(row) for row in rows]


def list_tags(
    stores: Stores, package: str, *, repository: str = DEFAULT_REPOSITORY
) -> list[PipelineTag]:
    name = find_package(stores, package, repository=repository).package
    with stores.db.read() as connection:
        return live_tags(connection, repository, name)


def find_tag(
    stores: Stores, package: str, tag: str, *, repository: str = DEFAULT_REPOSITORY
) -> PipelineTag:
    tags = list_tags(stores, package, repository=repository)
    for found in tags:
        if found.tag == tag:
            return found
    raise not_found(f"tag of {normalised_package(package)}", tag, [found.tag for found in tags])


def live_tags(connection: Connection, repository: str, package: str) -> list[PipelineTag]:
    rows = connection.execute(
        select(PIPELINE_TAGS)
        .where(
            PIPELINE_TAGS.c.repository == repository,
            PIPELINE_TAGS.c.package == package,
            PIPELINE_TAGS.c.deleted.is_(False),
        )
        .order_by(PIPELINE_TAGS.c.tag)
    )
    return [_tag(row) for row in rows]


def find_version(
    connection: Connection, repository: str, package: str, digest: str
) -> PipelineVersionRow | None:
    row = connection.execute(
        select(PIPELINE_VERSIONS)
        .where(
            PIPELINE_VERSIONS.c.repository == repository,
            PIPELINE_VERSIONS.c.package == package,
            PIPELINE_VERSIONS.c.digest == digest,
        )
        .with_for_update()
    ).one_or_none()
    return None if row is None else _version(row)


def _version(row: Any) -> PipelineVersionRow:
    return PipelineVersionRow(
        row.package, row.digest, row.size_bytes, row.published_by, row.published_at
    )


def _tag(row: Any) -> PipelineTag:
    return PipelineTag(row.package, row.tag, row.digest, row.created_at, row.updated_at)
