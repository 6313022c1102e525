"""A log that is older than its newest column: read as a whole, and gone on with."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from seamline.domain.clock import SystemClock, new_id
from seamline.serve.inputs.validate import Rows
from seamline.serve.log import feedback
from seamline.serve.log.feedback import FeedbackItem, feedback_batches, rows_of_feedback
from seamline.serve.log.newest_rows import newest_predictions
from seamline.serve.log.prediction_log import (
    FOLDER,
    SCHEMA,
    SEGMENT_SCHEMA,
    PredictionBatches,
    PredictionEntry,
)
from seamline.serve.log.runs import plain
from seamline.serve.log.segments import Segment
from seamline.serve.log.tables import (
    PARTITION,
    compact,
    find_prediction,
    log_folder,
    log_table,
    read_feedback,
    read_predictions,
)
from seamline.serve.routing import Target
from seamline.store.tables import append_frame

#: Of before there were traces, who asked and where, batches that refer to their rows, and runs.
NEW = ("trace_id", "principal", "plane", "features_from")
OLD = pa.schema([one for one in SCHEMA if one.name not in NEW])
COLUMNS = ["prediction_id", "trace_id", "principal", "plane"]
NOTHING = (None, None, None)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def batch(workspace):
    target = Target("production", "sha256:" + "ab" * 32, workspace.endpoint(), model=None)

    def make(trace_id: str | None = None, by: str | None = None) -> tuple[str, pa.RecordBatch]:
        made = new_id(SystemClock())
        rows = Rows(1, {"hour": np.array([6])}, {}, None)
        at = datetime(2026, 3, 1, tzinfo=UTC)
        entry = PredictionEntry(
            target, made, None, at, rows, {"label": np.array([1])}, 1000, 200, trace_id, by
        )
        return made, PredictionBatches(b"k" * 32, by and "kiosk-7")([entry])[0]

    return make


def as_before(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([plain(batch[name]) for name in OLD.names], schema=OLD)


def write(stores, batch: pa.RecordBatch, schema: pa.Schema, log: str = FOLDER) -> None:
    segment = Segment(log_folder(stores.root, log, "production"), schema, SystemClock())
    segment.write([batch])
    segment.close()


def told(frame: pl.DataFrame) -> dict[str, tuple[str | None, ...]]:
    return {one: tuple(rest) for one, *rest in frame.select(COLUMNS).iter_rows()}


def test_table_and_segments_of_before_are_read_and_gone_on_with(stores, batch):
    in_table, in_old_segment, in_new_segment = batch(), batch(), batch(TRACE, "ada")
    table = log_table(stores.root, FOLDER, "production")
    table.parent.mkdir(parents=True)
    append_frame(table, pl.DataFrame(as_before(in_table[1])), PARTITION)
    expected = {in_table[0]: NOTHING}
    assert told(read_predictions(stores, "production")) == expected
    assert find_prediction(stores, in_table[0])["trace_id"] is None
    write(stores, as_before(in_old_segment[1]), OLD)
    write(stores, in_new_segment[1], SEGMENT_SCHEMA)
    expected |= {in_old_segment[0]: NOTHING, in_new_segment[0]: (TRACE, "ada", "kiosk-7")}
    assert told(read_predictions(stores, "production")) == expected
    assert compact(stores, "production") == 2
    assert told(read_predictions(stores, "production")) == expected
    assert find_prediction(stores, in_new_segment[0])["principal"] == "ada"
    newest = newest_predictions(stores, "production").pick(pl.lit(value=True), COLUMNS)
    assert told(newest) == expected


def test_feedback_of_before_it_said_who_sent_it(stores):
    def batch(reward: float, by: str | None) -> pa.RecordBatch:
        item = FeedbackItem(prediction_id="a", reward=reward)
        rows = rows_of_feedback([item], "production", None, SystemClock(), by)
        return feedback_batches([rows], by and "kiosk-7")[0]

    names = [one for one in feedback.SCHEMA.names if one not in ("principal", "plane")]
    old = pa.schema([feedback.SCHEMA.field(name) for name in names])
    table = log_table(stores.root, feedback.FOLDER, "production")
    table.parent.mkdir(parents=True)
    append_frame(table, pl.DataFrame(batch(0.1, None).select(names)), PARTITION)
    write(stores, batch(0.2, None).select(names), old, feedback.FOLDER)
    write(stores, batch(0.3, "ada"), feedback.SCHEMA, feedback.FOLDER)
    expected = [(0.1, None, None), (0.2, None, None), (0.3, "ada", "kiosk-7")]
    columns = ["reward", "principal", "plane"]
    assert read_feedback(stores, "production").select(columns).rows() == expected
    assert compact(stores, "production") == 2
    assert read_feedback(stores, "production").select(columns).rows() == expected
