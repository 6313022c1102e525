"""What a batch logs is what a request would."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from seamline.app.serve.bulk_log import BULK_SCHEMA, log_batches
from seamline.domain.digests import digest_of
from seamline.serve.inputs.validate import Rows
from seamline.serve.log.prediction_log import PredictionBatches, PredictionEntry
from seamline.serve.log.runs import plain
from seamline.serve.routing import ServedModel, Target
from seamline.serve.snapshots.snapshot import Column, EndpointSpec, Signature

KEY = b"k" * 32
ODD = 'a "quoted" ü\n\\'


def entry_of(
    times: list[str | None] | None, private: tuple[str, ...], unlogged: tuple[str, ...]
) -> PredictionEntry:
    spec = EndpointSpec(
        "late", "late", "1.0.1", digest_of(b"w"), digest_of(b"p"), "w", "w.whl", "late",
        "regression", Signature((Column("hour", "INT64"),), (Column("score", "FP64"),)),
        sys.executable, private=private, unlogged=unlogged,
    )  # fmt: skip
    target = Target("production", "sha256:0", spec, cast(ServedModel, None), route="batch")
    columns: dict[str, Any] = {
        "hour": np.array([1, 2, 3]),
        "share": np.array([0.1, np.nan, 1e-300]),
        "is_late": np.array([True, False, True]),
        "carrier": ["AA", None, ODD],
        "count": [1, None, 3],
    }
    rows = Rows(3, columns, {"tail": ["N1", None, "N3"]}, times)
    outputs: dict[str, Any] = {"score": np.array([0.25, 1 / 3, 1e22]), "label": ["a", "b", ODD]}
    at = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    return PredictionEntry(target, "id", "batch-1", at, rows, outputs, 1234, 200, "t", "bea")


def read(batches: list[pa.RecordBatch]) -> list[dict[str, Any]]:
    found = []
    for batch in batches:
        columns = {name: plain(batch.column(name)) for name in batch.schema.names}
        found += pa.table(columns).to_pylist()
    for row in found:
        row["features"], row["outputs"] = json.loads(row["features"]), json.loads(row["outputs"])
    return found


@pytest.mark.parametrize(
    "times",
    [
        None,
        ["2026-03-01T23:30:00-05:00", None, "2026-03-02"],
        ["20260301T233000", None, "2026-W10-1"],
    ],
)
@pytest.mark.parametrize(
    ("private", "unlogged"), [((), ()), (("tail", "carrier"), ()), ((), ("tail", "hour"))]
)
def test_a_column_at_a_time_says_what_a_row_at_a_time_says(
    times: list[str | None] | None, private: tuple[str, ...], unlogged: tuple[str, ...]
) -> None:
    entry = entry_of(times, private, unlogged)
    expected = read(PredictionBatches(KEY)([entry]))
    assert read(log_batches(entry, KEY)) == expected
    assert {"tail", "hour", "carrier"} - set(expected[0]["features"]) == set(unlogged)
    assert entry.target.route == expected[0]["route"] == "batch"


@pytest.mark.parametrize("times", [None, ["20260301T233000", None, "2026-W10-1"]])
def test_where_features_lie_is_logged_in_their_place(times: list[str | None] | None) -> None:
    entry = entry_of(times, (), ())
    (copied,) = log_batches(entry, KEY)
    (referring,) = log_batches(entry, KEY, "rows@1")
    assert referring.schema == copied.schema == BULK_SCHEMA
    for name in BULK_SCHEMA.names:
        told = plain(referring.column(name)).to_pylist()
        if name == "features":
            assert told == [None, None, None]
        elif name == "features_from":
            assert told == ["rows@1"] * 3
        else:
            assert told == plain(copied.column(name)).to_pylist()
