"""Find versions of datasets: by number, by tag, the newest, the one that a delivery made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from seamline.data.declaration import DatasetDeclaration, Mode, check_dataset_name
from seamline.data.rows import DATASET_TAGS, DATASET_VERSIONS, DATASETS
from seamline.data.versions.version import Dataset, DatasetVersion, Reference, parse_reference
from seamline.domain.errors import InvalidInput, NotFound, not_found
from seamline.measure.contracts import Contract
from seamline.store.stores import Stores


def find_version(stores: Stores, reference: str) -> DatasetVersion:
    """`flights@7`, `flights@golden`, or the newest of `flights`; NotFound names what there is.

    Raises InvalidInput for a split: only some of a version's rows is not the version.
    """
    named = parse_reference(reference)
    if named.split is not None:
        raise InvalidInput(
            f"{reference} is a split of a version; here a whole version is meant.",
            next_step=f"Write {reference.partition('/')[0]}.",
        )
    return find_named(stores, named)


def find_named(stores: Stores, named: Reference) -> DatasetVersion:
    """The version, whatever split of it is named."""
    name, number = named.dataset, named.version
    with stores.db.read() as connection:
        if named.tag is not None:
            number = _tagged(connection, name, named.tag)
        found = version_row(connection, name, number)
        if found is not None:
            return found
        newest = version_row(connection, name)
        if newest is None:
            raise not_found("dataset", name, connection.execute(select(DATASETS.c.name)).scalars())
    raise NotFound(
        f"There is no version {number} of dataset {name}.",
        next_step=f"It has versions 1 to {newest.version}.",
        kind="dataset version",
        name=str(named),
    )


def _tagged(connection: Connection, dataset: str, tag: str) -> int:
    table = DATASET_TAGS
    mine = (table.c.dataset == dataset) & table.c.version.is_not(None)
    tags = {
        row.tag: row.version
        for row in connection.execute(select(table.c.tag, table.c.version).where(mine))
    }
    if tag not in tags:
        if version_row(connection, dataset) is None:
            names = connection.execute(select(DATASETS.c.name)).scalars()
            raise not_found("dataset", dataset, names)
        raise not_found(f"tag of dataset {dataset}", tag, tags)
    return int(tags[tag])


def version_row(
    connection: Connection, dataset: str, number: int | None = None, *, delivery: str | None = None
) -> DatasetVersion | None:
    """That version (the newest, unless numbered), or the one that this delivery made."""
    query = select(DATASET_VERSIONS).where(DATASET_VERSIONS.c.dataset == dataset)
    if number is not None:
        query = query.where(DATASET_VERSIONS.c.version == number)
    if delivery is not None:
        query = query.where(DATASET_VERSIONS.c.delivery_digest == delivery)
    query = query.order_by(DATASET_VERSIONS.c.version.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _version(row)


def find_dataset(connection: Connection, name: str) -> Dataset | None:
    row = connection.execute(select(DATASETS).where(DATASETS.c.name == name)).one_or_none()
    if row is None:
        return None
    return Dataset(
        DatasetDeclaration.from_json(json.loads(row.declaration)),
        Contract.from_json(json.loads(row.contract)),
        row.basis_digest,
    )


def list_datasets(stores: Stores) -> list[dict[str, Any]]:
    """Each dataset at its newest version, by name."""
    table = DATASET_VERSIONS
    newest = (
        select(table.c.dataset, func.max(table.c.version).label("version"))
        .group_by(table.c.dataset)
        .subquery()
    )
    is_newest = (table.c.dataset == newest.c.dataset) & (table.c.version == newest.c.version)
    shown = (table.c[name] for name in ("version", "rows", "digest", "at"))
    query = select(table.c.dataset.label("name"), *shown).join(newest, is_newest)
    query = query.order_by(table.c.dataset)
    with stores.db.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def list_versions(stores: Stores, dataset: str) -> list[DatasetVersion]:
    """Oldest first; NotFound when there is no such dataset."""
    find_version(stores, check_dataset_name(dataset))
    return versions_up_to(stores, dataset, None)


def versions_up_to(stores: Stores, dataset: str, last: int | None) -> list[DatasetVersion]:
    query = select(DATASET_VERSIONS).where(DATASET_VERSIONS.c.dataset == dataset)
    if last is not None:
        query = query.where(DATASET_VERSIONS.c.version <= last)
    with stores.db.read() as connection:
        rows = connection.execute(query.order_by(DATASET_VERSIONS.c.version)).mappings()
        return [_version(row) for row in rows]


def versions_of_run(connection: Connection, dataset: str, run_id: str) -> list[DatasetVersion]:
    """The versions that outputs of the run have become, oldest first."""
    table = DATASET_VERSIONS
    query = select(table).where((table.c.dataset == dataset) & (table.c.run_id == run_id))
    rows = connection.execute(query.order_by(table.c.version)).mappings()
    return [_version(row) for row in rows]


def last_replacing(connection: Connection, dataset: str) -> DatasetVersion | None:
    """The newest version that was the whole table anew: the rows of the newest begin with its."""
    table = DATASET_VERSIONS
    query = select(table).where((table.c.dataset == dataset) & (table.c.mode == Mode.REPLACE.value))
    query = query.order_by(table.c.version.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _version(row)


def versions_of_rows(stores: Stores, version: DatasetVersion) -> list[DatasetVersion]:
    """The versions whose deliveries make up its rows: from the last that replaced the table on."""
    found = versions_up_to(stores, version.dataset, version.version)
    anew = [place for place, one in enumerate(found) if one.mode is Mode.REPLACE]
    return found[anew[-1] :] if anew else found


def _version(row: Mapping[Any, Any]) -> DatasetVersion:
    lists = {name: json.loads(row[name]) for name in ("schema", "breaches")}
    return DatasetVersion.from_json({**row, **lists})
