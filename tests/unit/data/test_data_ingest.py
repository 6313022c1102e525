from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import insert, select

from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import Bringer, ingest, take_in
from seamline.data.recovery import finish_all_pending
from seamline.data.rows import DATASET_INTENTS
from seamline.data.sources.batches import Delivery
from seamline.data.versions import (
    find_dataset,
    find_version,
    list_versions,
    read_version,
    table_folder,
    version_files,
    version_profile,
    version_profiles_by_day,
)
from seamline.domain.clock import ManualClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import Conflict, InvalidInput, Refused
from seamline.measure.profiles import profile_frame, sum_profiles
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores, open_stores
from seamline.store.tables import append_frame, table_version

Deliver = Callable[[str], Path]
FIRST = "1 2013-01-01T12:00:00Z 3.5\n2 2013-01-02T12:00:00Z 4.5"
SECOND = "3 2013-01-02T13:00:00Z NA\n4 2013-01-03T12:00:00Z 1.25"

#: Ingests argv[2] into the workspace argv[1]; kills itself at the named point.
KILLED = """
    import os, signal, sys
    from pathlib import Path
    from seamline.data import commit
    from seamline.data.declaration import DatasetDeclaration
    from seamline.data.ingest import Bringer, ingest, take_in
    from seamline.domain.clock import SystemClock
    from seamline.store.stores import open_stores

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    commit.{function} = die
    calls = DatasetDeclaration("calls", time="at", zone="America/New_York", keys=("id",))
    stores = open_stores(Path(sys.argv[1]), SystemClock())
    ingest(stores, calls, Path(sys.argv[2]), source="night", by="ada", run_id="r1", caused_by="f1")
"""


def test_the_first_delivery_makes_contract_profile_and_version(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    stages: list[tuple[str, int, int | None]] = []

    def tell(stage: str, done: int, total: int | None) -> None:
        stages.append((stage, done, total))

    result = ingest(stores, calls, deliver(FIRST), source="a.csv", by="ada", progress=tell)
    version = result.version
    assert result.is_new and version.reference == "calls@1"
    assert version.schema == (("id", "int"), ("at", "datetime"), ("minutes", "float"))
    assert (version.rows, version.rows_added, version.delta_version) == (2, 2, 0)
    assert [file.partition for file in version_files(stores, version)] == [
        "2013-01-01",
        "2013-01-02",
    ]
    assert stages == [
        ("reading", 0, None),
        ("checking", 2, None),
        ("writing", 2, 2),
        ("committing", 2, 2),
    ]
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, kinds=["dataset.version_committed"])
    assert (fact.by, fact.body["digest"], fact.body["source"]) == ("ada", version.digest, "a.csv")


def test_versions_add_up(stores: Stores, calls: DatasetDeclaration, deliver: Deliver) -> None:
    first = ingest(stores, calls, deliver(FIRST), source="a", by="ada").version
    second = ingest(stores, calls, deliver(SECOND), source="b", by="ada").version
    assert (second.rows, second.rows_added) == (4, 2)
    assert second.digest != first.digest
    assert find_version(stores, "calls@1") == first
    frame = read_version(stores, second)
    basis = version_profile(stores, second).basis
    assert version_profile(stores, second) == profile_frame(frame.drop("ds"), basis)
    by_day = version_profiles_by_day(stores, second)
    assert [str(day) for day in by_day] == ["2013-01-01", "2013-01-02", "2013-01-03"]
    assert [profile.rows for profile in by_day.values()] == [1, 2, 1]
    assert sum_profiles(by_day.values()) == version_profile(stores, second)
    assert len(version_profiles_by_day(stores, first)) == 2


def test_the_same_delivery_is_one_version(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    first = ingest(stores, calls, deliver(FIRST), source="a", by="ada")
    ingest(stores, calls, deliver(SECOND), source="b", by="ada")
    again = ingest(stores, calls, deliver(FIRST), source="renamed", by="bob")
    assert again.version == first.version and not again.is_new
    assert find_version(stores, "calls").version == 2
    assert table_version(table_folder(stores, "calls")) == 1


def test_a_delivery_that_breaks_the_contract_changes_nothing_but_a_fact(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    first = ingest(stores, calls, deliver(FIRST), source="a", by="ada").version
    bad = "3 2013-01-05T12:00:00Z long\n4 2013-01-04T12:00:00Z 7,5\nNA 2013-01-06T12:00:00Z 1.0"
    with pytest.raises(Refused) as caught:
        ingest(stores, calls, deliver(bad.replace("7,5", '"7.5x"')), source="b", by="ada")
    message = caught.value.message
    assert "minutes: 2 of 3 values are not float, e.g. 'long', '7.5x'" in message
    assert "first bad day 2013-01-04." in message
    assert "id: 1 of 3 values are missing; the contract allows none" in message
    assert find_version(stores, "calls") == first
    assert table_version(table_folder(stores, "calls")) == 0
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, kinds=["dataset.delivery_refused"])
        assert verify_chain(connection).broken is None
    assert len(fact.body["violations"]) == 2
    assert fact.id == caught.value.details["fact_id"]


def test_a_first_delivery_that_cannot_be_read_leaves_no_dataset(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    with pytest.raises(InvalidInput, match="the day of 1 of 1 rows"):
        ingest(stores, calls, deliver("1 yesterday 2"), source="a", by="ada")
    assert ingest(stores, calls, deliver(FIRST), source="b", by="ada").version.version == 1


def test_missing_values_are_allowed_later_where_no_key_is(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    ingest(stores, calls, deliver(FIRST), source="a", by="ada")
    version = ingest(stores, calls, deliver(SECOND), source="b", by="ada").version
    assert version_profile(stores, version).columns["minutes"].missing == 1


def test_the_days_of_a_dataset_keep_their_meaning(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    ingest(stores, calls, deliver(FIRST), source="a", by="ada")
    with pytest.raises(Conflict, match="at in America/New_York; it is now declared with at in UTC"):
        ingest(stores, replace(calls, zone="UTC"), deliver(SECOND), source="b", by="ada")


def test_a_table_that_somebody_else_wrote_to_is_left_alone(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    version = ingest(stores, calls, deliver(FIRST), source="a", by="ada").version
    append_frame(table_folder(stores, "calls"), read_version(stores, version), "ds")
    with pytest.raises(Conflict, match="Delta version 1"):
        ingest(stores, calls, deliver(SECOND), source="b", by="ada")


def test_typed_deliveries_meet_the_same_contract(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, tmp_path: Path
) -> None:
    first = ingest(stores, calls, deliver(FIRST), source="a", by="ada").version
    path = tmp_path / "output"
    read_version(stores, first).with_columns(pl.col("id") + 10).write_parquet(path)
    second = ingest(stores, calls, path, source="run", by="ada", run_id="r1").version
    assert second.schema == first.schema
    assert (second.rows, second.run_id) == (4, "r1")


def test_writers_in_parallel_queue(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    paths = [deliver(f"{n} 2013-01-01T12:00:00Z {n}.5") for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(
            pool.map(lambda path: ingest(stores, calls, path, source="a", by="ada"), paths * 2)
        )
    assert sorted(result.is_new for result in results) == [False] * 6 + [True] * 6
    versions = list_versions(stores, "calls")
    assert [version.rows for version in versions] == [1, 2, 3, 4, 5, 6]
    assert read_version(stores, versions[-1])["id"].n_unique() == 6


def ingest_killed_at(function: str, stores: Stores, path: Path) -> None:
    script = textwrap.dedent(KILLED).format(function=function)
    done = subprocess.run(
        [sys.executable, "-c", script, str(stores.root), str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def intents(stores: Stores) -> int:
    with stores.db.read() as connection:
        return len(connection.execute(select(DATASET_INTENTS)).all())


def test_killed_between_the_delta_commit_and_the_row(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    path = deliver(FIRST)
    ingest_killed_at("record_version", stores, path)
    assert (table_version(table_folder(stores, "calls")), intents(stores)) == (0, 1)
    healed = ingest(stores, calls, path, source="day", by="bob")
    assert healed.is_new and healed.version.rows == 2
    # What the killed writer was told is what is recorded.
    assert (healed.version.source, healed.version.committed_by) == ("night", "ada")
    assert table_version(table_folder(stores, "calls")) == 0
    assert read_version(stores, healed.version)["id"].to_list() == [1, 2]
    assert not ingest(stores, calls, path, source="day", by="bob").is_new
    assert intents(stores) == 0
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, kinds=["dataset.version_committed"])
    assert (fact.caused_by, fact.body["run_id"]) == ("f1", "r1")


def test_what_a_killed_writer_left_is_not_mixed_into_the_next_delivery(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    ingest_killed_at("record_version", stores, deliver(FIRST))
    second = ingest(stores, calls, deliver(SECOND), source="b", by="bob").version
    first = find_version(stores, "calls@1")
    assert (first.rows_added, second.rows_added, second.rows) == (2, 2, 4)
    assert read_version(stores, first)["id"].to_list() == [1, 2]
    basis = version_profile(stores, first).basis
    rows = read_version(stores, first).drop("ds")
    assert version_profile(stores, first) == profile_frame(rows, basis)


def test_killed_before_the_delta_commit(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    path = deliver(FIRST)
    ingest_killed_at("commit_table", stores, path)
    assert intents(stores) == 1
    assert finish_all_pending(stores) == []
    assert intents(stores) == 0
    result = ingest(stores, calls, path, source="day", by="bob")
    assert result.is_new and result.version.committed_by == "bob"


def test_a_restart_finishes_what_was_cut_off(stores: Stores, deliver: Deliver) -> None:
    ingest_killed_at("record_version", stores, deliver(FIRST))
    (version,) = finish_all_pending(stores)
    assert find_version(stores, "calls") == version
    assert finish_all_pending(stores) == []


def test_what_an_earlier_version_of_the_program_left_is_finished_too(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    """Until revision 0011 an intent held no version: only where its rows came from."""
    first = ingest(stores, calls, deliver(FIRST), source="a", by="ada").version
    digest = "sha256:" + "7" * 64
    with stores.db.read() as connection:
        dataset = find_dataset(connection, "calls")
    assert dataset is not None
    document = {
        "delivery_digest": digest,
        "declaration": {"name": "calls", "time": "at", "zone": "America/New_York", "keys": ["id"]},
        "contract": dataset.contract.to_json(),
        "basis_digest": first.basis_digest,
        "source": "night",
        "by": "ada",
        "run_id": "r1",
        "caused_by": None,
    }

    def leave() -> None:
        row = {"dataset": "calls", "delivery_digest": digest, "document": json.dumps(document)}
        with stores.db.transaction() as tx:
            tx.execute(insert(DATASET_INTENTS).values(**row, at="2026-01-01T00:00:00.000000Z"))

    leave()
    assert finish_all_pending(stores) == []  # nothing was written yet
    rows = read_version(stores, first).with_columns(pl.col("id") + 10)
    append_frame(table_folder(stores, "calls"), rows, "ds", token=(f"delivery {digest}", 1))
    leave()
    (version,) = finish_all_pending(stores)
    assert (version.version, version.rows, version.source) == (2, 4, "night")
    frame = read_version(stores, version)
    assert sorted(frame["id"].to_list()) == [1, 2, 11, 12]
    basis = version_profile(stores, version).basis
    assert version_profile(stores, version) == profile_frame(frame.drop("ds"), basis)
    assert ingest(stores, calls, deliver(SECOND), source="c", by="ada").version.rows == 6


def test_a_version_does_not_depend_on_how_its_rows_came_in_batches(
    tmp_path: Path, calls: DatasetDeclaration
) -> None:
    rows = pl.DataFrame({"id": range(900)}).with_columns(
        at=pl.format("2013-01-0{}T12:00:00Z", pl.col("id") % 7 + 1),
        minutes=pl.when(pl.col("id") == 700).then(pl.lit("2.5")).otherwise(pl.lit("3")),
    )
    found = []
    for size in (900, 250, 7):
        stores = open_stores(tmp_path / f"w{size}", ManualClock())
        delivery = Delivery(
            "calls", digest_of(b"x"), rows.schema, partial(rows.iter_slices, size), is_text=True
        )
        version = take_in(stores, calls, delivery, Bringer("ada")).version
        found.append((version.digest, version.profile_digest, version.days_digest, version.schema))
        stores.db.close()
    assert found[0] == found[1] == found[2]
    assert found[0][3][2] == ("minutes", "float")


#: Ingests argv[2:] into the workspace argv[1] and prints whether pandas was imported on the way:
#: Arrow does so at some calls, if it is installed.
QUIET = """
    import sys
    from pathlib import Path
    from seamline.data.declaration import DatasetDeclaration
    from seamline.data.ingest import Bringer, ingest, take_in
    from seamline.domain.clock import SystemClock
    from seamline.store.stores import open_stores

    calls = DatasetDeclaration("calls", time="at", zone="America/New_York", keys=("id",))
    stores = open_stores(Path(sys.argv[1]), SystemClock())
    for path in sys.argv[2:]:
        ingest(stores, calls, Path(path), source="night", by="ada")
    print("pandas.core" in sys.modules)
"""


def test_pandas_is_not_imported(stores: Stores, deliver: Deliver, tmp_path: Path) -> None:
    typed = pl.read_csv(deliver(SECOND), null_values="NA")
    typed.write_parquet(tmp_path / "a.parquet")
    typed.with_columns(pl.col("id") + 10).write_ipc(tmp_path / "a.arrow")
    done = subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(QUIET), str(stores.root), str(deliver(FIRST))),
            *(str(tmp_path / "a.parquet"), str(tmp_path / "a.arrow")),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "False"
