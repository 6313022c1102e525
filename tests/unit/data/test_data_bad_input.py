"""Deliveries that are not as they should be: what is said of them, and that nothing came in."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from seamline.data.checking import keys
from seamline.data.commit import staging_folder
from seamline.data.declaration import DatasetDeclaration, Mode, Partition
from seamline.data.ingest import Bringer, ingest, take_in
from seamline.data.recovery import finish_all_pending
from seamline.data.sources.batches import Delivery, spool
from seamline.data.versions import (
    find_version,
    list_versions,
    read_version,
    table_folder,
    version_files,
    version_profile,
    version_profiles_by_day,
)
from seamline.domain.errors import Conflict, InvalidInput, Refused, Unavailable
from seamline.measure.profiles import profile_frame
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.store.tables import table_version

Deliver = Callable[[str], Path]
FIRST = "1 2013-01-01T12:00:00Z 3.5\n2 2013-01-02T12:00:00Z 4.5"
ADA = Bringer("ada")


@pytest.fixture
def begun(stores: Stores, calls: DatasetDeclaration, deliver: Deliver) -> Iterator[None]:
    """One version of calls; and whatever the test does, it is all there is."""
    ingest(stores, calls, deliver(FIRST), source="first", by="ada")
    yield
    assert find_version(stores, "calls").version == 1
    assert table_version(table_folder(stores, "calls")) == 0
    assert read_version(stores, find_version(stores, "calls"))["id"].to_list() == [1, 2]
    assert not list(staging_folder(stores, "calls").glob("*"))
    assert len(list(table_folder(stores, "calls").rglob("*.parquet"))) == 2


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            "3 2013-01-03T12:00:00Z 1\n4 2013-01-04T12:00:00Z 1\n3 2013-01-02T12:00:00Z 2",
            "id: 2 of 3 rows share their key with another, e.g. '3'; first bad day 2013-01-02.",
        ),
        (
            "3 2026-01-01T12:00:00Z 1\n4 2026-01-02T00:00:01Z 1",
            "at: 1 of 2 values lie in the future (after 2026-01-02 00:00 UTC), "
            "e.g. '2026-01-02 00:00:01",
        ),
        ("3 2013-01-03T12:00:00Z n/a", "minutes: 1 of 1 values are not float, e.g. 'n/a'"),
    ],
)
def test_what_breaks_the_contract_is_told(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, lines: str, told: str
) -> None:
    with pytest.raises(Refused) as caught:
        ingest(stores, calls, deliver(lines), source="b", by="ada")
    assert told in caught.value.message
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, kinds=["dataset.delivery_refused"])
    assert told in fact.body["violations"][0]


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"id,at,minutes\n", "holds no rows"),
        (b"", "is empty"),
        (b"id,at,minutes\n3,2013-01-03T12:00:00Z,1\n4,2013-01-03T12:00:00Z\n", "line 3 has 2"),
        (b"id,at,minutes\n3,2013-01-03T12:00:00Z,\xe9\n", "line 2 is not UTF-8"),
        (
            b"id,at,minutes\n3,2013-01-03T12:00:00Z,1\n4,2013-01-03 12:00:00,1\n",
            "some times in at say their offset from UTC .'2013-01-03T12:00:00Z'., some do not "
            ".'2013-01-03 12:00:00'.",
        ),
        (b"id,at,minutes\n3,late,1\n", "the day of 1 of 1 rows cannot be told from at"),
    ],
)
def test_what_cannot_be_read_is_told(
    stores: Stores, calls: DatasetDeclaration, tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "b.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=told):
        ingest(stores, calls, path, source="b", by="ada")


@pytest.mark.usefixtures("begun")
def test_a_source_that_dies_half_way(stores: Stores, calls: DatasetDeclaration) -> None:
    frame = pl.DataFrame({"id": [7], "at": ["2013-01-05T12:00:00Z"], "minutes": ["1"]})

    def batches() -> Iterator[pl.DataFrame]:
        yield frame
        raise Unavailable("The database has gone.", next_step="Try again.")

    delivery = Delivery("calls_db", "sha256:" + "0" * 64, frame.schema, batches, is_text=True)
    with pytest.raises(Unavailable, match="has gone"):
        take_in(stores, calls, delivery, ADA)


#: Ingests argv[2] into argv[1] while no file can grow beyond argv[3] bytes.
FULL = """
    import resource, sys
    from pathlib import Path
    from seamline.data.declaration import DatasetDeclaration
    from seamline.data.ingest import ingest
    from seamline.domain.clock import SystemClock
    from seamline.domain.errors import Unavailable
    from seamline.store.stores import open_stores

    calls = DatasetDeclaration("calls", time="at", zone="America/New_York", keys=("id",))
    stores = open_stores(Path(sys.argv[1]), SystemClock())
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    try:
        ingest(stores, calls, Path(sys.argv[2]), source="b", by="ada")
    except Unavailable as error:
        print(error)
"""


@pytest.mark.usefixtures("begun")
def test_a_disk_that_fills(stores: Stores, tmp_path: Path) -> None:
    """A limit on how large a file may grow stands in for a full disk: writing fails half-way."""
    rows = 500_000
    frame = pl.DataFrame({"id": range(3, rows + 3)}).with_columns(
        at=pl.lit("2013-01-03T12:00:00Z"), minutes=(pl.col("id") * 0.37).sin()
    )
    frame_path = tmp_path / "large.csv"
    frame.write_csv(frame_path)
    room = 3_000_000
    assert (stores.root / "seamline.db").stat().st_size < room
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(FULL),
            stores.root,
            tmp_path / "large.csv",
            str(room),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "There is no room on the disk" in done.stdout, done.stderr
    assert finish_all_pending(stores) == []


def test_keys_that_come_twice_are_found_among_more_than_fit_in_memory(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MOST_HASHES", 40)
    lines = [f"{n} 2013-01-01T12:00:00Z 1" for n in range(200)]
    ingest(stores, calls, deliver("\n".join(lines)), source="a", by="ada")
    again = [line.replace("2013", "2014") for line in [*lines, lines[7]]]
    with pytest.raises(Refused, match="id: 2 of 201 rows share their key with another"):
        ingest(stores, calls, deliver("\n".join(again)), source="b", by="ada")


def test_a_table_that_is_delivered_anew(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    calls = replace(calls, mode=Mode.REPLACE)
    one, two = deliver(FIRST), deliver("9 2013-01-02T12:00:00Z 1.5")
    first = ingest(stores, calls, one, source="a", by="ada").version
    second = ingest(stores, calls, two, source="b", by="ada").version
    assert (second.rows, second.rows_added, second.mode) == (1, 1, "replace")
    assert not ingest(stores, calls, two, source="b", by="ada").is_new
    third = ingest(stores, calls, one, source="a", by="ada")  # as it was: a version of its own
    assert third.is_new
    assert third.version.version == 3
    assert third.version.digest == first.digest
    for version, ids in ((first, [1, 2]), (second, [9]), (third.version, [1, 2])):
        frame = read_version(stores, version)
        assert frame["id"].to_list() == ids
        profile = version_profile(stores, version)
        assert profile == profile_frame(frame.drop("ds"), profile.basis)
        assert sum(one.rows for one in version_profiles_by_day(stores, version).values()) == len(
            ids
        )
    table = pl.read_delta(str(table_folder(stores, "calls")))
    assert sorted(table["id"].to_list()) == [1, 2]
    added = ingest(stores, replace(calls, mode=Mode.APPEND), two, source="b", by="ada").version
    assert sorted(read_version(stores, added)["id"].to_list()) == [1, 2, 9]
    assert sum(one.rows for one in version_profiles_by_day(stores, added).values()) == 3


def test_rows_without_a_time_lie_by_the_day_on_which_they_came(
    stores: Stores, deliver: Deliver
) -> None:
    stock = DatasetDeclaration("stock", zone="Pacific/Auckland")
    first = ingest(stores, stock, deliver(FIRST), source="a", by="ada").version
    assert [file.partition for file in version_files(stores, first)] == ["2026-01-01"]
    stores.clock.advance(timedelta(hours=12).total_seconds())  # type: ignore[attr-defined]
    later = ingest(stores, stock, deliver(FIRST + "\n3 2013-01-01 1"), source="b", by="ada")
    assert [file.partition for file in version_files(stores, later.version)] == [
        "2026-01-01",
        "2026-01-02",
    ]
    with pytest.raises(Conflict, match="those of insertion in Pacific/Auckland; it is now"):
        by_event = replace(stock, time="at", partition=Partition.EVENT)
        ingest(stores, by_event, deliver("4 2013-01-01 2"), source="c", by="ada")


def test_a_source_that_is_read_by_steps(
    stores: Stores, calls: DatasetDeclaration, tmp_path: Path
) -> None:
    def rows(ids: list[int], follows: str | None) -> Delivery:
        frame = pl.DataFrame(
            {"id": ids, "at": ["2013-01-01T12:00:00Z"] * len(ids)},
            schema={"id": pl.Int64, "at": pl.String},
        )
        mark = str(max(ids)) if ids else follows
        path = tmp_path / f"spool-{mark}-{len(ids)}"
        asked = f"id > {follows}"
        return spool([frame], path, name="db", asked=asked, watermark=mark, follows=follows)

    calls = replace(calls, zone="UTC")
    assert take_in(stores, calls, rows([1, 2], None), ADA).version.watermark == "2"
    with pytest.raises(Conflict, match="Read the source again"):  # somebody was faster
        take_in(stores, calls, rows([1, 2, 3], None), ADA)
    nothing = take_in(stores, calls, rows([], "2"), ADA)
    assert (nothing.is_new, nothing.version.version) == (False, 1)
    assert take_in(stores, calls, rows([3], "2"), ADA).version.watermark == "3"
    assert not take_in(stores, calls, rows([3], "2"), ADA).is_new
    assert [version.rows for version in list_versions(stores, "calls")] == [2, 3]


def test_five_thousand_columns(stores: Stores, tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(5_000)]
    lines = [",".join(names), *(",".join(str(n + row) for n in range(5_000)) for row in range(4))]
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(lines))
    version = ingest(stores, DatasetDeclaration("wide"), path, source="w", by="ada").version
    assert (version.rows, len(version.schema)) == (4, 5_000)
    assert read_version(stores, version, ["c4999"])["c4999"].to_list() == [4999, 5000, 5001, 5002]


def test_texts_of_ten_megabytes(stores: Stores, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("id,text\n")
        for n in range(6):
            file.write(f'{n},"{chr(97 + n) * 10_000_000}\n"\n')
    version = ingest(stores, DatasetDeclaration("long"), path, source="l", by="ada").version
    texts = read_version(stores, version, ["text"])["text"]
    assert texts.str.len_bytes().to_list() == [10_000_001] * 6
    assert stores.blobs.path_of(version.profile_digest).stat().st_size < 20_000


def test_the_same_delivery_is_one_version_in_whatever_mode_it_comes_again(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    """As long as its rows are there: where the table was replaced since, they are added again."""
    first, second = deliver(FIRST), deliver("3 2013-01-03T12:00:00Z 1.5")

    def bring(path: Path, mode: Mode) -> tuple[int, bool, list[int]]:
        taken = ingest(stores, replace(calls, mode=mode), path, source="a", by="ada")
        ids = read_version(stores, taken.version)["id"].to_list()
        return taken.version.version, taken.is_new, ids

    assert bring(first, Mode.REPLACE) == (1, True, [1, 2])
    assert bring(first, Mode.APPEND) == (1, False, [1, 2])
    assert bring(second, Mode.APPEND) == (2, True, [1, 2, 3])
    assert bring(first, Mode.REPLACE) == (3, True, [1, 2])
    assert bring(second, Mode.APPEND) == (4, True, [1, 2, 3])
    assert bring(second, Mode.APPEND) == (4, False, [1, 2, 3])
