"""Rows that were set aside are bytes like any other: checked where they are shown, and kept as long
as the version whose delivery left them behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from seamline.data.contracts.quarantine import aside_files, quarantine_folder, read_quarantine
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.data.retention import RetentionDeclaration
from seamline.data.vacuum import TablePlan, plan_table, vacuum_table
from seamline.data.versions import DatasetVersion, find_version, read_version
from seamline.domain.clock import ManualClock
from seamline.domain.errors import DigestMismatch, Refused
from seamline.measure.contracts import Policy
from seamline.store.blobs import digest_of_file
from seamline.store.stores import Stores, open_stores

ONE = RetentionDeclaration(keep_versions=1)


@pytest.fixture
def old(tmp_path: Path) -> Stores:
    """To its clock all files are old: they bear the machine's time."""
    clock = ManualClock(datetime.now(UTC) + timedelta(days=2))
    return open_stores(tmp_path / "workspace", clock)


@pytest.fixture
def made(
    old: Stores, calls: DatasetDeclaration, deliver: Callable[[str], Path]
) -> list[DatasetVersion]:
    """Three versions; the second and the third delivery left rows behind."""
    held = replace(calls, on_breach=Policy.QUARANTINE)
    deliveries = [
        "1 2013-01-01T12:00:00Z 3.5",
        "2 2013-01-02T12:00:00Z 3.5\n3 2013-01-02T12:00:00Z n/a",
        "4 2013-01-03T12:00:00Z 3.5\n5 2013-01-03T12:00:00Z 12_50",
    ]
    return [ingest(old, held, deliver(lines), source="a", by="ada").version for lines in deliveries]


def plan(stores: Stores) -> TablePlan:
    return plan_table(stores, "calls", ONE, lambda tx: {}, stores.clock.now())


def vacuum(stores: Stores) -> TablePlan:
    now = stores.clock.now()
    return vacuum_table(stores, "calls", ONE, lambda tx: {}, now, by="ada")


def aside_of(stores: Stores, version: DatasetVersion) -> Path:
    name = f"{version.delivery_digest.removeprefix('sha256:')}.parquet"
    (found,) = (path for path in aside_files(stores, "calls") if path.name == name)
    return found


def test_a_flipped_byte_is_refused_with_both_digests(
    old: Stores, made: list[DatasetVersion]
) -> None:
    assert [row["values"]["id"] for row in read_quarantine(old, made[1])] == ["3"]
    path = aside_of(old, made[1])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    expected = find_version(old, "calls@2").quarantine_digest
    assert expected is not None
    with pytest.raises(DigestMismatch) as refused:
        read_quarantine(old, made[1])
    assert expected in str(refused.value) and digest_of_file(path) in str(refused.value)
    assert "calls@2" in str(refused.value)
    path.unlink()
    with pytest.raises(DigestMismatch, match="found no file"):
        read_quarantine(old, made[1])
    assert len(read_quarantine(old, made[2])) == 1


def test_they_go_with_their_version_and_are_counted(
    old: Stores, made: list[DatasetVersion]
) -> None:
    gone, kept = aside_of(old, made[1]), aside_of(old, made[2])
    told = plan(old)
    assert [(file.path, file.versions) for file in told.asides] == [(gone, (2,))]
    assert told.asides[0].size_bytes == gone.stat().st_size
    assert told.kept_bytes[3] > kept.stat().st_size
    assert gone.exists()  # a plan changes nothing

    vacuum(old)
    assert (gone.exists(), kept.exists()) == (False, True)
    with pytest.raises(Refused, match="calls@2 were removed"):
        read_quarantine(old, made[1])
    assert [row["values"]["id"] for row in read_quarantine(old, made[2])] == ["5"]
    assert read_version(old, made[2])["id"].to_list() == [1, 2, 4]
    # Whoever reads the side table misses no file.
    table = DeltaTable(str(quarantine_folder(old, "calls"))).to_pyarrow_table()
    assert table["delivery"].to_pylist() == [made[2].delivery_digest]
    vacuum(old)
    assert plan(old).asides == ()


def test_what_a_killed_writer_left_there_goes_too(old: Stores, made: list[DatasetVersion]) -> None:
    left = aside_of(old, made[2]).with_name("left-over.parquet")
    left.write_bytes(b"a killed writer's")
    recent = datetime.now(UTC) - timedelta(hours=1)
    young = plan_table(old, "calls", None, lambda tx: {}, recent)
    assert young.asides == ()
    vacuum(old)
    assert not left.exists() and aside_of(old, made[2]).exists()


def test_killed_between_the_side_table_and_its_files_the_next_time_ends_it(
    old: Stores, made: list[DatasetVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = aside_of(old, made[1])
    unlink = Path.unlink

    def killed(self: Path, missing_ok: bool = False) -> None:
        if self == gone:
            raise KeyboardInterrupt
        unlink(self, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            vacuum(old)
    assert gone.exists()
    vacuum(old)
    assert not gone.exists()
    table = DeltaTable(str(quarantine_folder(old, "calls"))).to_pyarrow_table()
    assert table["delivery"].to_pylist() == [made[2].delivery_digest]
