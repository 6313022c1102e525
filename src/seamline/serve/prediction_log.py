"""The prediction log: one row per predicted row, written off the hot path.

May lose its last interval (100 ms) when the machine or the process dies at once, and nothing
before it. What could not be written is counted in `seamline_log_lost_rows_total`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from seamline.serve.datatypes import Columns, Values, to_list
from seamline.serve.routing import Target
from seamline.serve.validate import Rows

INTERVAL_S = 0.1
FOLDER = "predictions"

SCHEMA = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("row", pa.int32()),
        ("request_id", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("event_time", pa.string()),
        ("ds", pa.date32()),
        ("environment", pa.string()),
        ("endpoint", pa.string()),
        ("model", pa.string()),
        ("model_version", pa.string()),
        ("model_digest", pa.string()),
        ("release", pa.string()),
        ("route", pa.string()),
        ("propensity", pa.float64()),
        ("features", pa.string()),
        ("outputs", pa.string()),
        ("latency_us", pa.int64()),
        ("status", pa.int16()),
    ]
)


@dataclass(frozen=True, eq=False, slots=True)
class PredictionEntry:
    """One request: `outputs` is None when the model failed."""

    target: Target
    prediction_id: str
    request_id: str | None
    at: datetime
    rows: Rows
    outputs: Columns | None
    latency_us: int
    status: int


@dataclass(frozen=True)
class PredictionBatches:
    """Turns entries into record batches; `privacy_key` keys the hashes of private columns."""

    privacy_key: bytes

    def __call__(self, entries: Sequence[PredictionEntry]) -> dict[str, list[pa.RecordBatch]]:
        by_target: dict[Target, list[PredictionEntry]] = {}
        for entry in entries:
            by_target.setdefault(entry.target, []).append(entry)
        batches: dict[str, list[pa.RecordBatch]] = {}
        for target, group in by_target.items():
            batches.setdefault(target.environment, []).append(self._batch(target, group))
        return batches

    def _batch(self, target: Target, entries: list[PredictionEntry]) -> pa.RecordBatch:
        counts = [entry.rows.count for entry in entries]
        spec = target.spec
        columns = {
            "prediction_id": _repeat([entry.prediction_id for entry in entries], counts),
            "row": np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
            "request_id": _repeat([entry.request_id for entry in entries], counts),
            "at": _repeat([entry.at for entry in entries], counts),
            "event_time": [time for entry in entries for time in _times(entry)],
            "ds": [day for entry in entries for day in _days(entry)],
            "features": [text for entry in entries for text in self._features(entry)],
            "outputs": [text for entry in entries for text in _outputs(entry)],
            "latency_us": _repeat([entry.latency_us for entry in entries], counts),
            "status": _repeat([entry.status for entry in entries], counts),
        }
        constants = {
            "environment": target.environment,
            "endpoint": spec.endpoint,
            "model": spec.model,
            "model_version": spec.model_version,
            "model_digest": spec.package_digest,
            "release": target.release,
            "route": target.route,
            "propensity": target.propensity,
        }
        total = sum(counts)
        arrays = [
            pa.repeat(pa.scalar(constants[field.name], field.type), total)
            if field.name in constants
            else pa.array(columns[field.name], field.type)
            for field in SCHEMA
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)

    def _features(self, entry: PredictionEntry) -> list[str]:
        columns: dict[str, Values] = {**entry.rows.columns, **entry.rows.context}
        for name in entry.target.spec.private:
            if name in columns:
                columns[name] = [self._hide(value) for value in to_list(columns[name])]
        return _json_rows(columns)

    def _hide(self, value: Any) -> str | None:
        """The same value gives the same hash, so it can be counted and joined, not read."""
        if value is None:
            return None
        hashed = hashlib.blake2b(str(value).encode(), key=self.privacy_key, digest_size=16)
        return f"private:{hashed.hexdigest()}"


def load_or_create_privacy_key(path: Path) -> bytes:
    """32 random bytes, readable by the owner only; made once, by whoever comes first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
        ) as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    return path.read_bytes()


def _repeat(values: list[Any], counts: list[int]) -> list[Any]:
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def _times(entry: PredictionEntry) -> list[str | None]:
    return entry.rows.event_times or [None] * entry.rows.count


def _days(entry: PredictionEntry) -> list[date]:
    """The day of the event, as the caller wrote it; of the arrival (UTC) where it is unknown."""
    return [
        entry.at.date() if time is None else datetime.fromisoformat(time).date()
        for time in _times(entry)
    ]


def _outputs(entry: PredictionEntry) -> list[str] | list[None]:
    return [None] * entry.rows.count if entry.outputs is None else _json_rows(entry.outputs)


def _json_rows(columns: Columns) -> list[str]:
    """One JSON object per row; NaN becomes null."""
    names = list(columns)
    rows = zip(*(to_list(values) for values in columns.values()), strict=True)
    encode = msgspec.json.Encoder().encode
    return [encode(dict(zip(names, row, strict=True))).decode() for row in rows]
