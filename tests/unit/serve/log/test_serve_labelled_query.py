"""Predictions and feedback: one query, and the offline evaluation again, to the last bit."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from seamline.domain.clock import SystemClock
from seamline.evaluate.evaluate import evaluate_predictions
from seamline.evaluate.spec import EvaluationSpec
from seamline.serve.log.columns import unpack_json
from seamline.serve.log.tables import compact, log_table, read_labelled
from seamline.store.stores import open_stores

INFER = "/v2/models/late-arrival/infer"
PAGE = Path(__file__).parents[4] / "docs" / "howto" / "serve-and-send-feedback.md"
DAYS, PER_DAY = 12, 40


@pytest.fixture
def stores(workspace):
    opened = open_stores(workspace.root, SystemClock())
    yield opened
    opened.db.close()


def truth_of(day: int, number: int) -> int:
    return int((day * 7 + number * 5) % 24 >= 11)


def rows_of_day(day: int, request_of, request_id: str) -> dict:
    hours = [(day + number) % 24 for number in range(PER_DAY)]
    body = request_of(*hours, id=request_id)
    times = [f"2026-03-{day + 1:02}T10:00:00" for _ in hours]
    body["inputs"].append(
        {"name": "time_hour", "datatype": "BYTES", "shape": [PER_DAY], "data": times}
    )
    return body


def send(plane, items: list[dict]) -> None:
    status, reply, _ = plane.ask("POST", "/v2/feedback", {"feedback": items})
    assert status == 200, reply


@pytest.fixture
def labelled(workspace, plane, request_of, stores):
    """Twelve days, answered and labelled in every way that feedback may come."""
    # Before its prediction; by the caller's own id.
    early = [{"id": "day-0", "row": n, "truth": truth_of(0, n)} for n in range(PER_DAY)]
    send(plane, early)
    for day in range(DAYS):
        status, reply, _ = plane.ask("POST", INFER, rows_of_day(day, request_of, f"day-{day}"))
        assert status == 200, reply
        if day == 0:
            continue
        named = reply["parameters"]["prediction_id"]
        wrong = [
            {"prediction_id": f"{named}:{n}", "truth": 1 - truth_of(day, n)} for n in range(PER_DAY)
        ]
        right = [
            {"prediction_id": f"{named}:{n}", "truth": truth_of(day, n)} for n in range(PER_DAY)
        ]
        if day % 3 == 0:  # corrected
            send(plane, wrong)
        send(plane, right[::-1] if day % 2 else right)
        if day % 4 == 0:  # repeated
            send(plane, right)
    send(plane, [{"prediction_id": "019b76da-a800-7000-8000-000000000000:0", "truth": 1}])
    assert plane.stop() == 0
    compact(stores, "production")
    return read_labelled(stores, "production", "late-arrival")


def test_the_query_of_the_page_says_what_the_platform_says(workspace, stores, labelled):
    (query,) = re.findall(r"<!-- file: labelled.sql -->\n```sql\n(.*?)```", PAGE.read_text(), re.S)
    names = ("predictions", "feedback")
    tables = {
        name: pl.scan_delta(DeltaTable(str(log_table(workspace.root, name, "production"))))
        .collect()
        .to_arrow()
        for name in names
    }
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        found = connection.sql(query).pl().sort("prediction_id", "row")
    assert found.height == DAYS * PER_DAY
    columns = ["prediction_id", "row", "outputs", "truth", "reward"]
    assert found.select(columns).equals(labelled.select(columns))


def test_online_answers_with_feedback_give_the_metrics_of_the_offline_evaluation(labelled):
    outputs = unpack_json(labelled, "outputs", {"score": pl.Float64()})
    numbers = unpack_json(labelled, "features", {"hour": pl.Int64()})
    online = pl.concat([labelled.select("ds", "row", "truth"), outputs, numbers], how="horizontal")
    offline = pl.DataFrame(
        [
            {
                "ds": date(2026, 3, day + 1),
                "row": number,
                "score": float((day + number) % 24) / 24 * 1.0,
                "hour": (day + number) % 24,
                "late": truth_of(day, number),
            }
            for day in range(DAYS)
            for number in range(PER_DAY)
        ],
        schema_overrides={"row": pl.Int32},
    )
    spec = EvaluationSpec(
        keys=("ds", "row"), label="late", prediction="score", slices=("hour",),
        checks=("auc >= 0.5", "brier <= 0.5"), min_rows=1,
    )  # fmt: skip
    answered = online.select("ds", "row", "score")
    told = online.select("ds", "row", "hour", pl.col("truth").cast(pl.Int64).alias("late"))
    served = evaluate_predictions(answered, told, spec)
    proved = evaluate_predictions(
        offline.select("ds", "row", "score"), offline.select("ds", "row", "hour", "late"), spec
    )
    assert served.scorecard.n_rows == DAYS * PER_DAY
    assert served.scorecard == proved.scorecard
    assert served.checks == proved.checks
