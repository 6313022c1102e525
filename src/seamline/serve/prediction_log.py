"""The prediction log: one row per predicted row, written off the hot path.

May lose its last interval (100 ms) when the machine or the process dies at once, and nothing
before it. What could not be written is counted in `seamline_log_lost_rows_total`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from seamline.serve.datatypes import Columns, to_list
from seamline.serve.json_rows import RowTexts, rows_in
from seamline.serve.routing import Target
from seamline.serve.snapshot import EndpointSpec
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


#: Entries of one target that were sent and answered with the same columns are one batch.
_Group = tuple[Target, tuple[str, ...], bool]


@dataclass(frozen=True)
class PredictionBatches:
    """Turns entries into record batches; `privacy_key` keys the hashes of private columns.

    Runs in the log's thread, which the requests' own waits for: what it does, it does for all rows
    at once.
    """

    privacy_key: bytes
    _texts: dict[tuple[str, ...], RowTexts] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, entries: Sequence[PredictionEntry]) -> dict[str, list[pa.RecordBatch]]:
        groups: dict[_Group, list[PredictionEntry]] = {}
        for entry in entries:
            key = (entry.target, tuple(entry.rows.context), entry.outputs is None)
            groups.setdefault(key, []).append(entry)
        batches: dict[str, list[pa.RecordBatch]] = {}
        for (target, _, _), group in groups.items():
            batches.setdefault(target.environment, []).append(self._batch(target, group))
        return batches

    def _batch(self, target: Target, entries: list[PredictionEntry]) -> pa.RecordBatch:
        counts = [entry.rows.count for entry in entries]
        spec = target.spec
        times = [time for entry in entries for time in _times(entry)]
        columns = {
            "prediction_id": _repeat([entry.prediction_id for entry in entries], counts),
            "row": _places(counts),
            "request_id": _repeat([entry.request_id for entry in entries], counts),
            "at": _repeat([entry.at for entry in entries], counts),
            "event_time": times,
            "ds": _days(times, _repeat([entry.at for entry in entries], counts)),
            "features": self._features(entries),
            "outputs": self._outputs(entries, sum(counts)),
            "latency_us": _repeat([entry.latency_us for entry in entries], counts),
            "status": _repeat([entry.status for entry in entries], counts),
        }
        constants = {
            "environment": target.environment,
            "endpoint": spec.endpoint,
            **_answered_by(spec, entries, columns),
            "release": target.release,
            "route": target.route,
            "propensity": target.propensity,
        }
        total = sum(counts)
        arrays = [
            pa.repeat(pa.scalar(constants[one.name], one.type), total)
            if one.name in constants
            else pa.array(columns[one.name], one.type)
            for one in SCHEMA
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)

    def _features(self, entries: list[PredictionEntry]) -> pa.StringArray:
        private = entries[0].target.spec.private
        parts = []
        for entry in entries:
            part = entry.rows.columns
            if entry.rows.context:
                part = {**part, **entry.rows.context}
            parts.append(self._hidden(part, private) if private else part)
        return self._texts_of(parts)

    def _outputs(self, entries: list[PredictionEntry], total: int) -> pa.StringArray:
        answered = [entry.outputs for entry in entries if entry.outputs is not None]
        return self._texts_of(answered) if answered else pa.nulls(total, pa.string())

    def _texts_of(self, parts: Sequence[Columns]) -> pa.StringArray:
        names = tuple(parts[0])
        texts = self._texts.get(names)
        if texts is None:
            texts = self._texts[names] = RowTexts(names)
        return texts.encode(rows_in(parts))

    def _hidden(self, columns: Columns, private: Sequence[str]) -> Columns:
        hidden: Columns = {
            name: [self._hide(value) for value in to_list(columns[name])]
            for name in private
            if name in columns
        }
        return {**columns, **hidden}

    def _hide(self, value: Any) -> str | None:
        """The same value gives the same hash, so it can be counted and joined, not read."""
        if value is None:
            return None
        hashed = hashlib.blake2b(str(value).encode(), key=self.privacy_key, digest_size=16)
        return f"private:{hashed.hexdigest()}"


def _answered_by(
    spec: EndpointSpec, entries: list[PredictionEntry], columns: dict[str, Any]
) -> dict[str, str]:
    """Of one model as constants; of many each row's into `columns`."""
    family = spec.family
    if family is None:
        return {
            "model": spec.model,
            "model_version": spec.model_version,
            "model_digest": spec.package_digest,
        }
    members = [one for entry in entries for one in family.members_of(entry.rows.columns)]
    columns["model"] = [one.model for one in members]
    columns["model_version"] = [one.model_version for one in members]
    columns["model_digest"] = [one.package_digest for one in members]
    return {}


def _repeat(values: list[Any], counts: list[int]) -> list[Any]:
    if len(values) == sum(counts):
        return values
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def _places(counts: list[int]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """
    >>> _places([2, 1, 3]).tolist()
    [0, 1, 0, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    return (np.arange(ends[-1]) - np.repeat(ends - counts, counts)).astype(np.int32)


def _times(entry: PredictionEntry) -> list[str | None]:
    return entry.rows.event_times or [None] * entry.rows.count


def _days(times: list[str | None], arrived: list[datetime]) -> list[date]:
    """The day of the event, as the caller wrote it; of the arrival (UTC) where it is unknown."""
    return [
        at.date() if time is None else datetime.fromisoformat(time).date()
        for time, at in zip(times, arrived, strict=True)
    ]
