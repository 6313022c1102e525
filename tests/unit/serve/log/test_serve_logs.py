"""Segments, compaction, the labelled join; with a real plane, and torn by hand."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from seamline.domain.clock import ManualClock, new_id
from seamline.domain.errors import InvalidInput, NotFound
from seamline.serve.inputs.validate import Rows
from seamline.serve.log import segments, tables
from seamline.serve.log.columns import hidden_columns, unpack_json
from seamline.serve.log.entries import PackedEntry, pack_entry, place_of_entry
from seamline.serve.log.feedback import SCHEMA as FEEDBACK_SCHEMA
from seamline.serve.log.feedback import (
    FeedbackItem,
    feedback_batches,
    place_of_feedback,
    read_feedback_body,
    rows_of_feedback,
)
from seamline.serve.log.prediction_log import SEGMENT_SCHEMA, PredictionBatches, PredictionEntry
from seamline.serve.log.segment_log import SegmentLog
from seamline.serve.log.segments import Segment, list_segments
from seamline.serve.log.tables import (
    compact,
    feedback_of,
    find_prediction,
    log_folder,
    read_feedback,
    read_labelled,
    read_predictions,
    read_segments,
)
from seamline.serve.routing import Target

INFER = "/v2/models/late-arrival/infer"


@pytest.fixture
def entry_of(workspace):
    target = Target("production", "sha256:" + "ab" * 32, workspace.endpoint(), model=None)

    def make(prediction_id, *hours, time=None, request_id=None, at=None):
        count = len(hours)
        rows = Rows(
            count,
            {"hour": np.array(hours), "temp": np.full(count, np.nan)},
            {"tailnum": ["N1"] * count},
            None if time is None else [time] * count,
        )
        moment = at or datetime(2026, 1, 2, tzinfo=UTC)
        outputs = {"score": np.array(hours) / 24}
        return PredictionEntry(target, prediction_id, request_id, moment, rows, outputs, 500, 200)

    return make


@pytest.fixture
def write(stores):
    """Writes entries as one finished segment of the prediction log of production."""

    def write(*entries):
        log = SegmentLog(
            stores.root / "logs" / "predictions", SEGMENT_SCHEMA, PredictionBatches(b"k"),
            place_of_entry, stores.clock,
            interval_s=0.0,
        )  # fmt: skip
        for entry in entries:
            log.append(entry)
        log.close()

    return write


@pytest.fixture
def say(stores):
    def say(*items, endpoint=None, by=None):
        log = SegmentLog(
            stores.root / "logs" / "feedback", FEEDBACK_SCHEMA, feedback_batches,
            place_of_feedback, stores.clock,
            interval_s=0.0,
        )  # fmt: skip
        given = [FeedbackItem(**item) for item in items]
        log.append(rows_of_feedback(given, "production", endpoint, stores.clock, by))
        log.close()

    return say


def test_rows_are_typed_and_private_columns_hidden(stores, write, entry_of):
    write(entry_of("a", 6, 12, time="2013-07-01T05:00:00-04:00"), entry_of("b", 18))
    frame = read_predictions(stores, "production", "late-arrival")
    assert frame["prediction_id"].to_list() == ["a", "a", "b"]
    assert frame["row"].to_list() == [0, 1, 0]
    assert frame["ds"].to_list() == [date(2013, 7, 1), date(2013, 7, 1), date(2026, 1, 2)]
    assert frame["event_time"].to_list() == ["2013-07-01T05:00:00-04:00"] * 2 + [None]
    features = json.loads(frame["features"][0])
    assert (features["hour"], features["temp"]) == (6, None)
    assert features["tailnum"].startswith("private:")
    unpacked = unpack_json(frame, "features", {"hour": pl.Int64(), "temp": pl.Float64()})
    assert unpacked["hour"].to_list() == [6, 12, 18]
    assert frame["model_digest"][0].startswith("sha256:")
    assert frame["route"].unique().to_list() == ["incumbent"]


def test_what_is_unlogged_is_nowhere_in_the_log(stores, write, workspace, entry_of):
    first = entry_of("a", 6, 12)
    spec = workspace.endpoint(private=("tailnum",), unlogged=("temp",))
    target = Target("production", "sha256:" + "ab" * 32, spec, model=None)
    write(first, first._replace(prediction_id="b", target=target))
    frame = read_predictions(stores, "production", "late-arrival")
    kept = [sorted(json.loads(text)) for text in frame["features"]]
    assert kept == [["hour", "tailnum", "temp"]] * 2 + [["hour", "tailnum"]] * 2
    columns = ["hour", "temp", "tailnum"]
    assert hidden_columns(frame[:2], columns) == {"tailnum"}
    assert hidden_columns(frame, columns) == {"temp", "tailnum"}
    assert hidden_columns(frame[:0], columns) == set()


def test_a_request_of_one_row_is_logged_as_others_are(stores, write, workspace, entry_of):
    spec = workspace.endpoint(private=())
    target = Target("production", "sha256:" + "ab" * 32, spec, model=None)
    time = "2026-W10-1T05:00:00Z"
    first = entry_of("a", 6, time=time)._replace(target=target)
    packed = pack_entry(*first._replace(prediction_id="b", trace_id="t", principal="ada"))
    failed = pack_entry(*first._replace(prediction_id="c", outputs=None, status=500))
    later = entry_of("d", 7, request_id="mine")._replace(target=target)
    assert all(isinstance(one, PackedEntry) for one in (packed, failed))
    write(first, packed, failed, pack_entry(*later))
    rows = read_predictions(stores, "production").to_dicts()
    assert rows[1] == {**rows[0], "prediction_id": "b", "trace_id": "t", "principal": "ada"}
    assert rows[2] == {**rows[0], "prediction_id": "c", "outputs": None, "status": 500}
    assert (rows[0]["ds"], rows[3]["ds"]) == (date(2026, 3, 2), date(2026, 1, 2))
    assert not isinstance(pack_entry(*entry_of("e", 6)), PackedEntry), "its hash is to be made"


def test_a_text_that_looks_like_lists_is_logged_as_it_was_sent(stores, write, workspace, entry_of):
    target = Target("production", "sha256:0", workspace.endpoint(private=()), model=None)
    odd = [None, "[", "]", '["[[1]]"', "\\", "line\nbreak", "ü"]
    rows = [Rows(1, {"hour": [6], "carrier": [text]}, {}, None) for text in odd]
    first = entry_of("a", 6)
    given = [
        first._replace(prediction_id=f"p{n}", rows=one, target=target) for n, one in enumerate(rows)
    ]
    write(*(pack_entry(*one) for one in given))
    frame = read_predictions(stores, "production", "late-arrival")
    assert [json.loads(text) for text in frame["features"]] == [
        {"hour": 6, "carrier": text} for text in odd
    ]


def test_windows_by_day_of_event(stores, write, entry_of):
    for day in (1, 2, 3):
        write(entry_of(f"p{day}", day, time=f"2013-07-0{day}T05:00:00Z"))
    compact(stores, "production")
    write(entry_of("p4", 4, time="2013-07-02T23:00:00Z"))
    window = {"since": date(2013, 7, 2), "until": date(2013, 7, 3)}
    assert read_predictions(stores, "production", **window)["prediction_id"].to_list() == [
        "p2",
        "p4",
    ]


def test_compaction_moves_each_row_once(stores, write, entry_of, monkeypatch):
    write(entry_of("a", 6))
    write(entry_of("b", 7))
    folder = log_folder(stores.root, "predictions", "production")
    first = list_segments(folder)[0]
    saved = first.read_bytes()
    assert compact(stores, "production") == 2
    assert list_segments(folder) == []
    # As if it had been killed between the commit and the removal of the segment.
    first.write_bytes(saved)
    assert len(read_predictions(stores, "production")) == 2
    assert compact(stores, "production") == 0
    assert list_segments(folder) == []
    assert read_predictions(stores, "production")["prediction_id"].to_list() == ["a", "b"]


def test_two_compactions_at_once(stores, write, entry_of, monkeypatch):
    """The loop's, and that of a monitor that is measured: Delta refuses one of two commits that
    make the table."""
    write(entry_of("a", 6))
    write(entry_of("b", 7))
    append, met = tables.append_frame, threading.Barrier(2)

    def together(*given, **more):
        with contextlib.suppress(threading.BrokenBarrierError):
            met.wait(0.3)
        return append(*given, **more)

    monkeypatch.setattr(tables, "append_frame", together)
    with ThreadPoolExecutor(2) as pool:
        moved = list(pool.map(compact, [stores] * 2, ["production"] * 2))
    assert met.broken, "both were at it"
    assert sum(moved) == 2
    assert read_predictions(stores, "production")["prediction_id"].to_list() == ["a", "b"]


def test_an_open_segment_is_read_and_left_alone(stores, entry_of):
    folder = log_folder(stores.root, "predictions", "production")
    segment = Segment(folder, SEGMENT_SCHEMA, stores.clock)
    assert read_segments(folder).is_empty()
    segment.write(PredictionBatches(b"k")([entry_of("a", 6)]))
    assert compact(stores, "production") == 0
    assert len(read_predictions(stores, "production")) == 1
    segment.close()
    assert compact(stores, "production") == 1


def test_a_torn_tail_is_left_out(stores, write, entry_of):
    folder = log_folder(stores.root, "predictions", "production")
    segment = Segment(folder, SEGMENT_SCHEMA, stores.clock)
    batches = PredictionBatches(b"k")
    segment.write(batches([entry_of("a", 6)]))
    (path,) = list_segments(folder)
    whole = path.stat().st_size
    segment.write(batches([entry_of("b", 7)]))
    segment._file.close()
    data = path.read_bytes()
    for size in (whole, whole + 3, whole + 200, len(data) - 1):
        path.write_bytes(data[:size])
        assert read_segments(folder)["prediction_id"].to_list() == ["a"]
    for size in (0, 3, 100):
        path.write_bytes(data[:size])
        assert read_segments(folder).is_empty()
    path.write_bytes(data[: whole + 200])
    assert compact(stores, "production") == 1


def test_segments_rotate(stores, entry_of, monkeypatch):
    monkeypatch.setattr(segments, "MAX_SEGMENT_ROWS", 2)
    log = SegmentLog(
        stores.root / "logs" / "predictions", SEGMENT_SCHEMA, PredictionBatches(b"k"),
            place_of_entry, stores.clock,
        interval_s=0.0,
    )  # fmt: skip
    for name in "abc":
        written = threading.Event()
        log.append(entry_of(name, 6, 7), lambda problem, event=written: event.set())
        assert written.wait(120)
    log.close()
    assert len(list_segments(log_folder(stores.root, "predictions", "production"))) == 3


def test_the_last_word_per_prediction_counts(stores, write, entry_of, say):
    write(entry_of("a", 6, 12), entry_of("b", 18, request_id="mine"), entry_of("c", 1))
    say({"prediction_id": "a:1", "reward": 0.1}, {"prediction_id": "a", "reward": 1.0})
    say({"id": "mine", "reward": 0.5, "at": "2026-01-05"}, {"prediction_id": "zzz", "reward": 9.0})
    compact(stores, "production")
    say({"prediction_id": "a:1", "reward": 0.7})
    say({"prediction_id": "a:1", "reward": 0.7})
    frame = read_labelled(stores, "production", "late-arrival")
    assert frame.select("prediction_id", "row", "reward").rows() == [
        ("a", 0, 1.0),
        ("a", 1, 0.7),
        ("b", 0, 0.5),
        ("c", 0, None),
    ]
    assert frame["label_at"].to_list()[2] == "2026-01-05"
    assert read_feedback(stores, "production")["prediction_id"].to_list().count("zzz") == 1


def test_feedback_to_one_endpoint_says_nothing_of_another(stores, write, entry_of, say):
    write(entry_of("a", 6, request_id="1"), entry_of("b", 7, request_id="2"))
    say({"prediction_id": "a", "truth": msgspec.Raw(b"1")}, endpoint="late-arrival")
    say({"prediction_id": "a", "truth": msgspec.Raw(b"0")}, endpoint="other")
    say({"id": "2", "truth": msgspec.Raw(b"0")}, endpoint="other")
    assert read_labelled(stores, "production")["truth"].to_list() == ["1", None]
    assert len(read_feedback(stores, "production")) == 3, "it is kept"


def test_all_that_was_said_of_one_row_and_by_whom(stores, write, entry_of, say):
    write(entry_of("a", 6, 7, request_id="1"), entry_of("b", 7), entry_of("c", 8))
    say({"prediction_id": "a", "reward": 0.1}, by="ada", endpoint="late-arrival")
    compact(stores, "production")
    say({"id": "1", "reward": 0.2}, {"prediction_id": "a:1", "reward": 0.3}, by="bea")
    say({"prediction_id": "a", "reward": 0.4}, endpoint="other", by="kit")
    say({"prediction_id": "b", "reward": 0.5})
    found = {
        row_id: feedback_of(stores, find_prediction(stores, row_id))
        for row_id in ("a:0", "a:1", "b:0", "c:0")
    }
    assert {
        row_id: [(one["reward"], one["principal"], one["plane"]) for one in said]
        for row_id, said in found.items()
    } == {
        "a:0": [(0.1, "ada", None), (0.2, "bea", None)],
        "a:1": [(0.3, "bea", None)],
        "b:0": [(0.5, None, None)],
        "c:0": [],
    }
    last = {
        f"{one}:{row}": reward
        for one, row, reward in read_labelled(stores, "production")
        .select("prediction_id", "row", "reward")
        .iter_rows()
    }
    assert last == {row_id: said[-1]["reward"] if said else None for row_id, said in found.items()}


def test_find_prediction_everywhere(stores, write, entry_of):
    write(entry_of("a", 6, 12))
    compact(stores, "production")
    write(entry_of("b", 18))
    assert find_prediction(stores, "a:1")["row"] == 1
    assert find_prediction(stores, "b")["prediction_id"] == "b"
    for missing in ("a:2", "zzz"):
        with pytest.raises(NotFound, match=missing):
            find_prediction(stores, missing)


def test_who_asks_at_once_is_made_to_wait_for_the_log(stores, entry_of, monkeypatch):
    monkeypatch.setattr(tables, "SETTLED_S", 120.0)  # a disk may be slow
    log = SegmentLog(
        stores.root / "logs" / "predictions", SEGMENT_SCHEMA, PredictionBatches(b"k"),
            place_of_entry, stores.clock,
        interval_s=0.5,
    )  # fmt: skip
    fresh = new_id(stores.clock)
    log.append(entry_of(fresh, 6))
    assert find_prediction(stores, f"{fresh}:0")["prediction_id"] == fresh
    log.close()


def test_an_empty_workspace_has_empty_logs(stores):
    assert read_labelled(stores, "production").is_empty()
    assert compact(stores, "production") == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[1]", "cannot be read"),
        (b'{"feedback": []}', "no items"),
        (b'{"prediction_id": "a"}', "neither truth nor reward"),
        (b'{"reward": 1}', "names no prediction"),
        (b'{"prediction_id": "a:x", "reward": 1}', "is not the id of a prediction"),
        (b'{"prediction_id": "a", "reward": 1, "at": "noon"}', "at is 'noon'"),
        (b'{"prediction_id": "a:0", "reward": 1, "row": 2}', "names two rows: a:0 and 2"),
    ],
)
def test_feedback_that_says_nothing_is_refused(body, says):
    with pytest.raises(InvalidInput) as caught:
        rows_of_feedback(read_feedback_body(body), "production", None, ManualClock())
    assert says in str(caught.value)


def test_through_a_plane_that_is_killed(stores, workspace, plane, start_plane, request_of, until):
    """Predictions, then feedback in bulk; durable although nothing was closed."""
    given = request_of(6, 20, id="mine")
    given["inputs"] += [
        {"name": "time_hour", "datatype": "BYTES", "shape": [2], "data": ["2013-12-01T05:00Z"] * 2}
    ]
    _, reply, _ = plane.ask("POST", INFER, given)
    base = reply["parameters"]["prediction_id"]
    bulk = {
        "feedback": [
            {"prediction_id": f"{base}:0", "truth": {"late": True}, "at": "2013-12-01T12:00:00Z"},
            {"prediction_id": f"{base}:1", "truth": 0},
        ]
    }
    status, said, _ = plane.ask("POST", "/v2/feedback", bulk)
    assert (status, said["accepted"]) == (200, 2)
    path = "/v2/models/late-arrival/feedback"
    assert plane.ask("POST", path, {"prediction_id": f"{base}:1", "truth": 1})[0] == 200
    assert plane.ask("POST", "/v2/models/late/feedback", bulk)[0] == 404
    for nobody in ("productoin", ".."):
        status, said, _ = plane.ask("POST", f"/{nobody}/v2/feedback", bulk)
        assert status == 404
        assert "production" in said["error"]
    until(lambda: len(read_predictions(stores, "production")) == 2)
    plane.stop(signal.SIGKILL)
    assert compact(stores, "production") == 5
    frame = read_labelled(stores, "production")
    assert frame["truth"].to_list() == ['{"late": true}', "1"]
    assert frame["request_id"].to_list() == ["mine", "mine"]
    assert frame["ds"].to_list() == [date(2013, 12, 1)] * 2
    assert json.loads(frame["outputs"][1])["label"] == 1
    assert find_prediction(stores, f"{base}:1")["endpoint"] == "late-arrival"
    again = start_plane()
    assert again.await_snapshot(1)["version"] == 1
    assert again.ask("POST", INFER, request_of(6))[0] == 200
    assert again.stop() == 0
    assert len(read_predictions(stores, "production")) == 3


def test_a_stopped_plane_leaves_finished_segments(stores, plane, request_of, until):
    for hour in range(5):
        plane.ask("POST", INFER, request_of(hour))
    until(lambda: len(read_predictions(stores, "production")) == 5)
    maps = Path(f"/proc/{plane.process.pid}/maps").read_text()
    assert plane.stop() == 0
    assert "pandas" not in maps
    assert compact(stores, "production") == 5
    newest = read_predictions(stores, "production")["at"].max()
    assert datetime.now(UTC) - newest < timedelta(minutes=5)
