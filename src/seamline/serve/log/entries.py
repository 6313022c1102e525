"""What the prediction log is given for each request, kept small until it is written.

Thousands of requests wait for the next commit. As they came, in a list for each column, they would
fill the processor's caches, to every request's cost: so a request of one row is turned into JSON
at once, while its values are at hand.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from seamline.serve.datatypes import Columns, to_list
from seamline.serve.flat_rows import FlatRows
from seamline.serve.inputs.validate import Rows
from seamline.serve.routing import Target

_ENCODE = msgspec.json.Encoder().encode


class PredictionEntry(NamedTuple):
    """One request: `outputs` is None when the model failed."""

    target: Target
    prediction_id: str
    request_id: str | None
    at: datetime
    rows: Rows
    outputs: Columns | None
    latency_us: int
    status: int
    #: W3C's, where the caller sent one or the request is traced.
    trace_id: str | None = None
    #: Who asked; None where no token was asked for.
    principal: str | None = None


class PackedEntry(NamedTuple):
    """One request of one row; `features` and `outputs` as JSON."""

    target: Target
    prediction_id: str
    request_id: str | None
    at: datetime
    features: bytes
    outputs: bytes | None
    event_time: str | None
    latency_us: int
    status: int
    trace_id: str | None
    principal: str | None


Entry = PredictionEntry | PackedEntry


def pack_entry(
    target: Target,
    prediction_id: str,
    request_id: str | None,
    at: datetime,
    rows: Rows,
    outputs: Columns | None,
    latency_us: int,
    status: int,
    trace_id: str | None = None,
    principal: str | None = None,
) -> Entry:
    """Packed, unless it has more rows, or the log's thread needs its columns."""
    spec = target.spec
    if rows.count != 1 or spec.private or spec.unlogged or spec.family is not None:
        return PredictionEntry(
            target, prediction_id, request_id, at, rows, outputs, latency_us, status, trace_id,
            principal,
        )  # fmt: skip
    return PackedEntry(
        target,
        prediction_id,
        request_id,
        at,
        _features(rows),
        None if outputs is None else _pack(outputs),
        rows.event_times[0] if rows.event_times else None,
        latency_us,
        status,
        trace_id,
        principal,
    )


def place_of_entry(entry: Entry) -> tuple[str, int]:
    """Environment, and how many rows."""
    rows = 1 if isinstance(entry, PackedEntry) else entry.rows.count
    return entry.target.environment, rows


def _features(rows: Rows) -> bytes:
    given = rows.given
    if type(given) is not FlatRows:
        return _ENCODE({**_first_row(rows.columns), **_first_row(rows.context)})
    if not rows.context:
        return given.layout.pack(given.cells)
    named = dict(zip(given.layout.names, given.cells, strict=True))
    return _ENCODE({**named, **_first_row(rows.context)})


def _pack(columns: Columns) -> bytes:
    return _ENCODE(_first_row(columns))


def _first_row(columns: Columns) -> dict[str, Any]:
    return {
        name: values[0] if type(values) is list else to_list(values)[0]
        for name, values in columns.items()
    }
