"""Old rows of the logs go when it was said so, and the small files of a day become one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from deltalake import DeltaTable

from seamline.domain.clock import ManualClock
from seamline.serve.log import feedback, prediction_log
from seamline.serve.log.tables import log_table, read_feedback, read_predictions
from seamline.serve.log.upkeep import keep_up_logs
from seamline.store.stores import open_stores
from seamline.store.tables import append_frame

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY_S = 86_400.0


@pytest.fixture
def stores(tmp_path):
    opened = open_stores(tmp_path, ManualClock(NOW))
    yield opened
    opened.db.close()


def put(stores, log, schema, at: datetime, number: int, **values) -> None:
    row = {"ds": at.date(), "environment": "production", "at": at, "row": number, **values}
    frame = pl.from_arrow(schema.empty_table())
    made = pl.DataFrame([row]).cast({name: frame.schema[name] for name in row})
    whole = pl.concat([frame, made], how="diagonal")
    table = log_table(stores.root, log, "production")
    table.parent.mkdir(parents=True, exist_ok=True)
    append_frame(table, whole, "ds", token=(f"{log}-{at}-{number}-{values.get('endpoint')}", 0))


@pytest.fixture
def logged(stores):
    """Of ten days a row each of two endpoints, and feedback of one and of none."""
    for days in range(10):
        at = NOW - timedelta(days=days)
        for endpoint in ("late", "it's"):
            put(
                stores,
                "predictions",
                prediction_log.SCHEMA,
                at,
                days,
                prediction_id="p",
                endpoint=endpoint,
            )
        for endpoint in ("late", None):
            put(stores, "feedback", feedback.SCHEMA, at, days, prediction_id="p", endpoint=endpoint)
    return stores


def rows_left(frame: pl.DataFrame, endpoint: str | None) -> list[int]:
    return sorted(frame.filter(pl.col("endpoint").eq_missing(endpoint))["row"].to_list())


def test_rows_go_as_long_after_their_arrival_as_was_said(logged):
    keep_up_logs(logged, "production", {"late": 3.5 * DAY_S, "it's": 6.5 * DAY_S})
    predictions = read_predictions(logged, "production")
    assert rows_left(predictions, "late") == [0, 1, 2, 3]
    assert rows_left(predictions, "it's") == [0, 1, 2, 3, 4, 5, 6]
    said = read_feedback(logged, "production")
    assert rows_left(said, "late") == [0, 1, 2, 3]
    assert rows_left(said, None) == [0, 1, 2, 3, 4, 5, 6]


def test_without_a_word_all_stay(logged):
    keep_up_logs(logged, "production", {})
    assert read_predictions(logged, "production").height == 20
    keep_up_logs(logged, "staging", {"late": 1.0})  # nothing was ever logged there


def test_the_files_of_a_day_that_is_over_become_one_and_no_segment_comes_twice(stores):
    for day in (NOW, NOW - timedelta(days=1)):
        for number in range(6):
            put(
                stores,
                "predictions",
                prediction_log.SCHEMA,
                day,
                number,
                prediction_id="p",
                endpoint="late",
            )
    before = read_predictions(stores, "production").sort("at", "row")
    keep_up_logs(stores, "production", {})
    delta = DeltaTable(str(log_table(stores.root, "predictions", "production")))
    assert len(delta.file_uris()) == 6 + 1
    put(
        stores,
        "predictions",
        prediction_log.SCHEMA,
        NOW - timedelta(days=1),
        3,
        prediction_id="p",
        endpoint="late",
    )
    assert read_predictions(stores, "production").sort("at", "row").equals(before)
