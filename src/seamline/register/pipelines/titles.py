"""What people call pipelines and their versions: annotations of the catalogue, nothing of its own.

A package is `fraud-training` and a version is a digest; a client that shows "Fraud training" and
"second try, with weights" finds those here. They go with what they name.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from seamline.domain.clock import iso
from seamline.domain.errors import InvalidInput
from seamline.register.rows import PIPELINE_TITLES, PIPELINE_VERSIONS
from seamline.store.stores import Stores

MAX_TITLE = 200


@dataclass(frozen=True)
class Title:
    title: str
    description: str


def give_title(
    stores: Stores,
    package: str,
    digest: str,
    title: Title,
    *,
    by: str,
    repository: str,
) -> None:
    """Of a version, or (without a digest) of the package; replaces an earlier one."""
    if not 1 <= len(title.title.strip()) <= MAX_TITLE:
        raise InvalidInput(
            f"A pipeline's name has 1 to {MAX_TITLE} characters: {title.title[:40]!r}."
        )
    table = PIPELINE_TITLES.c
    with stores.db.transaction() as tx:
        tx.execute(
            delete(PIPELINE_TITLES).where(
                table.repository == repository, table.package == package, table.digest == digest
            )
        )
        tx.execute(
            insert(PIPELINE_TITLES).values(
                repository=repository,
                package=package,
                digest=digest,
                title=title.title.strip(),
                description=title.description,
                changed_by=by,
                changed_at=iso(stores.clock.now()),
            )
        )


def drop_title(tx: Connection, package: str, digest: str, repository: str) -> None:
    """Of a version that is gone; with the last version goes the package's own."""
    title, version = PIPELINE_TITLES.c, PIPELINE_VERSIONS.c
    of_package = (title.repository == repository) & (title.package == package)
    tx.execute(delete(PIPELINE_TITLES).where(of_package, title.digest == digest))
    left = select(version.digest).where(
        version.repository == repository, version.package == package
    )
    if tx.execute(left.limit(1)).first() is None:
        tx.execute(delete(PIPELINE_TITLES).where(of_package))


def load_titles(
    stores: Stores, package: str | None = None, *, repository: str
) -> dict[tuple[str, str], Title]:
    """(package, digest) → title; the digest is empty for the package's own."""
    table = PIPELINE_TITLES.c
    query = select(PIPELINE_TITLES).where(table.repository == repository)
    if package is not None:
        query = query.where(table.package == package)
    with stores.db.read() as connection:
        return {
            (row.package, row.digest): Title(row.title, row.description)
            for row in connection.execute(query)
        }
