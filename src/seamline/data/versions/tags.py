"""Tags: names for versions. A tagged version's rows are kept until the tag is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from seamline.data.rows import DATASET_TAGS
from seamline.data.versions.find import version_row
from seamline.data.versions.removed import find_removal
from seamline.data.versions.version import NEWEST, DatasetVersion
from seamline.domain.clock import iso
from seamline.domain.data_facts import DatasetTagMoved
from seamline.domain.errors import Conflict, InvalidInput, Refused, not_found
from seamline.domain.tags import check_tag, is_immutable_tag
from seamline.store.schema import CHAIN_HEAD
from seamline.store.stores import Stores


@dataclass(frozen=True)
class DatasetTag:
    dataset: str
    tag: str
    #: None: it was deleted, and kept so that an x.y.z cannot come back with other rows.
    version: int | None
    tagged_by: str
    tagged_at: str


def tag_version(
    stores: Stores, version: DatasetVersion, tag: str, *, by: str
) -> tuple[DatasetTag, bool]:
    """The tag, and whether anything has changed. x.y.z tags stay where they are: Conflict."""
    _check_tag(tag)
    with stores.db.transaction() as tx:
        # Rows are removed under the same lock: a version is either tagged or removed.
        tx.execute(select(CHAIN_HEAD.c.chain_seq).with_for_update())
        before = _row(tx, version.dataset, tag)
        if before is not None and before.version == version.version:
            return before, False
        if before is not None and is_immutable_tag(tag):
            raise _stays(before)
        if find_removal(tx, version) is not None:
            raise Refused(
                f"{version.reference} cannot be tagged: its rows were removed by retention.",
                next_step="Tag a version whose rows are kept.",
            )
        made = DatasetTag(version.dataset, tag, version.version, by, iso(stores.clock.now()))
        _write(stores, tx, before, made)
    return made, True


def delete_tag(stores: Stores, dataset: str, tag: str, *, by: str) -> DatasetTag:
    """Its version may be removed by retention from then on; an x.y.z is never given again."""
    with stores.db.transaction() as tx:
        before = _row(tx, dataset, tag)
        if before is None or before.version is None:
            if version_row(tx, dataset) is None:
                raise not_found("dataset", dataset)
            known = [one.tag for one in _present(tx, dataset)]
            raise not_found(f"tag of dataset {dataset}", tag, known)
        _write(stores, tx, before, DatasetTag(dataset, tag, None, by, iso(stores.clock.now())))
    return before


def list_tags(stores: Stores, dataset: str) -> list[DatasetTag]:
    """By name."""
    with stores.db.read() as connection:
        return _present(connection, dataset)


def tags_by_version(connection: Connection, dataset: str) -> Mapping[int, list[str]]:
    found: dict[int, list[str]] = {}
    for one in _present(connection, dataset):
        found.setdefault(one.version or 0, []).append(one.tag)
    return found


def _present(connection: Connection, dataset: str) -> list[DatasetTag]:
    table = DATASET_TAGS
    query = select(table).where((table.c.dataset == dataset) & table.c.version.is_not(None))
    rows = connection.execute(query.order_by(table.c.tag)).mappings()
    return [DatasetTag(**row) for row in rows]


def _row(connection: Connection, dataset: str, tag: str) -> DatasetTag | None:
    table = DATASET_TAGS
    query = select(table).where((table.c.dataset == dataset) & (table.c.tag == tag))
    row = connection.execute(query.with_for_update()).mappings().one_or_none()
    return None if row is None else DatasetTag(**row)


def _write(stores: Stores, tx: Connection, before: DatasetTag | None, after: DatasetTag) -> None:
    table = DATASET_TAGS
    values: dict[str, Any] = after.__dict__
    if before is None:
        tx.execute(insert(table).values(values))
    else:
        mine = (table.c.dataset == after.dataset) & (table.c.tag == after.tag)
        tx.execute(update(table).where(mine).values(values))
    was = None if before is None else before.version
    fact = DatasetTagMoved(after.dataset, after.tag, was, after.version)
    stores.facts.append(tx, fact, by=after.tagged_by)


def _check_tag(tag: str) -> None:
    check_tag(tag)
    if tag == NEWEST or tag.isdigit():
        raise InvalidInput(
            f"{tag!r} cannot be a tag of a dataset: it names "
            f"{'the newest version' if tag == NEWEST else 'a version by its number'}.",
            next_step="Choose another name, such as golden or 1.0.0.",
        )


def _stays(before: DatasetTag) -> Conflict:
    where = "was deleted" if before.version is None else f"is at version {before.version}"
    return Conflict(
        f"Tag {before.tag} of dataset {before.dataset} {where}; x.y.z tags never move.",
        next_step="Use the next number, or a tag of another form.",
    )
