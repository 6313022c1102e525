"""What a deployment declares about its logs is what becomes of them."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pyarrow as pa
import pytest

from seamline.app.serve.keep_logs import keep_logs
from seamline.domain.errors import InvalidInput
from seamline.project.plan import apply_project
from seamline.serve.log.prediction_log import SCHEMA
from seamline.serve.log.tables import log_table, read_predictions
from seamline.server import ControlPlane
from seamline.store.tables import append_frame

PROJECT = """
project = "late"
team = "late"

[models.late]
pipeline = "train"
output = "train.model"
samples = "train.samples"

[deployments.late]
model = "late"
keep = "5d"

[deployments.kept]
model = "late"
"""


def test_each_endpoint_keeps_its_rows_as_long_as_it_says(plane: ControlPlane) -> None:
    stores = plane.platform.stores
    apply_project(stores, PROJECT, "seamline.toml", by="ann")
    now = stores.clock.now()
    rows = [
        {"endpoint": endpoint, "at": at, "ds": at.date(), "row": days, "prediction_id": "p"}
        for days in range(10)
        for at in [now - timedelta(days=days, hours=1)]
        for endpoint in ("late", "kept", "undeclared")
    ]
    whole = pa.Table.from_pylist(rows, SCHEMA)
    table = log_table(stores.root, "predictions", "staging")
    table.parent.mkdir(parents=True)
    append_frame(table, pl.DataFrame(whole), "ds")
    keep_logs(plane.platform)
    left = read_predictions(stores, "staging")["endpoint"].value_counts().sort("endpoint")
    assert left.rows() == [("kept", 10), ("late", 5), ("undeclared", 10)]


def test_a_time_that_is_none_is_refused_with_its_line(plane: ControlPlane) -> None:
    with pytest.raises(InvalidInput, match=r"seamline.toml:12.*'for good' is not a duration"):
        apply_project(
            plane.platform.stores, PROJECT.replace("5d", "for good"), "seamline.toml", by="a"
        )
