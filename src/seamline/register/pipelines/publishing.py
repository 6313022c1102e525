"""Versions come and go, and tags move: each change checked whole, in one transaction."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert

from seamline.domain.clock import iso
from seamline.domain.digests import digest_of, parse_digest, short
from seamline.domain.errors import Conflict, InvalidInput, Refused, not_found
from seamline.domain.facts import PipelinePublished, PipelineVersionDeleted
from seamline.register.owners import claim_pipeline, nobody_else
from seamline.register.pipelines.catalogue import (
    DEFAULT_REPOSITORY,
    PipelineTag,
    PipelineVersion,
    PipelineVersionRow,
    find_pipeline,
    find_tag,
    find_version,
    list_versions,
    live_tags,
)
from seamline.register.pipelines.consumers import ReleasesOf
from seamline.register.pipelines.contracts import Judge, check_contract, no_releases
from seamline.register.pipelines.environment_tags import check_unreserved
from seamline.register.pipelines.interfaces import Shape
from seamline.register.pipelines.ir_file import (
    check_no_index_of_ours,
    check_package,
    load_ir,
    package_of_document,
)
from seamline.register.pipelines.shapes import (
    record_missing_shapes,
    record_shape,
    shape_of_document,
)
from seamline.register.pipelines.tag_rows import drop_tag, tag_row, write_tag
from seamline.register.pipelines.tags import check_tag, is_immutable_tag
from seamline.register.pipelines.titles import drop_title
from seamline.register.rows import PIPELINE_VERSIONS
from seamline.register.statements import state_pipeline
from seamline.store.stores import Stores
from seamline.trust.roles import Principal

_COMMIT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+/-]{0,99}")
_REPOSITORY = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}")


def publish_pipeline(
    stores: Stores,
    data: bytes,
    tags: Sequence[str] = (),
    *,
    by: str,
    who: Principal | None = None,
    repository: str = DEFAULT_REPOSITORY,
    commit: str | None = None,
    name: str | None = None,
    releases_of: ReleasesOf = no_releases,
) -> PipelineVersion:
    """Store the bytes and move the tags to them, all or nothing.

    `who`: whoever `by` is, with their teams; without, they own what they published themselves.
    `commit`: of the code that it was compiled from. `name`: publishes it under another name than
    the one that the file bears. `releases_of`: whom a refusal names beside other pipelines.
    Raises InvalidInput when it is no compiled pipeline, Conflict when an x.y.z tag would move,
    Refused when an x.y.z tag would break the users of the version before.
    """
    _check_words(repository, tags, commit)
    document = load_ir(data)
    package, shape = package_of_document(document), shape_of_document(document)
    check_no_index_of_ours(data)
    if name is not None:
        package = check_package(name)
    digest = digest_of(data)
    record_missing_shapes(stores)
    with stores.db.transaction() as tx:
        claim_pipeline(stores, tx, repository, package, who or nobody_else(by))
        judge = Judge(stores, tx, repository, package, releases_of)
        judge.wait_for_others()
        if find_version(tx, repository, package, digest) is None:
            published = PipelinePublished(package, digest, repository, commit)
            _record_version(stores, tx, published, len(data), by)
        record_shape(tx, digest, shape)
        for tag in dict.fromkeys(tags):
            _move_tag(judge, digest, tag, by, shape=shape)
        named = (repository, package, digest)
        state_pipeline(stores, tx, document, named, tags, by=by, commit=commit)
        # Last, so that nothing of what is refused stays; before the commit, which names it.
        stores.blobs.put(data)
    return PipelineVersion(package, digest)


def _record_version(
    stores: Stores, tx: Connection, published: PipelinePublished, size_bytes: int, by: str
) -> None:
    tx.execute(
        insert(PIPELINE_VERSIONS).values(
            repository=published.repository,
            package=published.package,
            digest=published.digest,
            size_bytes=size_bytes,
            published_by=by,
            published_at=iso(stores.clock.now()),
        )
    )
    stores.facts.append(tx, published, by=by)


def _check_words(repository: str, tags: Sequence[str], commit: str | None) -> None:
    if not _REPOSITORY.fullmatch(repository):
        raise InvalidInput(
            f"{repository!r} cannot be a repository.",
            next_step="Use project/repository in lower-case letters, digits and . _ -",
        )
    if commit is not None and not _COMMIT.fullmatch(commit):
        raise InvalidInput(
            f"{commit!r} cannot be a commit.", next_step="Use what git rev-parse HEAD prints."
        )
    for tag in tags:
        check_tag(tag)


def tag_pipeline(
    stores: Stores,
    package: str,
    digest: str,
    tag: str,
    *,
    by: str,
    who: Principal | None = None,
    repository: str = DEFAULT_REPOSITORY,
    create_only: bool = False,
    releases_of: ReleasesOf = no_releases,
) -> PipelineTag:
    """Create or move a tag; Conflict when x.y.z would move, or `create_only` finds it elsewhere.

    Refused when an x.y.z tag would break the users of the version before.
    """
    check_tag(tag)
    target = find_pipeline(stores, package, parse_digest(digest), repository=repository)
    record_missing_shapes(stores)
    with stores.db.transaction() as tx:
        claim_pipeline(stores, tx, repository, target.package, who or nobody_else(by))
        judge = Judge(stores, tx, repository, target.package, releases_of)
        judge.wait_for_others()
        _lock_version(tx, repository, target)
        _move_tag(judge, target.digest, tag, by, create_only=create_only)
        document = load_ir(stores.blobs.get(target.digest, f"pipeline {target.package}"))
        named = (repository, target.package, target.digest)
        state_pipeline(stores, tx, document, named, [tag], by=by)
    return find_tag(stores, package, tag, repository=repository)


def delete_tag(
    stores: Stores,
    package: str,
    tag: str,
    *,
    by: str,
    who: Principal | None = None,
    repository: str = DEFAULT_REPOSITORY,
) -> None:
    with stores.db.transaction() as tx:
        # While nobody else writes: it may be gone, or stand for another version, a moment later.
        found = find_tag(stores, package, tag, repository=repository)
        claim_pipeline(stores, tx, repository, found.package, who or nobody_else(by))
        check_unreserved(tx, tag)
        drop_tag(stores, tx, found, repository, by=by)


def delete_version(
    stores: Stores,
    package: str,
    digest: str,
    *,
    by: str,
    who: Principal | None = None,
    releases_of: ReleasesOf,
    repository: str = DEFAULT_REPOSITORY,
    with_tags: bool = False,
) -> None:
    """Refused while releases use it, or tags point at it (`with_tags`: these go, too).

    The bytes stay in any case.
    """
    version = find_pipeline(stores, package, parse_digest(digest), repository=repository)
    with stores.db.transaction() as tx:
        claim_pipeline(stores, tx, repository, version.package, who or nobody_else(by))
        _lock_version(tx, repository, version)
        _check_unused(tx, version.package, [version.digest], releases_of)
        tags = live_tags(tx, repository, version.package)
        holding = [tag for tag in tags if tag.digest == version.digest]
        if holding and not with_tags:
            raise Refused(
                f"{version.package} {short(digest)} is tagged "
                f"{', '.join(tag.tag for tag in holding)}.",
                next_step="Move or delete these tags first.",
            )
        for tag in holding:
            drop_tag(stores, tx, tag, repository, by=by)
        _drop_version(stores, tx, version, by, repository)


def delete_package(
    stores: Stores,
    package: str,
    *,
    by: str,
    who: Principal | None = None,
    releases_of: ReleasesOf,
    repository: str = DEFAULT_REPOSITORY,
) -> None:
    """Every tag and version of the package; refused while releases use one. The bytes stay."""
    with stores.db.transaction() as tx:
        # While nobody else writes: what is published meanwhile would lose its tags alone.
        versions = list_versions(stores, package, repository=repository)
        claim_pipeline(stores, tx, repository, versions[0].package, who or nobody_else(by))
        for version in versions:
            _lock_version(tx, repository, version)
        digests = [version.digest for version in versions]
        _check_unused(tx, versions[0].package, digests, releases_of)
        for tag in live_tags(tx, repository, versions[0].package):
            drop_tag(stores, tx, tag, repository, by=by)
        for version in versions:
            _drop_version(stores, tx, version, by, repository)


def _check_unused(
    tx: Connection, package: str, digests: Sequence[str], releases_of: ReleasesOf
) -> None:
    releases = releases_of(tx, digests)
    if releases:
        raise Refused(
            f"{package} is used by {', '.join(f'release {alias}' for alias in releases)}.",
            next_step="What a release uses stays, so that it can be run and explained. To hide a "
            "version, delete its tags.",
        )


def _move_tag(
    judge: Judge,
    digest: str,
    tag: str,
    by: str,
    *,
    create_only: bool = False,
    shape: Shape | None = None,
) -> None:
    """`shape`: None where it is to be read from the stored bytes."""
    stores, tx = judge.stores, judge.connection
    repository, package = judge.repository, judge.package
    check_unreserved(tx, tag)
    row = tag_row(tx, repository, package, tag)
    before = row.digest if row is not None and not row.deleted else None
    if before == digest:
        return
    held = row.digest if row is not None and is_immutable_tag(tag) else None
    _check_may_move(package, tag, held or (before if create_only else None), digest)
    check_contract(judge, tag, digest, shape)
    write_tag(stores, tx, (repository, package, tag), digest, by=by)


def check_tag_free(
    connection: Connection, repository: str, package: str, tag: str, digest: str
) -> None:
    """Conflict when this x.y.z tag stands, or ever stood, for another version; Refused when the
    tag is an environment's name."""
    check_unreserved(connection, tag)
    row = tag_row(connection, repository, package, tag)
    if row is not None and is_immutable_tag(tag):
        _check_may_move(package, tag, row.digest, digest)


def _check_may_move(package: str, tag: str, held: str | None, digest: str) -> None:
    """`held`: what the tag must keep standing for, if anything."""
    if held is None or held == digest:
        return
    raise Conflict(
        f"The tag {tag} of {package} stands for {short(held)}; it cannot stand for "
        f"{short(digest)}.",
        next_step="Tags like 1.0.0 never move: publish under a new one."
        if is_immutable_tag(tag)
        else "To move an existing tag, update it.",
    )


def _drop_version(
    stores: Stores, tx: Connection, version: PipelineVersionRow, by: str, repository: str
) -> None:
    tx.execute(
        delete(PIPELINE_VERSIONS).where(
            PIPELINE_VERSIONS.c.repository == repository,
            PIPELINE_VERSIONS.c.package == version.package,
            PIPELINE_VERSIONS.c.digest == version.digest,
        )
    )
    drop_title(tx, version.package, version.digest, repository)
    fact = PipelineVersionDeleted(version.package, version.digest, repository)
    stores.facts.append(tx, fact, by=by)


def _lock_version(tx: Connection, repository: str, version: PipelineVersionRow) -> None:
    """Tagging and deleting the same version queue up; NotFound when it is gone by now."""
    if find_version(tx, repository, version.package, version.digest) is None:
        raise not_found(f"version of {version.package}", version.digest)
