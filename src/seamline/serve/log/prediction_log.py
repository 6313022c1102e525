"""The prediction log: one row per predicted row, written off the hot path.

May lose its last interval (at most 100 ms, on a disk that flushes within half of them) when the
machine or the process dies at once, and nothing before it. What is lost otherwise is counted in
`seamline_log_lost_rows_total`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seamline.serve.datatypes import Columns, to_list
from seamline.serve.inputs.validate import Rows
from seamline.serve.log.entries import Entry, PackedEntry, PredictionEntry
from seamline.serve.log.json_rows import RowTexts, join_packed
from seamline.serve.log.runs import in_runs, laid_as, repeat
from seamline.serve.routing import Target
from seamline.serve.snapshots.snapshot import EndpointSpec

#: What gathers for so long is written and flushed in one go, which takes time, too.
INTERVAL_S = 0.05
FOLDER = "predictions"
__all__ = [
    "FOLDER",
    "HASHED",
    "INTERVAL_S",
    "SCHEMA",
    "SEGMENT_SCHEMA",
    "PredictionBatches",
    "PredictionEntry",
]
#: How the hash of a private value begins.
HASHED = "private:"
_DAY = r"^\d{4}-\d{2}-\d{2}$"

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
        ("trace_id", pa.string()),
        ("principal", pa.string()),
        ("plane", pa.string()),
        # Where `features` is null: the rows of a dataset version that a batch answered.
        ("features_from", pa.string()),
    ]
)
#: Those that the rows of an endpoint have in common, mostly.
_COMMON = (
    "environment", "endpoint", "model", "model_version", "model_digest", "release", "route",
    "propensity", "features_from", "plane",
)  # fmt: skip
#: As rows lie in a segment.
SEGMENT_SCHEMA = in_runs(SCHEMA, _COMMON)


@dataclass(frozen=True)
class PredictionBatches:
    """Turns entries of one environment into record batches; `privacy_key` keys the hashes of
    private columns, `plane` names the machine of a data plane elsewhere.

    Runs in the log's thread, which the requests' own waits for: what it does, it does for all rows
    at once.
    """

    privacy_key: bytes
    plane: str | None = None
    _texts: dict[tuple[str, ...], RowTexts] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, entries: Sequence[Entry]) -> list[pa.RecordBatch]:
        packed: defaultdict[object, list[PackedEntry]] = defaultdict(list)
        groups: defaultdict[object, list[PredictionEntry]] = defaultdict(list)
        for entry in entries:
            # Those of one target that were sent and answered with the same columns are one batch.
            failed = entry.outputs is None
            if isinstance(entry, PackedEntry):
                packed[(entry.target, failed) if failed else entry.target].append(entry)
            else:
                groups[entry.target, failed, *entry.rows.context].append(entry)
        return [
            *(_packed_batch(group, self.plane) for group in packed.values()),
            *(self._batch(group) for group in groups.values()),
        ]

    def _batch(self, entries: list[PredictionEntry]) -> pa.RecordBatch:
        targets, ids, request_ids, moments, rows, outputs, latencies, statuses, traces, who = zip(
            *entries, strict=True
        )
        target: Target = targets[0]
        counts = [one.count for one in rows]
        total = sum(counts)
        told = _told(ids, request_ids, moments, latencies, statuses, traces, who)
        if total != len(entries):
            places = pa.array(np.repeat(np.arange(len(entries)), counts))
            told = {name: column.take(places) for name, column in told.items()}
        times = _times(rows)
        return _to_batch(
            target,
            {
                **told,
                **_members(target.spec, rows),
                "row": pa.array(_places(counts)),
                "event_time": times,
                "ds": _days(times, told["at"]),
                "features": self._texts_of(self._logged(rows, target.spec)),
                "outputs": None if outputs[0] is None else self._texts_of(outputs),
            },
            total,
            self.plane,
        )

    def _logged(self, rows: Sequence[Rows], spec: EndpointSpec) -> Sequence[Columns]:
        """What was sent, as far as it is kept."""
        if rows[0].context:
            parts = [{**one.columns, **one.context} for one in rows]
        else:
            parts = [one.columns for one in rows]
        if spec.private or spec.unlogged:
            return [self._hidden(part, spec) for part in parts]
        return parts

    def _texts_of(self, parts: Sequence[Columns]) -> pa.StringArray:
        names = tuple(parts[0])
        texts = self._texts.get(names)
        if texts is None:
            texts = self._texts[names] = RowTexts(names)
        return texts.encode(parts)

    def _hidden(self, columns: Columns, spec: EndpointSpec) -> Columns:
        return {
            name: [self._hide(value) for value in to_list(values)]
            if name in spec.private
            else values
            for name, values in columns.items()
            if name not in spec.unlogged
        }

    def _hide(self, value: Any) -> str | None:
        """The same value gives the same hash, so it can be counted and joined, not read."""
        if value is None:
            return None
        hashed = hashlib.blake2b(str(value).encode(), key=self.privacy_key, digest_size=16)
        return f"{HASHED}{hashed.hexdigest()}"


def _packed_batch(entries: list[PackedEntry], plane: str | None) -> pa.RecordBatch:
    (
        targets, ids, request_ids, moments, features, outputs, times, latencies, statuses, traces,
        who,
    ) = zip(*entries, strict=True)  # fmt: skip
    total = len(entries)
    told = _told(ids, request_ids, moments, latencies, statuses, traces, who)
    event_times = None if times.count(None) == total else pa.array(times, pa.string())
    return _to_batch(
        targets[0],
        {
            **told,
            "row": pa.array(np.zeros(total, np.int32)),
            "event_time": event_times,
            "ds": _days(event_times, told["at"]),
            "features": join_packed(features),
            "outputs": None if outputs[0] is None else join_packed(outputs),
        },
        total,
        plane,
    )


def _told(
    ids: Sequence[str],
    request_ids: Sequence[str | None],
    moments: Sequence[datetime],
    latencies: Sequence[int],
    statuses: Sequence[int],
    traces: Sequence[str | None],
    principals: Sequence[str | None],
) -> dict[str, pa.Array]:
    """What is one value for each request."""
    columns: dict[str, Any] = {
        "prediction_id": ids,
        "request_id": request_ids,
        "at": _micros(moments),
        "latency_us": latencies,
        "status": statuses,
        "trace_id": traces,
        "principal": principals,
    }
    return {name: pa.array(one, SCHEMA.field(name).type) for name, one in columns.items()}


def _micros(moments: Sequence[datetime]) -> np.ndarray[Any, np.dtype[np.int64]]:
    seconds = np.fromiter(map(datetime.timestamp, moments), np.float64, len(moments))
    return np.rint(seconds * 1e6).astype(np.int64)


def _to_batch(
    target: Target, columns: Mapping[str, pa.Array | None], total: int, plane: str | None
) -> pa.RecordBatch:
    """What is not among the columns is one value of the target; a column of None is all nulls."""
    spec = target.spec
    constants = {
        "environment": target.environment,
        "endpoint": spec.endpoint,
        "model": spec.model,
        "model_version": spec.model_version,
        "model_digest": spec.package_digest,
        "release": target.release,
        "route": target.route,
        "propensity": target.propensity,
        "plane": plane,
    }
    arrays = []
    for one in SEGMENT_SCHEMA:
        found = columns.get(one.name)
        if found is None:
            arrays.append(repeat(constants.get(one.name), one.type, total))
        else:
            arrays.append(laid_as(found, one.type))
    return pa.RecordBatch.from_arrays(arrays, schema=SEGMENT_SCHEMA)


def _members(spec: EndpointSpec, rows: Sequence[Rows]) -> dict[str, pa.Array]:
    """Of many models behind one name: which answered each row."""
    family = spec.family
    if family is None:
        return {}
    members = [member for one in rows for member in family.members_of(one.columns)]
    return {
        "model": pa.array([one.model for one in members]),
        "model_version": pa.array([one.model_version for one in members]),
        "model_digest": pa.array([one.package_digest for one in members]),
    }


def _places(counts: list[int]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """
    >>> _places([2, 1, 3]).tolist()
    [0, 1, 0, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    return (np.arange(ends[-1]) - np.repeat(ends - counts, counts)).astype(np.int32)


def _times(rows: Sequence[Rows]) -> pa.StringArray | None:
    if all(one.event_times is None for one in rows):
        return None
    told = (one.event_times or [None] * one.count for one in rows)
    return pa.array(list(chain.from_iterable(told)), pa.string())


def _days(times: pa.StringArray | None, arrived: pa.TimestampArray) -> pa.Date32Array:
    """The day of the event, as the caller wrote it; of the arrival (UTC) where it is unknown.

    >>> at = pa.array([datetime(2026, 3, 4)], pa.timestamp("us", "UTC"))
    >>> [str(_days(pa.array([time]), at)[0]) for time in ("2026-03-01T23:30-05:00", "2026-W10-1")]
    ['2026-03-01', '2026-03-02']
    """
    days = arrived.cast(pa.date32())
    if times is None:
        return days
    # Thousands of rows are of a few days: each day is read once.
    written = pc.utf8_slice_codeunits(times, 0, 10)
    if not pc.all(pc.match_substring_regex(written, _DAY)).as_py():
        written = times
    distinct = written.dictionary_encode()
    read = [
        None if one is None else datetime.fromisoformat(one).date()
        for one in distinct.dictionary.to_pylist()
    ]
    return pc.coalesce(pa.array(read, pa.date32()).take(distinct.indices), days)
