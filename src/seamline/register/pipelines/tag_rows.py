"""The rows of tags and the facts of their moves: whoever may move one has been checked before."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from seamline.domain.clock import iso
from seamline.domain.facts import PipelineTagMoved
from seamline.register.pipelines.catalogue import PipelineTag
from seamline.register.pipelines.tags import is_immutable_tag
from seamline.register.rows import PIPELINE_TAGS
from seamline.store.stores import Stores


def tag_row(connection: Connection, repository: str, package: str, tag: str) -> Row[Any] | None:
    """Also of an x.y.z tag that was deleted: what it must keep standing for."""
    here = _here(repository, package, tag)
    return connection.execute(select(PIPELINE_TAGS).where(*here)).one_or_none()


def write_tag(
    stores: Stores,
    tx: Connection,
    named: tuple[str, str, str],
    digest: str,
    *,
    by: str,
    caused_by: str | None = None,
) -> None:
    """`named`: repository, package, tag. It stands for `digest` from now on; what it stands for
    already changes nothing."""
    repository, package, tag = named
    row = tag_row(tx, repository, package, tag)
    before = row.digest if row is not None and not row.deleted else None
    if before == digest:
        return
    now = iso(stores.clock.now())
    if row is None:
        tx.execute(
            insert(PIPELINE_TAGS).values(
                repository=repository,
                package=package,
                tag=tag,
                digest=digest,
                created_at=now,
                updated_at=now,
                deleted=False,
            )
        )
    else:
        values = {"digest": digest, "updated_at": now, "deleted": False}
        tx.execute(update(PIPELINE_TAGS).where(*_here(*named)).values(**values))
    fact = PipelineTagMoved(package, tag, before, digest, repository)
    stores.facts.append(tx, fact, by=by, caused_by=caused_by)


def drop_tag(
    stores: Stores,
    tx: Connection,
    tag: PipelineTag,
    repository: str,
    *,
    by: str,
    caused_by: str | None = None,
) -> None:
    here = _here(repository, tag.package, tag.tag)
    if is_immutable_tag(tag.tag):
        gone = {"deleted": True, "updated_at": iso(stores.clock.now())}
        tx.execute(update(PIPELINE_TAGS).where(*here).values(**gone))
    else:
        tx.execute(delete(PIPELINE_TAGS).where(*here))
    fact = PipelineTagMoved(tag.package, tag.tag, tag.digest, None, repository)
    stores.facts.append(tx, fact, by=by, caused_by=caused_by)


def _here(repository: str, package: str, tag: str) -> tuple[ColumnElement[bool], ...]:
    table = PIPELINE_TAGS.c
    return table.repository == repository, table.package == package, table.tag == tag
