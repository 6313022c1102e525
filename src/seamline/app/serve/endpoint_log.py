"""What an endpoint answered lately, as the prediction log has it: this outlives the data plane.

Batch predictions are in the log, too; they are nobody's requests, but may have feedback: they count
in its share where all of them could be read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from seamline.app.platform import Platform
from seamline.domain.clock import iso
from seamline.serve.log.newest_rows import BATCH, newest_feedback, newest_predictions

WINDOW = timedelta(hours=1)
#: Feedback comes late: its share is of what was answered in this time.
FEEDBACK_WINDOW = timedelta(days=1)
SHOWN_PREDICTIONS = 20
ANSWERED = 200
_LIGHT = ("prediction_id", "row", "request_id", "at", "route", "latency_us", "status", "plane")
_SHOWN = (
    *_LIGHT, "features", "outputs", "model", "model_version", "release", "trace_id", "principal",
)  # fmt: skip


def read_endpoint_log(platform: Platform, environment: str, endpoint: str) -> dict[str, Any]:
    """`figures` and `minutes` of the last hour, `feedback`, and the `recent` predictions; each says
    since when, for no more than the newest rows of the log are read."""
    now = platform.stores.clock.now()
    newest = newest_predictions(platform.stores, environment)
    mine = pl.col("endpoint") == endpoint
    rows = newest.pick(mine, _LIGHT).sort("at", "prediction_id", "row")
    online = rows.filter(pl.col("route") != BATCH)
    said, feedback_since = newest_feedback(platform.stores, environment, rows)
    last = online.tail(SHOWN_PREDICTIONS)
    is_last = pl.col("prediction_id").is_in(last["prediction_id"].implode())
    shown = newest.pick(mine & is_last, _SHOWN)
    keys = ["prediction_id", "row"]
    recent = (
        last.select(keys)
        .join(shown, on=keys, how="left", maintain_order="left")
        .join(said, on=keys, how="left", maintain_order="left")
        .reverse()
    )
    since = max(now - WINDOW, newest.since or now - WINDOW)
    requests = online.filter(pl.col("row") == 0, pl.col("at") > since)
    return {
        "hour_began": iso(now - WINDOW),
        "figures": figures_of(requests, since, now),
        "minutes": minutes_of(requests, now),
        "feedback": _feedback_share(
            online if newest.batch_since else rows, said, now, [newest.since, feedback_since]
        ),
        "recent": [_prediction(one) for one in recent.iter_rows(named=True)],
        "read_rows": online.height,
        "read_since": newest.since and iso(newest.since),
    }


def figures_of(requests: pl.DataFrame, since: datetime, now: datetime) -> dict[str, Any]:
    """Of one row per request; latency of those that were answered."""
    failed = requests.filter(pl.col("status") != ANSWERED)
    by_status = failed.group_by("status").len().sort("status")
    elsewhere = requests.drop_nulls("plane").group_by("plane").len().sort("plane")
    answered = requests.filter(pl.col("status") == ANSWERED)["latency_us"]
    seconds = max((now - since).total_seconds(), 1e-3)
    return {
        "since": iso(since),
        "requests": requests.height,
        "per_second": requests.height / seconds,
        "elsewhere": dict(elsewhere.iter_rows()),
        "failed": failed.height,
        "failed_by_status": {str(status): count for status, count in by_status.iter_rows()},
        "latency_s": {
            f"p{share}": None if answered.is_empty() else _quantile(answered, share)
            for share in (50, 95, 99)
        },
    }


def minutes_of(requests: pl.DataFrame, now: datetime) -> list[dict[str, Any]]:
    """Each minute of the window in which somebody asked."""
    is_answered = pl.col("status") == ANSWERED
    latency = pl.col("latency_us").filter(is_answered)
    found = (
        requests.filter(pl.col("at") <= now)
        .group_by((now - pl.col("at")).dt.total_minutes().alias("ago"))
        .agg(
            pl.len().alias("requests"),
            (~is_answered).sum().alias("failed"),
            latency.quantile(0.5, "nearest").alias("p50"),
            latency.quantile(0.95, "nearest").alias("p95"),
        )
        .sort("ago", descending=True)
    )
    return [
        {
            "at": iso(now - timedelta(minutes=one["ago"] + 1)),
            "requests": one["requests"],
            "failed": one["failed"],
            "p50_s": None if one["p50"] is None else one["p50"] / 1e6,
            "p95_s": None if one["p95"] is None else one["p95"] / 1e6,
        }
        for one in found.iter_rows(named=True)
    ]


def _quantile(latency_us: pl.Series, percent: int) -> float:
    found = latency_us.quantile(percent / 100, "nearest")
    assert found is not None
    return found / 1e6


def _feedback_share(
    rows: pl.DataFrame, said: pl.DataFrame, now: datetime, read: list[datetime | None]
) -> dict[str, Any]:
    """Rows answered, and those among them with feedback, since when all of both were read."""
    since = max([now - FEEDBACK_WINDOW, *(one for one in read if one is not None)])
    answered = rows.filter(pl.col("status") == ANSWERED, pl.col("at") > since)
    with_feedback = answered.join(said, on=["prediction_id", "row"], how="semi").height
    return {"since": iso(since), "rows": answered.height, "with_feedback": with_feedback}


def _prediction(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{row['prediction_id']}:{row['row']}",
        "at": iso(row["at"]),
        "request_id": row["request_id"],
        "trace_id": row["trace_id"],
        "principal": row["principal"],
        "plane": row["plane"],
        "features": json.loads(row["features"]),
        "outputs": None if row["outputs"] is None else json.loads(row["outputs"]),
        "latency_s": row["latency_us"] / 1e6,
        "status": row["status"],
        "model": row["model"],
        "model_version": row["model_version"],
        "release": row["release"],
        "feedback": None
        if row["feedback_at"] is None
        else {
            "at": iso(row["feedback_at"]),
            "truth": None if row["truth"] is None else json.loads(row["truth"]),
            "reward": row["reward"],
            "principal": row["feedback_by"],
            "plane": row["feedback_plane"],
        },
    }
