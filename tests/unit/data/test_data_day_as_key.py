"""A dataset whose own column of days is called `ds`, as schedulers do, and is part of its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.diff.rows import compare_rows
from seamline.data.ingest import Bringer, ingest, take_in
from seamline.data.mirror.mirrored import mirror_delivery
from seamline.data.mirror.recipe import MirrorDeclaration
from seamline.data.splits.definition import SplitBy, SplitsDeclaration
from seamline.data.splits.read import definition_for, propose_splits
from seamline.data.versions import DatasetVersion, read_version
from seamline.store.stores import Stores

DECLARED = DatasetDeclaration("sales", time="ds", keys=("shop", "ds"), mode=Mode.REPLACE)


@pytest.fixture
def versions(stores: Stores, tmp_path: Path) -> list[DatasetVersion]:
    made = []
    for number, last in enumerate(("7", "8"), 1):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"ds,shop,sold\n2025-03-01,1,5\n2025-03-02,1,6\n2025-03-02,2,{last}\n")
        made.append(ingest(stores, DECLARED, path, source=path.name, by="ada").version)
    return made


def test_rows_are_compared_by_it(stores: Stores, versions: list[DatasetVersion]) -> None:
    found = compare_rows(stores, *versions)
    assert (found.added, found.removed, found.changed) == (0, 0, 1)
    assert found.columns[0].examples[0].key == ("2", "2025-03-02")


def test_rows_are_split_by_it(stores: Stores, versions: list[DatasetVersion]) -> None:
    halves = SplitsDeclaration(SplitBy.KEY, {"a": 0.5, "b": 0.5})
    definition = definition_for(versions[0], DECLARED, halves)
    assert definition.keys == ("shop", "ds")
    found = propose_splits(stores, versions[0], definition)
    assert sum(one.rows for one in found.values()) == 3


def test_it_goes_with_a_mirror(stores: Stores, versions: list[DatasetVersion]) -> None:
    recipe = MirrorDeclaration()
    delivery = mirror_delivery(stores, versions[0], DECLARED, recipe, "dataops")
    staging = replace(DECLARED, name="sales-staging")
    made = take_in(stores, staging, delivery, Bringer("ada")).version
    assert read_version(stores, made).equals(read_version(stores, versions[0]))
