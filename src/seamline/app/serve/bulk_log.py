"""The log of a batch prediction: the rows that `PredictionBatches` would write, a column at a time.

A request has few rows, and its log is written row by row; a batch has a million.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from seamline.serve.datatypes import Columns
from seamline.serve.prediction_log import SCHEMA, PredictionBatches, PredictionEntry

_DAY = r"^\d{4}-\d{2}-\d{2}"


def log_batches(entry: PredictionEntry, privacy_key: bytes) -> list[pa.RecordBatch]:
    """Private columns are hashed one by one: they go the way of a request's rows."""
    if entry.target.spec.private or not _says_days(entry.rows.event_times):
        return PredictionBatches(privacy_key)([entry])
    target, rows = entry.target, entry.rows
    count = rows.count
    times = pl.Series("event_time", rows.event_times or [None] * count, dtype=pl.String)
    frame = pl.DataFrame(
        {
            "row": pl.int_range(count, dtype=pl.Int32, eager=True),
            "event_time": times,
            "features": _json_rows(
                {
                    name: values
                    for name, values in {**rows.columns, **rows.context}.items()
                    if name not in target.spec.unlogged
                }
            ),
            "outputs": _json_rows(entry.outputs or {}),
            **_answered_by(entry),
        }
    ).with_columns(
        pl.lit(entry.prediction_id).alias("prediction_id"),
        pl.lit(entry.request_id, pl.String).alias("request_id"),
        pl.lit(entry.at).alias("at"),
        pl.col("event_time").str.slice(0, 10).str.to_date().fill_null(entry.at.date()).alias("ds"),
        pl.lit(target.environment).alias("environment"),
        pl.lit(target.spec.endpoint).alias("endpoint"),
        pl.lit(target.release).alias("release"),
        pl.lit(target.route).alias("route"),
        pl.lit(target.propensity).alias("propensity"),
        pl.lit(entry.latency_us, pl.Int64).alias("latency_us"),
        pl.lit(entry.status, pl.Int16).alias("status"),
    )
    table = frame.select(SCHEMA.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    return list(table.cast(SCHEMA).to_batches())


def _says_days(times: list[str | None] | None) -> bool:
    """ISO 8601 has other ways to write a day, too; they are read one by one."""
    return times is None or bool(pl.Series(times, dtype=pl.String).str.contains(_DAY).all())


def _answered_by(entry: PredictionEntry) -> dict[str, list[str]]:
    spec = entry.target.spec
    if spec.family is None:
        count = entry.rows.count
        return {
            "model": [spec.model] * count,
            "model_version": [spec.model_version] * count,
            "model_digest": [spec.package_digest] * count,
        }
    members = spec.family.members_of(entry.rows.columns)
    return {
        "model": [one.model for one in members],
        "model_version": [one.model_version for one in members],
        "model_digest": [one.package_digest for one in members],
    }


def _json_rows(columns: Columns) -> pl.Series:
    """One JSON object per row; NaN becomes null."""
    frame = pl.DataFrame({name: pl.Series(values) for name, values in columns.items()})
    floats = [name for name, kind in frame.schema.items() if kind.is_float()]
    plain = frame.with_columns(pl.col(name).fill_nan(None) for name in floats)
    return plain.select(pl.struct(pl.all()).struct.json_encode().alias("json")).to_series()
