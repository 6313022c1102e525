"""Features of a batch lie where they were read, and readers of the log get them all the same."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seamline.app.data.export_rows import ExportOrder, export_predictions
from seamline.app.data.ingest_delivery import ingest_delivery
from seamline.app.serve import bulk_answer, bulk_job, explain_prediction
from seamline.app.serve.bulk_features import FeaturesPlace, find_features
from seamline.app.serve.predict_dataset import predict_dataset
from seamline.data.versions import find_version
from seamline.data.versions.removed import record_removals
from seamline.data.versions.version import table_folder
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch
from seamline.project.plan import apply_project
from seamline.serve.log.tables import compact, read_predictions
from seamline.serve.snapshots.families import Column
from seamline.serve.snapshots.snapshot import (
    EndpointSpec,
    ServingSnapshot,
    Signature,
    snapshot_path,
    write_snapshot,
)
from seamline.server import ControlPlane
from seamline.trust.roles import Principal, Role

PROJECT = """
project = "late"
team = "late"

[datasets.flights]
time = "at"
keys = ["flight"]
"""
MODEL = """
class Model:
    def outputs(self, columns):
        return {"score": [float(hour) for hour in columns["hour"]]}


def load():
    return Model()
"""
ROWS = 40
INPUTS = (
    Column("hour", "FP64"),  # whole numbers in the table
    Column("share", "FP64", nullable=True),
    Column("is_late", "BOOL"),
    Column("carrier", "BYTES", nullable=True),
    Column("absent", "INT64", nullable=True),
)
CONTEXT = (Column("at", "BYTES"), Column("tail", "BYTES", nullable=True))


@pytest.fixture
def flights(plane: ControlPlane, tmp_path: Path) -> str:
    apply_project(plane.platform.stores, PROJECT, "seamline.toml", by="ann")
    at = pl.datetime_range(
        pl.datetime(2025, 3, 1), pl.datetime(2025, 3, 4), "2h", closed="left", eager=True
    )
    frame = pl.DataFrame(
        {
            "flight": range(ROWS),
            "at": [at[n % len(at)] for n in range(ROWS)],
            "hour": [n % 24 for n in range(ROWS)],
            "share": [None if n % 5 == 0 else n / 3 for n in range(ROWS)],
            "is_late": [n % 2 == 0 for n in range(ROWS)],
            "carrier": [[None, "AA", 'a "quoted" ü\n'][n % 3] for n in range(ROWS)],
            "tail": [f"N{n}" for n in range(ROWS)],
        }
    )
    frame.write_parquet(tmp_path / "rows.parquet")
    ingest_delivery(plane.platform, "flights", tmp_path / "rows.parquet", source="f", by="ann")
    return "flights@1"


def deploy(plane: ControlPlane, **changes: Any) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr(zipfile.ZipInfo("late/__init__.py"), MODEL)
    digest = plane.platform.stores.blobs.put(memory.getvalue())
    spec = EndpointSpec(
        "late", "late", "1.0.1", digest, digest_of(b"payload"),
        str(plane.platform.stores.blobs.path_of(digest)), "late.whl", "late",
        "regression", Signature(INPUTS, (Column("score", "FP64"),)), sys.executable,
        context=CONTEXT,
    )  # fmt: skip
    release = "sha256:" + "ab" * 32
    specs = (replace(spec, **changes),)
    snapshot = ServingSnapshot("production", 1, release, "june", "2026-01-01T00:00:00Z", specs)
    path = snapshot_path(plane.platform.root, "production")
    write_snapshot(path, snapshot, plane.platform.key)


def predict(plane: ControlPlane, to: str = "scores", query: str | None = None) -> pl.DataFrame:
    """What is in the log of it."""
    before = read_predictions(plane.platform.stores, "production")
    predict_dataset(plane.platform, "late", "flights@1", to, "production", by="bea", query=query)
    logged = read_predictions(plane.platform.stores, "production")
    return logged.join(before, on=["prediction_id", "row"], how="anti")


def remove_rows(plane: ControlPlane, dataset: str) -> None:
    stores = plane.platform.stores
    version = find_version(stores, dataset)
    with stores.db.transaction() as tx:
        record_removals(stores, tx, [(version, "asked for by the passenger")], by="ann")


@pytest.mark.parametrize("unlogged", [(), ("tail", "hour")])
def test_they_are_what_would_have_been_logged(
    plane: ControlPlane, flights: str, monkeypatch: pytest.MonkeyPatch, unlogged: tuple[str, ...]
) -> None:
    deploy(plane, unlogged=unlogged, event_time="at")
    monkeypatch.setattr(bulk_job, "CHUNK_ROWS", 5)
    referring = predict(plane)
    assert referring["features"].null_count() == ROWS
    monkeypatch.setattr(bulk_answer, "place_of_chunk", lambda *_: None)
    copied = predict(plane, "copied")
    assert copied["features_from"].null_count() == ROWS
    compact(plane.platform.stores, "production")
    found = find_features(plane.platform.stores, referring.reverse())
    assert (found.gone, found.rows.columns) == ("", referring.columns)
    told = found.rows.reverse()
    expected = ["features", "outputs", "event_time", "ds"]
    assert told.select(expected).sort(expected).equals(copied.select(expected).sort(expected))
    assert json.loads(told["features"][1]).keys() == {
        one.name for one in (*INPUTS, *CONTEXT) if one.name not in unlogged
    }
    both = find_features(plane.platform.stores, pl.concat([copied, referring])).rows
    assert both["features"].null_count() == 0


def test_a_place_is_told_with_its_version_and_digest(plane: ControlPlane, flights: str) -> None:
    deploy(plane)
    logged = predict(plane).filter(pl.col("features_from").str.contains("ds=2025-03-02"))
    row = logged.filter(row=3).row(0, named=True)
    place = FeaturesPlace.from_text(row["features_from"])
    assert (place.dataset, place.row) == ("flights@1", 0)
    path = table_folder(plane.platform.stores, "flights") / place.file
    assert place.digest == digest_of(path.read_bytes())
    told, [link] = explain_prediction._with_features(plane.platform, row)
    assert json.loads(str(told["features"]))["tail"] == "N15"
    assert link["sentence"].startswith(f"row 3 of {place.file} in flights@1, file ")


def test_rows_that_were_removed_are_gone_here_too_and_it_is_said(
    plane: ControlPlane, flights: str
) -> None:
    deploy(plane)
    logged = predict(plane)
    remove_rows(plane, flights)
    found = find_features(plane.platform.stores, logged)
    assert found.rows["features"].null_count() == ROWS
    assert found.gone.startswith("The rows of flights@1 were removed on ")
    assert found.gone.endswith("asked for by the passenger.")
    assert found.gone.count("flights@1") == 1
    _, [link] = explain_prediction._with_features(plane.platform, logged.row(0, named=True))
    assert found.gone in link["sentence"]


def test_they_leave_with_the_predictions(plane: ControlPlane, flights: str, tmp_path: Path) -> None:
    deploy(plane)
    predict(plane)
    admin = Principal("ann", frozenset({Role.ADMIN}))

    def export(name: str) -> tuple[pl.DataFrame, str]:
        order = ExportOrder(f"file://{tmp_path}/{name}", environment="production")
        said = export_predictions(plane.platform, "late", order, admin)
        return pl.read_parquet(tmp_path / name), said["features_gone"]

    sent, gone = export("all.parquet")
    assert (sent["features"].null_count(), sent.height, gone) == (0, ROWS, "")
    remove_rows(plane, flights)
    sent, gone = export("later.parquet")
    assert sent["features"].null_count() == ROWS
    assert gone.startswith("The rows of flights@1 were removed")


def test_altered_rows_are_not_shown_as_what_was_answered(plane: ControlPlane, flights: str) -> None:
    deploy(plane)
    logged = predict(plane)
    place = FeaturesPlace.from_text(logged["features_from"][0])
    path = table_folder(plane.platform.stores, "flights") / place.file
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DigestMismatch, match=r"flights@1"):
        find_features(plane.platform.stores, logged)


def test_what_is_kept_nowhere_else_or_private_is_logged(plane: ControlPlane, flights: str) -> None:
    deploy(plane)
    asked = predict(plane, query="SELECT *, flight AS number FROM flights WHERE hour < 3")
    tails = {json.loads(one)["tail"] for one in asked["features"]}
    assert tails == {f"N{n}" for n in range(ROWS) if n % 24 < 3}
    deploy(plane, private=("tail",))
    private = predict(plane, "private")
    assert private["features_from"].null_count() == ROWS
    assert json.loads(private["features"][0])["tail"].startswith("private:")
