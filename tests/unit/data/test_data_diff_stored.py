"""Stored versions compared: no row is read on one basis, rows by key, and the page of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.diff.findings import Change
from seamline.data.diff.page import PICTURE_BYTES, render_page
from seamline.data.diff.rows import CellChange, compare_rows
from seamline.data.diff.stored import compare_stored
from seamline.data.ingest import ingest
from seamline.data.mirror.recipe import Mask, MirrorDeclaration
from seamline.data.rows import DATASET_VERSIONS
from seamline.data.versions import (
    DatasetVersion,
    find_version,
    table_folder,
    version_files,
    versions_of_rows,
)
from seamline.domain.errors import InvalidInput
from seamline.measure.contracts import Policy
from seamline.store.stores import Stores

Deliver = Callable[[str], Path]
CALLS = DatasetDeclaration(
    "calls", time="at", zone="America/New_York", keys=("id",), on_breach=Policy.WARN
)
ANEW = replace(CALLS, mode=Mode.REPLACE)


def lines(numbers: range, minutes: Callable[[int], object]) -> str:
    return "\n".join(f"{i} 2013-01-{1 + i % 28:02}T12:00:00Z {minutes(i)}" for i in numbers)


@pytest.fixture
def take(stores: Stores, deliver: Deliver) -> Callable[..., DatasetVersion]:
    def take(text: str, declaration: DatasetDeclaration = CALLS) -> DatasetVersion:
        return ingest(stores, declaration, deliver(text), source="calls.csv", by="ada").version

    return take


Take = Callable[..., DatasetVersion]


@pytest.fixture
def replaced(stores: Stores, take: Take) -> tuple[DatasetVersion, DatasetVersion]:
    """Ten of 560 numbers become text, three rows are gone, two are new."""
    first = take(lines(range(560), lambda i: i / 4), ANEW)
    second = take(lines(range(3, 562), lambda i: "n/a" if i % 56 == 1 else i / 4), ANEW)
    return first, second


def test_a_version_and_itself(stores: Stores, take: Take) -> None:
    take(lines(range(60), lambda i: i / 4))
    version = take(lines(range(60, 90), lambda i: i / 4))
    found = compare_stored(stores, version, version)
    assert not found.diff.differs
    assert not compare_rows(stores, version, version).differs


def test_no_file_is_read(stores: Stores, replaced: tuple[DatasetVersion, DatasetVersion]) -> None:
    for version in replaced:
        for file in version_files(stores, version):
            (table_folder(stores, "calls") / file.relative).unlink(missing_ok=True)
    top = compare_stored(stores, *replaced).diff.findings[0]
    assert (top.change, top.column) == (Change.TYPE, "minutes")
    assert top.statement == (
        "minutes: float → string; 549 of 559 still numeric; 10 text values: 'n/a' ×10"
    )
    assert top.first is not None
    assert (top.first.partition, top.first.commit.version) == ("2013-01-02", 2)


def test_only_deliveries_that_the_other_has_not_are_searched(stores: Stores, take: Take) -> None:
    take(lines(range(280), lambda i: i / 4))
    second = take(lines(range(280, 560), lambda i: i / 4))
    take(lines(range(560, 840), lambda i: 1000 + i / 4))
    fourth = take(lines(range(840, 1120), lambda i: 1000 + i / 4))
    assert [one.version for one in versions_of_rows(stores, fourth)] == [1, 2, 3, 4]
    diff = compare_stored(stores, second, fourth).diff
    (shift,) = [one for one in diff.findings if one.change is Change.SHIFT]
    assert shift.first is not None
    assert shift.first.commit.version == 3
    backwards = compare_stored(stores, fourth, second).diff
    assert any(one.change is Change.ROWS for one in backwards.findings)


def test_a_table_in_wider_types(stores: Stores, take: Take) -> None:
    """All of its files are new, and yet only what was added is looked at."""
    first = take(lines(range(560), lambda i: i / 4))
    second = take(lines(range(560, 616), lambda i: "n/a" if i == 600 else i / 4))
    top = compare_stored(stores, first, second).diff.findings[0]
    assert top.sentence() == (
        "minutes: float → string; 615 of 616 still numeric; 1 text value: 'n/a' ×1; first in "
        "partition 2013-01-13 (1 of 2); committed by ada from calls.csv as calls@2"
    )
    rows = compare_rows(stores, first, second)
    assert (rows.added, rows.removed, rows.changed) == (56, 0, 0)


def test_versions_on_two_bases_are_read_once_and_say_so(
    stores: Stores, replaced: tuple[DatasetVersion, DatasetVersion]
) -> None:
    same_basis = compare_stored(stores, *replaced).diff
    give_another_basis(stores, 2)
    found = compare_stored(stores, replaced[0], find_version(stores, "calls@2")).diff
    assert found.notes[0].startswith("calls@2 was profiled on another basis than calls@1: its 559")
    assert found.findings == same_basis.findings


def test_rows_by_key(stores: Stores, replaced: tuple[DatasetVersion, DatasetVersion]) -> None:
    found = compare_rows(stores, *replaced)
    assert (found.added, found.removed, found.changed) == (2, 3, 9)
    assert (found.examples_added, found.examples_removed[0]) == ((("560",), ("561",)), ("0",))
    (minutes,) = found.columns
    assert (minutes.column, minutes.n) == ("minutes", 9)
    assert minutes.examples[0] == CellChange(("57",), "14.25", "n/a")
    by_buckets = compare_rows(stores, *replaced, bucket_rows=100)
    assert (by_buckets.added, by_buckets.removed, by_buckets.changed) == (2, 3, 9)


def test_keys_in_wider_types_are_the_same_keys(stores: Stores, take: Take) -> None:
    """Whole numbers that became fractions, whatever bucket they are in."""
    first = take(lines(range(60), lambda i: i), ANEW)
    halves = "\n0.5 2013-01-01T12:00:00Z 1"
    second = take(lines(range(1, 60), lambda i: i) + halves, ANEW)
    assert (dict(first.schema)["id"], dict(second.schema)["id"]) == ("int", "float")
    for bucket_rows in (7, 500):
        found = compare_rows(stores, first, second, bucket_rows=bucket_rows)
        assert (found.added, found.removed, found.changed) == (1, 1, 0)


def test_masked_columns_are_compared_and_not_shown(stores: Stores, take: Take) -> None:
    mirror = MirrorDeclaration(mask={"minutes": Mask.DROP})
    first = take(lines(range(9), lambda i: i / 4), replace(ANEW, mirror=mirror))
    second = take(lines(range(9), lambda i: i / 2), replace(ANEW, mirror=mirror))
    found = compare_rows(stores, first, second)
    assert [(one.column, one.n, one.examples) for one in found.columns] == [("minutes", 8, ())]
    mirror = MirrorDeclaration(mask={"id": Mask.DROP})
    third = take(lines(range(8), lambda i: i / 4), replace(ANEW, mirror=mirror))
    found = compare_rows(stores, second, third)
    assert found.examples_removed == (("(masked)",),)
    assert found.columns[0].examples[0] == CellChange(("(masked)",), "0.5", "0.25")


def test_rows_that_were_added_are_not_held_against_each_other(stores: Stores, take: Take) -> None:
    first = take(lines(range(60), lambda i: i / 4))
    second = take(lines(range(60, 90), lambda i: i / 4))
    for file in version_files(stores, first):  # both have them: they are not read
        (table_folder(stores, "calls") / file.relative).unlink()
    found = compare_rows(stores, first, second)
    assert (found.added, found.removed, found.changed) == (30, 0, 0)


def test_rows_without_keys(stores: Stores, take: Take) -> None:
    version = take(lines(range(9), lambda i: i), replace(CALLS, keys=()))
    with pytest.raises(InvalidInput, match="declares no keys"):
        compare_rows(stores, version, version)


def test_a_page_of_many_columns_stays_small(stores: Stores) -> None:
    declaration = DatasetDeclaration("wide", time="at", mode=Mode.REPLACE)
    names = [f"c{i}" for i in range(400)]
    made = []
    for factor in (1, 3):
        path = stores.root / f"wide-{factor}.csv"
        rows = [
            ",".join(["2013-01-01T12:00:00Z", *(str(factor * i * j % 977) for j in range(400))])
            for i in range(300)
        ]
        path.write_text("\n".join([",".join(["at", *names]), *rows]) + "\n")
        made.append(ingest(stores, declaration, path, source="<b>&", by="ada").version)
    page = render_page(made[0], made[1], compare_stored(stores, *made), None)
    assert PICTURE_BYTES < len(page.encode()) < 300_000
    assert "<b>&" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_on_another_basis_rows_that_were_rewritten_count_once(stores: Stores, take: Take) -> None:
    """Text in `minutes` rewrites the rows in wider types; who brought which is still told."""
    first = take(lines(range(560), lambda i: i / 4), ANEW)
    second = take(lines(range(2, 90, 2), lambda i: i / 4), ANEW)
    newest = take(lines(range(3, 90, 2), lambda i: "n/a" if i < 50 else i / 4))
    assert dict(newest.schema)["minutes"] == "string" and newest.rows == 88
    same_basis = compare_stored(stores, first, newest).diff
    give_another_basis(stores, 2, 3)
    newest = find_version(stores, "calls@3")
    found = compare_stored(stores, first, newest)
    assert found.after.rows == newest.rows
    assert found.diff.findings == same_basis.findings
    # The files that were rewritten are needed by older versions only, and may be gone with them.
    for file in set(version_files(stores, second)) - set(version_files(stores, newest)):
        (table_folder(stores, "calls") / file.relative).unlink()
    assert compare_stored(stores, first, newest).diff == found.diff


def give_another_basis(stores: Stores, *versions: int) -> None:
    """As if these had come with other columns."""
    weather = DatasetDeclaration("weather", time="at")
    path = stores.root / "weather.csv"
    path.write_text("id,at,minutes\n1,2013-01-01T12:00:00Z,2\n")
    other = ingest(stores, weather, path, source="weather.csv", by="ada").version
    with stores.db.transaction() as tx:
        mine = (DATASET_VERSIONS.c.dataset == "calls") & DATASET_VERSIONS.c.version.in_(versions)
        tx.execute(update(DATASET_VERSIONS).where(mine).values(basis_digest=other.basis_digest))
