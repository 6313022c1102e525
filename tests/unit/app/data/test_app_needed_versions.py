"""Who needs a dataset version, and that its rows are kept for as long as somebody does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, delete

from seamline.app.data.collect_garbage import GarbageOrder, apply_garbage, plan_garbage
from seamline.data.ingest import ingest
from seamline.data.versions import find_version, read_version
from seamline.domain.clock import ManualClock, iso
from seamline.domain.errors import Refused
from seamline.evaluate.rows import BACKTESTS, EVALUATIONS
from seamline.project.plan import apply_project
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.rows import RELEASES
from seamline.register.rows import MODEL_VERSIONS
from seamline.server import ControlPlane
from seamline.train.rows import ARTIFACTS, RUNS
from seamline.train.schedule.rows import SCHEDULES

PROJECT = """
project = "calls"
team = "ada"

[datasets.calls]
time = "at"
mode = "replace"
retention = { keep_versions = 1 }
"""
PutRow = Callable[..., None]
Need = Callable[[ControlPlane, PutRow], None]


@pytest.fixture
def clock() -> ManualClock:
    """Files bear the machine's time: to this clock they are old."""
    return ManualClock(datetime.now(UTC) + timedelta(days=2))


@pytest.fixture
def old(plane: ControlPlane) -> ControlPlane:
    """calls@1, of which the newest version has no row."""
    apply_project(plane.platform.stores, PROJECT, "seamline.toml", by="ada")
    deliver(plane, 1)
    deliver(plane, 2)
    return plane


def deliver(plane: ControlPlane, number: int) -> None:
    path = plane.platform.root / f"{number}.csv"
    path.write_text(f"id,at\n{number},2025-03-01T08:00:00Z\n")
    declared = plane.platform.declarations().dataset("calls")
    ingest(plane.platform.stores, declared, path, source=path.name, by="ada")


def release(plane: ControlPlane, put_row: PutRow) -> None:
    stores = plane.platform.stores
    pin = Pin("calls", "1", find_version(stores, "calls@1").digest)
    record_release(stores, Release(datasets=(pin,)), "spring", by="ada")


def model(plane: ControlPlane, put_row: PutRow) -> None:
    put_row(MODEL_VERSIONS, model="late", version="1.0.3", dataset_versions='["calls@1"]')


def evaluation(plane: ControlPlane, put_row: PutRow) -> None:
    put_row(EVALUATIONS, id="e", model="late", model_version="1.0.4", data="calls@1")


def back_test(plane: ControlPlane, put_row: PutRow) -> None:
    put_row(BACKTESTS, id="b", model="late", model_version="1.0.5", data="calls@1")


def run_that_read(plane: ControlPlane, put_row: PutRow) -> None:
    ended_at = iso(plane.platform.stores.clock.now() - timedelta(days=6))
    put_run(put_row, ended_at=ended_at)
    put_row(ARTIFACTS, id="a", run_id="r7", task="t", output="o", uri="datasets://calls@1/train")


def run_that_is_to_read(plane: ControlPlane, put_row: PutRow) -> None:
    put_run(put_row, arguments='{"rows": "datasets://calls@1"}')


def schedule(plane: ControlPlane, put_row: PutRow) -> None:
    arguments = '{"rows": "datasets://calls@1"}'
    put_row(SCHEDULES, id="s", name="nightly", arguments=arguments, options="{}")


def put_run(put_row: PutRow, **more: Any) -> None:
    put_row(RUNS, **{"id": "r7", "state": "succeeded", "options": "{}", "notes": "[]", **more})


@pytest.mark.parametrize(
    ("need", "why", "table"),
    [
        (release, "release spring", RELEASES),
        (model, "trained late 1.0.3", MODEL_VERSIONS),
        (evaluation, "an evaluation of late 1.0.4", EVALUATIONS),
        (back_test, "a back-test of late 1.0.5", BACKTESTS),
        (run_that_read, "run r7", ARTIFACTS),
        (run_that_is_to_read, "run r7", RUNS),
        (schedule, "schedule nightly", SCHEDULES),
    ],
)
def test_what_is_needed_is_kept_with_the_reason(
    old: ControlPlane, put_row: PutRow, need: Need, why: str, table: Table
) -> None:
    platform = old.platform
    need(old, put_row)
    told = {one.reason: one.count for one in plan_garbage(platform, GarbageOrder()).kept}
    assert told[why] == 1
    apply_garbage(platform, GarbageOrder(), by="ada")
    version = find_version(platform.stores, "calls@1")
    assert read_version(platform.stores, version)["id"].to_list() == [1]
    # And when nobody does any more, they go.
    with platform.stores.db.transaction() as tx:
        tx.execute(delete(table))
    apply_garbage(platform, GarbageOrder(), by="ada")
    with pytest.raises(Refused, match="calls@1 were removed"):
        read_version(platform.stores, version)


def test_a_run_that_ended_long_ago_needs_nothing(old: ControlPlane, put_row: PutRow) -> None:
    ended_at = iso(old.platform.stores.clock.now() - timedelta(days=8))
    put_run(put_row, ended_at=ended_at, arguments='{"rows": "datasets://calls@1"}')
    apply_garbage(old.platform, GarbageOrder(), by="ada")
    with pytest.raises(Refused, match="calls@1 were removed"):
        read_version(old.platform.stores, find_version(old.platform.stores, "calls@1"))
