"""The log of a batch prediction: the rows that `PredictionBatches` would write, a column at a time.

A request has few rows, and its log is written row by row; a batch has a million.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from seamline.serve.datatypes import Columns
from seamline.serve.log.columns import json_rows
from seamline.serve.log.prediction_log import (
    SCHEMA,
    SEGMENT_SCHEMA,
    PredictionBatches,
    PredictionEntry,
)
from seamline.serve.log.runs import in_runs, laid_as, plain, repeat

#: Of what a segment of a batch has in runs, this is one value in each chunk.
_OF_CHUNK = ("prediction_id", "request_id", "at", "latency_us", "status", "trace_id", "principal")
BULK_SCHEMA = in_runs(
    SCHEMA,
    [*_OF_CHUNK, *(one.name for one in SEGMENT_SCHEMA if one.type != SCHEMA.field(one.name).type)],
)
_DAY = r"^\d{4}-\d{2}-\d{2}"


def log_batches(
    entry: PredictionEntry, privacy_key: bytes, features_from: str | None = None
) -> list[pa.RecordBatch]:
    """Private columns are hashed one by one: they go the way of a request's rows.

    `features_from`: where the features lie; they are not logged then.
    """
    if entry.target.spec.private or not _says_days(entry.rows.event_times):
        return [_laid(one, features_from) for one in PredictionBatches(privacy_key)([entry])]
    target, rows, count = entry.target, entry.rows, entry.rows.count
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(count, dtype=np.int32)),
        "features": None if features_from is not None else _json_rows(_logged(entry)),
        "features_from": features_from,
        "outputs": _json_rows(entry.outputs or {}),
        "prediction_id": entry.prediction_id,
        "request_id": entry.request_id,
        "at": entry.at,
        "event_time": None,
        "ds": entry.at.date(),
        "environment": target.environment,
        "endpoint": target.spec.endpoint,
        "release": target.release,
        "route": target.route,
        "propensity": target.propensity,
        "latency_us": entry.latency_us,
        "status": entry.status,
        "trace_id": entry.trace_id,
        "principal": entry.principal,
        "plane": None,
        **_answered_by(entry),
    }
    if rows.event_times is not None:
        times = pl.Series(rows.event_times, dtype=pl.String)
        columns["event_time"] = times.to_arrow(compat_level=pl.CompatLevel.oldest())
        days = times.str.slice(0, 10).str.to_date().fill_null(entry.at.date())
        columns["ds"] = days.to_arrow()
    arrays = [_array(columns[one.name], one.type, count) for one in BULK_SCHEMA]
    return [pa.RecordBatch.from_arrays(arrays, schema=BULK_SCHEMA)]


def _logged(entry: PredictionEntry) -> Columns:
    sent = {**entry.rows.columns, **entry.rows.context}
    return {name: one for name, one in sent.items() if name not in entry.target.spec.unlogged}


def _laid(batch: pa.RecordBatch, features_from: str | None) -> pa.RecordBatch:
    columns = {name: plain(batch.column(name)) for name in batch.schema.names}
    if features_from is not None:
        columns["features"] = pa.nulls(batch.num_rows, pa.string())
        columns["features_from"] = pa.repeat(pa.scalar(features_from), batch.num_rows)
    arrays = [laid_as(columns[one.name], one.type) for one in BULK_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=BULK_SCHEMA)


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    """A value that all rows have is repeated."""
    if isinstance(values, pa.Array):
        return laid_as(values, kind)
    if isinstance(values, list):
        return laid_as(pa.array(values), kind)
    return repeat(values, kind, count)


def _says_days(times: list[str | None] | None) -> bool:
    """ISO 8601 has other ways to write a day, too; they are read one by one."""
    return times is None or bool(pl.Series(times, dtype=pl.String).str.contains(_DAY).all())


def _answered_by(entry: PredictionEntry) -> dict[str, str | list[str]]:
    spec = entry.target.spec
    if spec.family is None:
        return {
            "model": spec.model,
            "model_version": spec.model_version,
            "model_digest": spec.package_digest,
        }
    members = spec.family.members_of(entry.rows.columns)
    return {
        "model": [one.model for one in members],
        "model_version": [one.model_version for one in members],
        "model_digest": [one.package_digest for one in members],
    }


def _json_rows(columns: Columns) -> pa.Array:
    frame = pl.DataFrame({name: pl.Series(values) for name, values in columns.items()})
    return json_rows(frame).to_arrow(compat_level=pl.CompatLevel.oldest())
