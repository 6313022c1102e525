"""Splits of versions: fixed when one is first used, and read: exactly their rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import Connection, insert, select

from seamline.data.declaration import DAY, DatasetDeclaration
from seamline.data.rows import DATASET_SPLITS
from seamline.data.splits.assign import Places, assign_splits, needed_columns
from seamline.data.splits.definition import SplitsDeclaration
from seamline.data.versions.find import find_dataset
from seamline.data.versions.read import (
    is_within,
    read_file,
    read_version,
    version_files,
    wanted_columns,
)
from seamline.data.versions.version import DatasetVersion
from seamline.domain.clock import iso
from seamline.domain.data_facts import DatasetSplitFixed
from seamline.domain.errors import NotFound, not_found
from seamline.store.stores import Stores


@dataclass(frozen=True)
class Split:
    version: DatasetVersion
    name: str
    #: Of the version's digest and the definition.
    digest: str
    definition: SplitsDeclaration
    rows: int
    #: None: nobody has used it yet, and it is what is declared.
    fixed_by: str | None = None
    fixed_at: str | None = None

    @property
    def reference(self) -> str:
        return f"{self.version.reference}/{self.name}"

    @property
    def uri(self) -> str:
        return f"datasets://{self.reference}"

    def to_json(self) -> dict[str, Any]:
        named = {"dataset": self.version.dataset, "version": self.version.version}
        told = {"fixed_by": self.fixed_by, "fixed_at": self.fixed_at}
        return {
            **named,
            "split": self.name,
            "rows": self.rows,
            "digest": self.digest,
            "definition": self.definition.to_json(),
            **told,
        }


def find_split(
    stores: Stores,
    version: DatasetVersion,
    name: str,
    declared: DatasetDeclaration | None = None,
    *,
    by: str | None = None,
) -> Split:
    """As it was fixed, whatever is declared since; else as `declared` says (not given: as the
    dataset was declared at its last delivery). `by` somebody who uses it, all splits of the
    version are fixed then."""
    known = list_splits(stores, version)
    if not known:
        definition = _declared(stores, version, name, declared)
        proposed = propose_splits(stores, version, definition)
        known = proposed if by is None else fix_splits(stores, version, proposed, by=by)
    if name not in known:
        raise not_found(f"split of {version.reference}", name, known)
    return known[name]


def list_splits(stores: Stores, version: DatasetVersion) -> dict[str, Split]:
    """Those that are fixed, in the order of their definition."""
    with stores.db.read() as connection:
        return _fixed(connection, version)


def propose_splits(
    stores: Stores, version: DatasetVersion, definition: SplitsDeclaration
) -> dict[str, Split]:
    """What the definition makes of the version; reads the columns that it goes by."""
    counts = np.bincount(_places(stores, version, definition), minlength=len(definition.names))
    return {
        name: Split(version, name, definition.digest_with(version.digest, name), definition, rows)
        for name, rows in zip(definition.names, counts.tolist(), strict=True)
    }


def fix_splits(
    stores: Stores, version: DatasetVersion, proposed: Mapping[str, Split], *, by: str
) -> dict[str, Split]:
    """If somebody was faster, theirs are the splits: those of a version come from one definition,
    so no row is in two."""
    at = iso(stores.clock.now())
    with stores.db.transaction() as tx:
        before = _fixed(tx, version)
        if before:
            return before
        for one in proposed.values():
            tx.execute(
                insert(DATASET_SPLITS).values(
                    dataset=version.dataset,
                    version=version.version,
                    split=one.name,
                    digest=one.digest,
                    definition=json.dumps(one.definition.to_json()),
                    rows=one.rows,
                    fixed_by=by,
                    fixed_at=at,
                )
            )
            number = version.version
            fact = DatasetSplitFixed(version.dataset, number, one.name, one.digest, one.rows)
            stores.facts.append(tx, fact, by=by)
        return _fixed(tx, version)


def read_split_frames(
    stores: Stores,
    split: Split,
    columns: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
) -> Iterator[pl.DataFrame]:
    """Exactly its rows, file by file, in the version's order."""
    version = split.version
    wanted = wanted_columns(version, columns)
    stored = [name for name, _ in version.schema if name in wanted]
    places = _places(stores, version, split.definition)
    number, at = split.definition.names.index(split.name), 0
    for file in version_files(stores, version):
        inside = pl.Series(places[at : at + file.rows] == number)
        at += file.rows
        if inside.any() and is_within(date.fromisoformat(file.partition), since, until):
            yield read_file(stores, version, file, stored).filter(inside).select(wanted)


def _declared(
    stores: Stores, version: DatasetVersion, name: str, declared: DatasetDeclaration | None
) -> SplitsDeclaration:
    if declared is None:
        with stores.db.read() as connection:
            dataset = find_dataset(connection, version.dataset)
        declared = None if dataset is None else dataset.declaration
    if declared is None or declared.splits is None:
        raise NotFound(
            f"Dataset {version.dataset} declares no splits, so {version.reference} has no split "
            f"{name!r}.",
            next_step=f"Write [datasets.{version.dataset}.splits] in seamline.toml and apply it.",
        )
    declared.splits.check_split(version.dataset, name)
    return definition_for(version, declared, declared.splits)


def definition_for(
    version: DatasetVersion, declared: DatasetDeclaration, splits: SplitsDeclaration
) -> SplitsDeclaration:
    columns = tuple(column for column, _ in version.schema)
    return splits.with_keys(declared.keys, columns, day=DAY)


def _places(stores: Stores, version: DatasetVersion, definition: SplitsDeclaration) -> Places:
    return assign_splits(read_version(stores, version, needed_columns(definition)), definition)


def _fixed(connection: Connection, version: DatasetVersion) -> dict[str, Split]:
    table = DATASET_SPLITS
    mine = (table.c.dataset == version.dataset) & (table.c.version == version.version)
    rows = connection.execute(select(table).where(mine))
    found = {
        row.split: Split(
            version,
            row.split,
            row.digest,
            SplitsDeclaration.from_json(json.loads(row.definition)),
            row.rows,
            row.fixed_by,
            row.fixed_at,
        )
        for row in rows
    }
    return dict(sorted(found.items(), key=lambda one: one[1].definition.names.index(one[0])))
