"""What a breach does to a delivery: refused, set aside, taken in and told; and to the table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from seamline.data.contracts.declared import (
    plan_contracts,
    read_declared_contracts,
    record_contracts,
)
from seamline.data.contracts.kept import contract_of
from seamline.data.contracts.quarantine import quarantine_folder, read_quarantine
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.ingest import ingest
from seamline.data.versions import (
    DatasetVersion,
    find_version,
    read_version,
    table_folder,
    version_profile,
)
from seamline.domain.clock import ManualClock, iso
from seamline.domain.errors import Conflict, InvalidInput, Refused
from seamline.measure.contracts import Policy, ViolationKind
from seamline.store.facts import read_facts
from seamline.store.stores import Stores

Deliver = Callable[[str], Path]
DAY = "2013-01-0"
FIRST = f"1 {DAY}1T12:00:00Z 3.5\n2 {DAY}2T12:00:00Z 0.5"
TEXTS = f"3 {DAY}3T12:00:00Z 7.5\n4 {DAY}4T12:00:00Z n/a\n5 {DAY}5T12:00:00Z 12_50"

KILLED = """
    import os, signal, sys
    from pathlib import Path
    from seamline.data import commit, ingest
    from seamline.data.declaration import DatasetDeclaration
    from seamline.domain.clock import SystemClock
    from seamline.measure.contracts import Policy
    from seamline.store.stores import open_stores

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    {place} = die
    calls = DatasetDeclaration(
        "calls", time="at", zone="America/New_York", keys=("id",), on_breach=Policy.{policy}
    )
    stores = open_stores(Path(sys.argv[1]), SystemClock())
    ingest.ingest(stores, calls, Path(sys.argv[2]), source="night", by="ada")
"""
COLUMNS = """
columns:
  id: {type: int, nullable: false}
  at: {type: datetime, nullable: false}
  minutes: {type: float, at_least: 0, at_most: 60}
"""


@pytest.fixture
def declare(stores: Stores) -> Callable[[DatasetDeclaration, str], DatasetDeclaration]:
    """Applies a contract for the dataset, as `seamline apply` does."""

    def apply(declaration: DatasetDeclaration, text: str) -> DatasetDeclaration:
        held = replace(declaration, contract="calls.yaml")
        owned: Mapping[str, DatasetDeclaration] = {held.name: held}
        with stores.db.transaction() as tx:
            declared = read_declared_contracts(owned, {"calls.yaml": text})
            changes = plan_contracts(tx, declared, owned)
            at = iso(stores.clock.now())
            record_contracts(tx, stores.facts, changes, by="ada", at=at)
        return held

    return apply


Declare = Callable[[DatasetDeclaration, str], DatasetDeclaration]


def bring(stores: Stores, declaration: DatasetDeclaration, path: Path) -> DatasetVersion:
    return ingest(stores, declaration, path, source=path.name, by="ada").version


def facts(stores: Stores, kind: str) -> list[Mapping[str, object]]:
    with stores.db.read() as connection:
        return [fact.body for fact in read_facts(connection, kinds=[kind])]


def test_bad_rows_are_set_aside_with_their_reasons(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, declare: Declare
) -> None:
    held = declare(calls, "on_breach: quarantine" + COLUMNS)
    assert bring(stores, held, deliver(FIRST)).rows_quarantined == 0
    path = deliver(f"3 {DAY}3T12:00:00Z 61\n4 {DAY}3T12:00:00Z 7\n5 {DAY}4T12:00:00Z n/a")
    version = bring(stores, held, path)
    assert (version.rows, version.rows_added, version.rows_quarantined) == (3, 1, 2)
    assert read_version(stores, version)["id"].to_list() == [1, 2, 4]
    assert version_profile(stores, version).columns["minutes"].mistyped == 0
    assert read_quarantine(stores, version) == [
        {
            "row": 1,
            "reasons": "minutes: out of range (at least 0, at most 60)",
            "values": {"id": "3", "at": f"{DAY}3T12:00:00Z", "minutes": "61"},
        },
        {
            "row": 3,
            "reasons": "minutes: mistyped (float)",
            "values": {"id": "5", "at": f"{DAY}4T12:00:00Z", "minutes": "n/a"},
        },
    ]
    assert [one.sentence() for one in version.breaches] == [
        "minutes: 1 of 3 values are not float, e.g. 'n/a'; first bad day 2013-01-04.",
        "minutes: 1 of 3 values are out of range (at least 0, at most 60), e.g. '61'; "
        "first bad day 2013-01-03.",
    ]
    assert find_version(stores, "calls@2") == version
    (told,) = facts(stores, "dataset.contract_broken")
    assert (told["version"], told["rows_quarantined"], told["triggers"]) == (2, 2, [])
    # The side table is a table like any other; the same delivery is there once.
    assert not ingest(stores, held, path, source="again", by="bob").is_new
    table = DeltaTable(str(quarantine_folder(stores, "calls"))).to_pyarrow_table()
    assert sorted(table["row"].to_pylist()) == [1, 3]
    assert set(table["delivery"].to_pylist()) == {version.delivery_digest}


def test_a_delivery_of_bad_rows_alone_is_refused(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, declare: Declare
) -> None:
    held = declare(calls, "on_breach: quarantine" + COLUMNS)
    with pytest.raises(Refused, match="2 of 2 values are out of range"):
        bring(stores, held, deliver(f"1 {DAY}1T12:00:00Z 99\n2 {DAY}2T12:00:00Z 98"))
    assert not quarantine_folder(stores, "calls").exists()


def test_each_rule_has_its_own_policy(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, declare: Declare
) -> None:
    text = COLUMNS.replace("at_most: 60", "at_most: 60, on_breach: warn") + (
        "rules: [{name: morning, holds: hour(at) < 12, on_breach: trigger}]"
    )
    held = declare(calls, text)
    version = bring(stores, held, deliver(f"1 {DAY}1T12:00:00Z 99\n2 {DAY}2T11:00:00Z 9"))
    assert {(one.column, one.does) for one in version.breaches} == {
        ("minutes", Policy.WARN),
        ("morning", Policy.TRIGGER),
    }
    assert version.rows == 2
    (told,) = facts(stores, "dataset.contract_broken")
    assert told["last_day"] == f"{DAY}2"
    assert told["triggers"] == [
        "morning: 1 of 2 rows break hour(at) < 12, e.g. 'at 2013-01-01 12:00:00+00:00'; "
        "first bad day 2013-01-01."
    ]
    with pytest.raises(Refused, match="id: 1 of 1 values are missing"):
        bring(stores, held, deliver(f"NA {DAY}1T12:00:00Z 9"))


@pytest.mark.parametrize("policy", [None, Policy.REFUSE])
def test_without_a_policy_a_changed_type_is_refused(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, policy: Policy | None
) -> None:
    declared = replace(calls, on_breach=policy)
    bring(stores, declared, deliver(FIRST))
    with pytest.raises(Refused, match=r"2 of 3 values are not float, e\.g\. 'n/a', '12_50'"):
        bring(stores, declared, deliver(TEXTS))
    assert find_version(stores, "calls").version == 1


def test_under_warn_a_changed_type_makes_the_table_wider(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    warned = replace(calls, on_breach=Policy.WARN)
    first = bring(stores, warned, deliver(FIRST))
    second = bring(stores, warned, deliver(TEXTS))
    assert dict(first.schema)["minutes"] == "float"
    assert dict(second.schema)["minutes"] == "string"
    assert read_version(stores, second)["minutes"].to_list() == [
        *("3.5", "0.5", "7.5", "n/a", "12_50")
    ]
    # The old version is as it was, and the profile still counts numbers.
    assert read_version(stores, first)["minutes"].to_list() == [3.5, 0.5]
    column = version_profile(stores, second).columns["minutes"]
    assert (column.mistyped, column.n_finite) == (2, 3)
    (broken,) = second.breaches
    assert (broken.kind, broken.count, broken.rows) == (ViolationKind.MISTYPED, 2, 3)
    assert broken.first_bad_day == f"{DAY}4"
    # Others read the table, too.
    table = pl.read_delta(str(table_folder(stores, "calls"))).sort("id")
    assert table["minutes"].to_list() == ["3.5", "0.5", "7.5", "n/a", "12_50"]


def test_after_the_fault_is_mended_numbers_fit_into_the_wider_table(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, tmp_path: Path
) -> None:
    warned = replace(calls, on_breach=Policy.WARN)
    bring(stores, warned, deliver(FIRST))
    bring(stores, warned, deliver(TEXTS))
    third = bring(stores, warned, deliver(f"6 {DAY}6T12:00:00Z 4.25"))
    assert third.breaches == () and third.rows == 6
    typed = read_version(stores, find_version(stores, "calls@1")).with_columns(pl.col("id") + 6)
    typed.write_parquet(tmp_path / "typed")
    fourth = bring(stores, warned, tmp_path / "typed")
    assert fourth.breaches == () and fourth.rows == 8
    assert read_version(stores, fourth).sort("id")["minutes"].to_list()[-3:] == [
        *("4.25", "3.5", "0.5")
    ]


def test_an_integer_column_becomes_one_of_fractions(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    warned = replace(calls, on_breach=Policy.WARN)
    bring(stores, warned, deliver(f"1 {DAY}1T12:00:00Z 3"))
    version = bring(stores, warned, deliver(f"2 {DAY}2T12:00:00Z 4\n3 {DAY}2T12:00:00Z 4.5"))
    assert dict(version.schema)["minutes"] == "float"
    assert read_version(stores, version)["minutes"].to_list() == [3.0, 4.0, 4.5]


def test_a_table_that_is_replaced_becomes_narrow_again(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    whole = replace(calls, on_breach=Policy.WARN, mode=Mode.REPLACE)
    bring(stores, whole, deliver(FIRST))
    assert dict(bring(stores, whole, deliver(TEXTS)).schema)["minutes"] == "string"
    third = bring(stores, whole, deliver(f"1 {DAY}1T12:00:00Z 3.5"))
    assert dict(third.schema)["minutes"] == "float" and third.rows == 1


def test_a_first_delivery_is_held_to_the_declared_contract(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, declare: Declare
) -> None:
    held = declare(calls, COLUMNS)
    with pytest.raises(Refused, match="minutes: 1 of 2 values are out of range"):
        bring(stores, held, deliver(f"1 {DAY}1T12:00:00Z 61\n2 {DAY}2T12:00:00Z 9"))
    version = bring(stores, held, deliver(FIRST))
    kept = contract_of(stores, version)
    assert kept is not None and kept.digest == version.contract_digest
    assert [column.high for column in kept.columns] == [None, None, 60.0]


def test_a_contract_of_other_columns_than_the_table_is_a_conflict(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, declare: Declare
) -> None:
    bring(stores, calls, deliver(FIRST))
    held = declare(calls, COLUMNS + "  price: float\n")
    with pytest.raises(Conflict, match="has the column 'price'; its table"):
        bring(stores, held, deliver(TEXTS))


def test_keys_that_the_table_has_already(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, declare: Declare
) -> None:
    held = declare(calls, "keys: {unique_in: table}" + COLUMNS)
    bring(stores, held, deliver(FIRST))
    with pytest.raises(Refused, match="id: 1 of 2 rows have a key that is in the table already"):
        bring(stores, held, deliver(f"2 {DAY}7T12:00:00Z 5\n3 {DAY}8T12:00:00Z 5"))
    loose = declare(calls, "on_breach: warn\nkeys: {unique_in: table}" + COLUMNS)
    version = bring(stores, loose, deliver(f"2 {DAY}7T12:00:00Z 5\n3 {DAY}8T12:00:00Z 5"))
    assert [one.kind for one in version.breaches] == [ViolationKind.KNOWN_KEYS]


def test_a_column_of_unique_values(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, declare: Declare
) -> None:
    held = declare(calls, COLUMNS.replace("at_most: 60", "unique: true"))
    bring(stores, held, deliver(f"1 {DAY}1T12:00:00Z NA\n2 {DAY}2T12:00:00Z NA"))
    with pytest.raises(Refused, match="minutes: 2 of 3 rows share their key with another"):
        rows = [f"{n} {DAY}3T12:00:00Z {minutes}" for n, minutes in ((3, "5"), (4, "5.0"), (5, 6))]
        bring(stores, held, deliver("\n".join(rows)))


def test_too_few_rows_and_old_ones(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, declare: Declare
) -> None:
    text = (
        "rows: {at_least: 2, of_previous: {at_least: 1}}\n"
        "freshness: {max_age: 1d, on_breach: warn}\n"
    )
    held = declare(calls, text + COLUMNS)
    first = bring(stores, held, deliver(FIRST))
    (stale,) = first.breaches
    assert (stale.kind, stale.does) == (ViolationKind.STALE, Policy.WARN)
    with pytest.raises(Refused, match="rows: 1 came; at least 2 are expected"):
        bring(stores, held, deliver(f"3 {DAY}3T12:00:00Z 5"))
    assert isinstance(stores.clock, ManualClock)


def test_a_contract_that_was_not_applied_is_told(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    with pytest.raises(Conflict, match="was not applied"):
        bring(stores, replace(calls, contract="calls.yaml"), deliver(FIRST))


def test_a_contract_needs_the_columns_that_the_declaration_names(
    calls: DatasetDeclaration, declare: Declare
) -> None:
    with pytest.raises(InvalidInput, match="declares the column 'at'; its contract has none"):
        declare(calls, "columns: {id: int}")
    with pytest.raises(InvalidInput, match="declares no keys"):
        declare(replace(calls, keys=()), "keys: {unique_in: table}" + COLUMNS)


def test_a_changed_contract_is_a_fact(
    stores: Stores, calls: DatasetDeclaration, declare: Declare
) -> None:
    declare(calls, COLUMNS)
    declare(calls, COLUMNS + "# a comment\n")
    declare(calls, COLUMNS.replace("60", "90"))
    changes = facts(stores, "dataset.contract_changed")
    assert [bool(one["before"]) for one in changes] == [False, True]
    assert changes[1]["before"] == changes[0]["digest"]


@pytest.mark.parametrize("environment", ["staging", "pre-production"])
def test_an_environments_copy_is_held_to_the_same_contract(
    stores: Stores,
    calls: DatasetDeclaration,
    deliver: Deliver,
    declare: Declare,
    environment: str,
) -> None:
    held = replace(declare(calls, COLUMNS), name=f"calls-{environment}")
    with pytest.raises(Refused, match="out of range"):
        bring(stores, held, deliver(f"1 {DAY}1T12:00:00Z 61"))


def ingest_killed_at(place: str, policy: Policy, stores: Stores, path: Path) -> None:
    script = textwrap.dedent(KILLED).format(place=place, policy=policy.name)
    done = subprocess.run(
        [sys.executable, "-c", script, str(stores.root), str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("place", ["commit.place_files", "commit.commit_table"])
def test_killed_before_a_wider_table_is_committed_it_is_as_it_was(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, place: str
) -> None:
    warned = replace(calls, on_breach=Policy.WARN)
    first = bring(stores, warned, deliver(FIRST))
    path = deliver(TEXTS)
    ingest_killed_at(place, Policy.WARN, stores, path)
    assert pl.read_delta(str(table_folder(stores, "calls")))["minutes"].dtype == pl.Float64
    assert read_version(stores, first)["minutes"].to_list() == [3.5, 0.5]
    healed = bring(stores, warned, path)
    assert (healed.version, healed.rows) == (2, 5)
    assert len(list(table_folder(stores, "calls").rglob("*.parquet"))) == 7  # 2 + (2 + 3)


def test_killed_after_a_wider_table_is_committed_it_is_the_next_version(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    warned = replace(calls, on_breach=Policy.WARN)
    bring(stores, warned, deliver(FIRST))
    path = deliver(TEXTS)
    ingest_killed_at("commit.record_version", Policy.WARN, stores, path)
    version = bring(stores, warned, path)
    assert (version.version, version.source, dict(version.schema)["minutes"]) == (
        *(2, "night", "string"),
    )
    assert read_version(stores, version)["minutes"].to_list()[0] == "3.5"
    assert len(facts(stores, "dataset.contract_broken")) == 1


@pytest.mark.parametrize(
    ("place", "by"),
    [
        ("ingest.commit_version", "ada"),
        ("commit.commit_table", "ada"),
        ("commit.commit_aside", "night"),
        ("commit._write_rows", "night"),
    ],
)
def test_killed_anywhere_rows_are_set_aside_once(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, place: str, by: str
) -> None:
    held = replace(calls, on_breach=Policy.QUARANTINE)
    bring(stores, held, deliver(FIRST))
    path = deliver(TEXTS)
    ingest_killed_at(place, Policy.QUARANTINE, stores, path)
    assert find_version(stores, "calls").version == 1
    version = bring(stores, held, path)
    assert version.source == ("night" if by == "night" else path.name)
    assert (version.rows_added, version.rows_quarantined) == (1, 2)
    assert [row["row"] for row in read_quarantine(stores, version)] == [2, 3]
    table = DeltaTable(str(quarantine_folder(stores, "calls"))).to_pyarrow_table()
    assert table["row"].to_pylist() == [2, 3]
