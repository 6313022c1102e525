"""Retention while others work: what is on its way to its row stays, or its writer is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from seamline.app.data import collect_garbage
from seamline.app.data.collect_garbage import GarbageOrder, apply_garbage, plan_garbage
from seamline.app.platform import Platform
from seamline.data import commit
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.ingest import ingest
from seamline.data.materialize import materialize, remove_materialized
from seamline.data.retention import RetentionDeclaration
from seamline.data.vacuum import vacuum_table
from seamline.data.versions import (
    DatasetVersion,
    list_datasets,
    read_version,
    table_folder,
    version_basis,
    version_profile,
    version_profiles_by_day,
)
from seamline.domain.clock import SystemClock
from seamline.domain.errors import Refused, Unavailable
from seamline.domain.settings import Settings
from seamline.project.plan import apply_project
from seamline.server import build_control_plane
from seamline.store.stores import Stores

PROJECT = """
project = "shop"
team = "shop"

[datasets.calls]
keys = ["id"]
on_breach = "quarantine"

[datasets.calls.retention]
keep_versions = 1
"""
AN_HOUR = GarbageOrder(grace="1h")
Deliver = Callable[[str], DatasetVersion]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """Of the machine's own time, as its files are."""
    made = build_control_plane(Settings(workspace=tmp_path / "workspace"), SystemClock())
    yield made.platform
    made.platform.engine.close()
    made.platform.runner.close()
    made.platform.stores.db.close()


@pytest.fixture
def deliver(platform: Platform, tmp_path: Path) -> Deliver:
    def send(ids: str) -> DatasetVersion:
        path = tmp_path / "calls.csv"
        path.write_text("id,at\n" + "".join(f"{n},2026-01-01T00:00:00Z\n" for n in ids))
        declared = DatasetDeclaration("calls", time="at", mode=Mode.REPLACE)
        return ingest(platform.stores, declared, path, source="calls.csv", by="ada").version

    return send


def make_old(stores: Stores) -> None:
    """As if what a delivery has put had waited for long."""
    then = stores.clock.now().timestamp() - 7200
    for blob in stores.blobs.stored():
        os.utime(stores.blobs.path_of(blob.digest), (then, then))


def check_whole(stores: Stores, version: DatasetVersion) -> None:
    assert version_basis(stores, version)
    assert version_profile(stores, version).rows == read_version(stores, version).height
    assert version_profiles_by_day(stores, version)


def test_what_was_put_and_not_yet_named_is_missed(
    platform: Platform, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = commit.record_intent

    def cleaned_first(stores: Stores, intent: commit.Intent) -> None:
        make_old(stores)
        apply_garbage(platform, AN_HOUR, by="ada")
        record(stores, intent)

    with monkeypatch.context() as patched:
        patched.setattr(commit, "record_intent", cleaned_first)
        with pytest.raises(Unavailable, match="was removed by retention"):
            deliver("1")
    assert list_datasets(platform.stores) == []
    assert list((platform.stores.root / "tables").rglob("*.parquet")) == []
    check_whole(platform.stores, deliver("1"))


def test_what_was_looked_at_before_it_was_named_is_not_removed_after(
    platform: Platform, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention has made its list; then the delivery says what it needs; then the list is gone
    through."""
    stores = platform.stores
    record, commit_table = commit.record_intent, commit.commit_table
    listed: list[str] = []
    since = stores.clock.now().timestamp() - 3600

    def looked_at_first(stores: Stores, intent: commit.Intent) -> None:
        make_old(stores)
        listed.extend(one.digest for one in stores.blobs.stored())
        record(stores, intent)

    def cleaned_then(stores: Stores, intent: commit.Intent) -> None:
        gone = [digest for digest in listed if stores.blobs.remove_unused(digest, since)]
        assert not gone
        commit_table(stores, intent)

    with monkeypatch.context() as patched:
        patched.setattr(commit, "record_intent", looked_at_first)
        patched.setattr(commit, "commit_table", cleaned_then)
        version = deliver("1")
    assert version.profile_digest in listed
    check_whole(stores, version)


def test_rows_in_quarantine_are_counted_and_go(platform: Platform, tmp_path: Path) -> None:
    stores = platform.stores
    apply_project(stores, PROJECT, "seamline.toml", by="ada")
    for number, minutes in enumerate(("1.5", "n/a", "12_50")):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"id,minutes\n{number},{minutes}\n{number}0,1.5\n")
        declared = platform.declarations().dataset("calls")
        ingest(stores, declared, path, source=path.name, by="ada")
    planned = plan_garbage(platform, GarbageOrder())
    (aside,) = [item for item in planned.removable if item.name.startswith("calls--quarantine/")]
    lying = stores.root / "tables" / aside.name
    assert (aside.kind, aside.size_bytes) == ("rows", lying.stat().st_size)
    assert "only @2 had it" in aside.reason
    done = apply_garbage(platform, GarbageOrder(), by="ada")
    assert aside in done.removable and not lying.exists()
    assert len(list(lying.parent.glob("*.parquet"))) == 1  # the newest version's


def test_a_folder_that_a_task_has_just_been_given_stays(
    platform: Platform, deliver: Deliver
) -> None:
    """The run's row names what it reads a moment later. Nobody else is given it any more."""
    stores = platform.stores
    older, parent = deliver("1"), platform.root / "cache" / "datasets"
    deliver("2")
    folder = materialize(stores, older, parent)
    rule = RetentionDeclaration(keep_versions=1)

    def vacuum(before: datetime) -> list[int]:
        plan = vacuum_table(stores, "calls", rule, lambda tx: {}, before, by="ada")
        return sorted(plan.removable)

    assert vacuum(datetime.now(UTC) - timedelta(hours=1)) == [1]
    assert len(list(folder.rglob("*.parquet"))) == 1
    with pytest.raises(Refused, match="calls@1 were removed"):
        materialize(stores, older, parent)
    assert vacuum(datetime.now(UTC) + timedelta(hours=1)) == [1]
    assert not folder.exists()


def test_what_another_removes_meanwhile_fails_no_plan(
    platform: Platform, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention is applied by somebody else while it is planned: files are listed, and gone."""
    stores, version = platform.stores, deliver("1")
    cache = stores.root / "cache" / "datasets"
    folder = materialize(stores, version, cache)
    os.utime(folder, (0, 0))
    for gone in (
        table_folder(stores, "calls") / "ds=2026-01-01" / "gone.parquet",
        table_folder(stores, "calls--quarantine") / "ds=2026-01-01" / "gone.parquet",
        cache / "00" / "gone.parquet",
        stores.root / "cache" / "wheels" / "00" / "gone.whl",
    ):
        gone.parent.mkdir(parents=True, exist_ok=True)
        gone.symlink_to("nowhere")
    plan = plan_garbage(platform, AN_HOUR)
    assert [item.name for item in plan.removable] == [folder.name]
    listed = collect_garbage.unused_cache

    def removed_then(*given: Any) -> list[Path]:
        found = listed(*given)
        for path in found:
            remove_materialized(path)
        return found

    monkeypatch.setattr(collect_garbage, "unused_cache", removed_then)
    assert [item.size_bytes for item in plan_garbage(platform, AN_HOUR).removable] == [0]


def test_a_folder_in_the_cache_that_goes_while_it_is_listed(
    platform: Platform, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = platform.stores.root / "cache" / "datasets"
    folder = materialize(platform.stores, deliver("1"), cache)
    os.utime(folder, (0, 0))
    is_dir = Path.is_dir

    def gone_then(path: Path) -> bool:
        found = is_dir(path)
        if path == folder:
            monkeypatch.setattr(Path, "is_dir", is_dir)
            folder.rename(platform.root / "moved")
        return found

    monkeypatch.setattr(Path, "is_dir", gone_then)
    assert plan_garbage(platform, AN_HOUR).removable == ()
