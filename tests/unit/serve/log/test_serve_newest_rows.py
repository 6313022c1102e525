"""The newest rows of a log: of segments and table, each once, and no more than are wanted."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from seamline.domain.clock import ManualClock, SystemClock, new_id
from seamline.serve.inputs.validate import Rows
from seamline.serve.log.feedback import (
    FOLDER,
    SCHEMA,
    FeedbackItem,
    feedback_batches,
    rows_of_feedback,
)
from seamline.serve.log.newest_rows import (
    BATCH,
    newest_feedback,
    newest_predictions,
    newest_rows,
)
from seamline.serve.log.prediction_log import FOLDER as PREDICTIONS
from seamline.serve.log.prediction_log import SEGMENT_SCHEMA, PredictionBatches, PredictionEntry
from seamline.serve.log.segments import Segment
from seamline.serve.log.tables import compact, log_folder
from seamline.serve.routing import Target

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
MINE = pl.col("endpoint") == "late-arrival"


@pytest.fixture
def log(stores, workspace):
    """log(hour, hour, …): a finished segment of one request each, at that hour of the day."""
    folder = log_folder(stores.root, PREDICTIONS, "production")

    def write(*hours: int, route: str = "incumbent") -> list[str]:
        entries = [entry(hour, route) for hour in hours]
        segment = Segment(folder, SEGMENT_SCHEMA, SystemClock())
        segment.write(PredictionBatches(b"k" * 32)(entries))
        segment.close()
        return [one.prediction_id for one in entries]

    def entry(hour: int, route: str) -> PredictionEntry:
        release, spec = "sha256:" + "ab" * 32, workspace.endpoint()
        target = Target("production", release, spec, model=None, route=route)
        at = BEGAN + timedelta(hours=hour)
        rows = Rows(1, {"hour": np.array([hour])}, {}, None)
        outputs = {"label": np.array([1])}
        made = new_id(ManualClock(at))
        return PredictionEntry(target, made, f"mine-{hour}", at, rows, outputs, 1000, 200)

    return write


def hours_of(newest) -> list[int]:
    found = newest.pick(MINE, ["features"])["features"].to_list()
    return sorted(json.loads(one)["hour"] for one in found)


def test_segments_and_table_are_read_as_one(stores, log):
    log(1, 2)
    compact(stores, "production")
    log(3)
    newest = newest_predictions(stores, "production")
    assert hours_of(newest) == [1, 2, 3]
    assert newest.since is None
    assert newest.pick(pl.col("endpoint") == "other", ["at"]).is_empty()


def test_a_segment_that_the_table_holds_already_is_not_read_twice(stores, log, monkeypatch):
    """Killed after the commit and before the file was removed."""
    log(1)
    monkeypatch.setattr("pathlib.Path.unlink", lambda self, missing_ok=False: None)
    compact(stores, "production")
    assert len(list(log_folder(stores.root, PREDICTIONS, "production").glob("*.arrows"))) == 1
    assert hours_of(newest_predictions(stores, "production")) == [1]


def test_no_more_than_so_many_rows_and_since_when_all_are_there(stores, log):
    for hours in ((1, 2), (3, 4), (5, 6)):
        log(*hours)
        compact(stores, "production")
    log(7)
    newest = newest_rows(stores, PREDICTIONS, "production", most_rows=5)
    assert hours_of(newest) == [3, 4, 5, 6, 7]
    assert newest.since == BEGAN + timedelta(hours=2)
    few = newest_rows(stores, PREDICTIONS, "production", most_files=2)
    assert hours_of(few) == [5, 6, 7]
    assert few.since == BEGAN + timedelta(hours=4)


def test_segments_alone_are_bounded_too(stores, log):
    for hour in range(1, 5):
        log(hour)
    newest = newest_rows(stores, PREDICTIONS, "production", most_rows=2)
    assert hours_of(newest) == [3, 4]
    assert newest.since == BEGAN + timedelta(hours=2)
    newest = newest_rows(stores, PREDICTIONS, "production", most_files=1)
    assert (hours_of(newest), newest.since) == ([4], BEGAN + timedelta(hours=3))


@pytest.mark.parametrize("are_compacted", [True, False])
def test_a_filled_table_hides_nobodys_requests(stores, log, are_compacted):
    log(1, 2)
    for hours in ((3, 4), (5, 6), (7, 8)):
        log(*hours, route=BATCH)
    if are_compacted:
        compact(stores, "production")
    log(9)
    newest = newest_rows(stores, PREDICTIONS, "production", most_rows=4)
    assert hours_of(newest) == [1, 2, 5, 6, 7, 8, 9]
    assert (newest.since, newest.batch_since) == (None, BEGAN + timedelta(hours=4))


def test_one_segment_of_more_rows_is_read_all_the_same(stores, log):
    log(1, 2, 3)
    assert hours_of(newest_rows(stores, PREDICTIONS, "production", most_rows=2)) == [1, 2, 3]


def test_nothing_was_logged(stores):
    newest = newest_predictions(stores, "production")
    assert newest.pick(MINE, ["at"]).is_empty()
    assert newest.since is None
    predictions = newest.pick(MINE, ["prediction_id", "row", "request_id"])
    assert newest_feedback(stores, "production", predictions)[0].is_empty()


def test_the_last_word_counts_by_prediction_or_by_the_callers_id(stores, log):
    first, second, _ = log(1, 2, 3)
    folder = log_folder(stores.root, FOLDER, "production")
    said = [
        {"prediction_id": first, "reward": 0.25},
        {"prediction_id": f"{first}:0", "reward": 0.5},
        {"id": "mine-2", "reward": 0.75},
        {"prediction_id": new_id(SystemClock()), "reward": 1.0},
    ]
    for one, by in zip(said, ("ada", "bea", "kit", None), strict=True):
        rows = rows_of_feedback([FeedbackItem(**one)], "production", None, SystemClock(), by)
        segment = Segment(folder, SCHEMA, SystemClock())
        segment.write(feedback_batches([rows], by and f"{by}s-kiosk"))
        segment.close()
        compact(stores, "production")
    newest = newest_predictions(stores, "production")
    predictions = newest.pick(MINE, ["prediction_id", "row", "request_id"])
    found, since = newest_feedback(stores, "production", predictions)
    assert dict(found.select("prediction_id", "reward").iter_rows()) == {first: 0.5, second: 0.75}
    assert since is None
    assert dict(found.select("feedback_by", "feedback_plane").iter_rows()) == {
        "bea": "beas-kiosk",
        "kit": "kits-kiosk",
    }
