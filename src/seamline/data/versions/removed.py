"""Versions whose rows retention has removed: what they were stays known, and that they are gone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from seamline.data.rows import DATASET_REMOVALS
from seamline.data.versions.version import DatasetVersion
from seamline.domain.clock import iso
from seamline.domain.data_facts import DatasetRowsRemoved
from seamline.store.stores import Stores


@dataclass(frozen=True)
class Removal:
    dataset: str
    version: int
    reason: str
    removed_by: str
    removed_at: str


def find_removal(connection: Connection, version: DatasetVersion) -> Removal | None:
    table = DATASET_REMOVALS
    mine = (table.c.dataset == version.dataset) & (table.c.version == version.version)
    row = connection.execute(select(table).where(mine)).mappings().one_or_none()
    return None if row is None else Removal(**row)


def removed_numbers(connection: Connection, dataset: str) -> set[int]:
    return set(removal_reasons(connection, dataset))


def removal_reasons(connection: Connection, dataset: str) -> dict[int, str]:
    """Version → why its rows are gone."""
    table = DATASET_REMOVALS
    query = select(table.c.version, table.c.reason).where(table.c.dataset == dataset)
    return {row.version: row.reason for row in connection.execute(query)}


def record_removals(
    stores: Stores, tx: Connection, versions: Collection[tuple[DatasetVersion, str]], *, by: str
) -> None:
    """(version, why). The files go after this: from now on nobody reads these versions."""
    for version, reason in versions:
        made = Removal(version.dataset, version.version, reason, by, iso(stores.clock.now()))
        tx.execute(insert(DATASET_REMOVALS).values(made.__dict__))
        fact = DatasetRowsRemoved(version.dataset, version.version, version.digest, reason)
        stores.facts.append(tx, fact, by=by)
