"""Who uses a pipeline: pipelines that were compiled with it inside, and releases that pin it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from seamline.domain.digests import short
from seamline.register.pipelines.succession import parse_version
from seamline.register.rows import (
    PIPELINE_PARTS,
    PIPELINE_SHAPES,
    PIPELINE_TAGS,
    PIPELINE_VERSIONS,
)

#: Which releases pin one of these digests, by alias. Releases are another room's.
ReleasesOf = Callable[[Connection, Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Consumer:
    """A version of another pipeline that contains a version of this one."""

    repository: str
    package: str
    digest: str
    tags: tuple[str, ...]
    #: Of the version that it contains; more than one when several versions do the same.
    uses: tuple[str, ...]

    def __str__(self) -> str:
        """By its newest version, else by its newest tag, else by twelve digits."""
        versions = [tag for tag in self.tags if parse_version(tag)]
        return f"{self.package}@{[short(self.digest), *self.tags, *versions][-1]}"

    def to_json(self) -> dict[str, Any]:
        return {
            "repository": self.repository,
            "package": self.package,
            "digest": self.digest,
            "tags": list(self.tags),
            "uses": list(self.uses),
        }


def find_consumers(
    connection: Connection, repository: str, package: str, digests: Sequence[str] = ()
) -> list[Consumer]:
    """Of these versions (none named: of all), in every repository; by name, then oldest first.

    They are found by content, so a team that publishes the same pipeline under two names sees
    the consumers of both.
    """
    uses = _containing(connection, repository, package, digests)
    consumers = []
    version = PIPELINE_VERSIONS.c
    query = select(PIPELINE_VERSIONS).where(version.digest.in_(uses))
    order = (version.repository, version.package, version.published_at)
    for row in connection.execute(query.order_by(*order)):
        if (row.repository, row.package) != (repository, package):
            here = (row.repository, row.package, row.digest)
            used = tuple(sorted(uses[row.digest]))
            consumers.append(Consumer(*here, _tags(connection, *here), used))
    return consumers


def _containing(
    connection: Connection, repository: str, package: str, digests: Sequence[str]
) -> dict[str, set[str]]:
    """File digest of what contains one of these versions → digests of the contained versions."""
    version, shape, part = PIPELINE_VERSIONS.c, PIPELINE_SHAPES.c, PIPELINE_PARTS.c
    query = (
        select(part.digest, version.digest.label("contained"))
        .join(PIPELINE_SHAPES, shape.content_digest == part.part)
        .join(PIPELINE_VERSIONS, version.digest == shape.digest)
        .where(version.repository == repository, version.package == package)
    )
    if digests:
        query = query.where(version.digest.in_(digests))
    found: dict[str, set[str]] = {}
    for row in connection.execute(query):
        found.setdefault(row.digest, set()).add(row.contained)
    return found


def _tags(connection: Connection, repository: str, package: str, digest: str) -> tuple[str, ...]:
    tag = PIPELINE_TAGS.c
    query = select(tag.tag).where(
        tag.repository == repository,
        tag.package == package,
        tag.digest == digest,
        tag.deleted.is_(False),
    )
    return tuple(connection.execute(query.order_by(tag.updated_at, tag.tag)).scalars())
