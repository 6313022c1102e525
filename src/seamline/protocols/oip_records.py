"""Rows as plain JSON records, for whoever has no tensors: validated by name, answered as rows.

`[{"hour": 6, …}, …]`, one record alone, or `{"rows": […], "id": "mine"}`. A column that may be
null may also be left out.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from seamline.domain.errors import InvalidInput, nearest
from seamline.serve.datatypes import DTYPES, TEXT, Columns, to_list
from seamline.serve.inputs.validate import MAX_ROWS, PYTHON_TYPES, Tensor, TooLarge
from seamline.serve.predict import Prediction
from seamline.serve.snapshots.snapshot import Column, EndpointSpec

_WRAPPED = {"rows", "id"}


def read_records(body: bytes, spec: EndpointSpec) -> tuple[list[Tensor], str | None]:
    """(a tensor per column, the caller's id). InvalidInput names the row and the column."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The request cannot be read: {error}.") from error
    records, request_id = _unwrap(found, spec)
    if not records:
        raise InvalidInput("The request has no rows.", next_step="Send at least one record.")
    if len(records) > MAX_ROWS:
        raise TooLarge(
            f"The request has {len(records)} rows; at most {MAX_ROWS} are answered at once.",
            next_step="Send fewer rows per request.",
        )
    inputs = [(column, True) for column in spec.signature.inputs]
    columns = inputs + [(column, False) for column in spec.context]
    known = {column.name for column, _ in columns}
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            raise InvalidInput(f"Row {row} is no record but {_kind(record)}.")
        if not record.keys() <= known:
            name = sorted(record.keys() - known)[0]
            raise InvalidInput(
                f"Row {row}: there is no input {name!r}.", next_step=nearest(name, known)
            )
    tensors = [_column(records, column, is_input) for column, is_input in columns]
    return [tensor for tensor in tensors if tensor is not None], request_id


def write_records(prediction: Prediction, request_id: str | None) -> bytes:
    """Row i of the answer belongs to row i of the request."""
    spec = prediction.target.spec
    outputs: Columns = {
        column.name: prediction.outputs[column.name] for column in spec.signature.outputs
    }
    values = {name: _plain(one) for name, one in outputs.items()}
    count = len(next(iter(values.values())))
    reply: dict[str, Any] = {
        "model_name": spec.endpoint,
        "model_version": spec.model_version,
        "release": prediction.target.release,
        "prediction_id": prediction.id,
        "rows": [
            {
                "prediction_id": f"{prediction.id}:{row}",
                "outputs": {name: column[row] for name, column in values.items()},
            }
            for row in range(count)
        ],
    }
    if request_id is not None:
        reply["id"] = request_id
    return msgspec.json.encode(reply)


def _unwrap(found: Any, spec: EndpointSpec) -> tuple[list[Any], str | None]:
    if isinstance(found, list):
        return found, None
    if not isinstance(found, dict):
        raise InvalidInput(
            f"The request is {_kind(found)}.", next_step="Send a record, or a list of records."
        )
    names = {column.name for column in (*spec.signature.inputs, *spec.context)}
    if "rows" not in found or ("rows" in names and not isinstance(found["rows"], list)):
        return [found], None
    extra = sorted(found.keys() - _WRAPPED)
    if extra:
        raise InvalidInput(f"{extra[0]!r} stands beside rows.", next_step="Known: rows, id.")
    rows, request_id = found["rows"], found.get("id")
    if not isinstance(rows, list):
        raise InvalidInput(f"rows is {_kind(rows)}.", next_step="Send a list of records.")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInput(f"id is {_kind(request_id)}.", next_step="Send text.")
    return rows, request_id


def _column(records: list[dict[str, Any]], column: Column, is_input: bool) -> Tensor | None:
    """None for a context column that no record holds."""
    name = column.name
    data = [record.get(name) for record in records]
    if not is_input and all(name not in record for record in records):
        return None
    if None in data and not column.nullable:
        row = data.index(None)
        what = "null" if name in records[row] else "missing"
        raise InvalidInput(f"Row {row}: {name!r} is {what}; the model takes no nulls there.")
    if column.datatype == TEXT:
        return Tensor(name, _context_datatype(data, is_input), [len(data)], data)
    allowed = _allowed(column.datatype)
    if not set(map(type, data)) <= allowed | {type(None)}:
        row = next(
            at for at, one in enumerate(data) if one is not None and type(one) not in allowed
        )
        raise InvalidInput(
            f"Row {row}: {name!r} takes {column.datatype}; it is {_kind(data[row])} "
            f"{_shown(data[row])}."
        )
    return Tensor(name, column.datatype, [len(data)], data)


def _context_datatype(data: list[Any], is_input: bool) -> str:
    """What is only logged, and declared as text, is kept as it was sent."""
    kinds = {type(one) for one in data if one is not None}
    if is_input or not kinds or str in kinds:
        return TEXT
    if kinds == {bool}:
        return "BOOL"
    return "INT64" if kinds == {int} else "FP64" if kinds <= {int, float} else TEXT


def _allowed(datatype: str) -> set[type]:
    return set(PYTHON_TYPES[DTYPES[datatype].kind])


def _plain(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else to_list(values)


def _kind(value: Any) -> str:
    """As JSON calls it.

    >>> _kind([]), _kind(None), _kind(1.5)
    ('a list', 'null', 'a number')
    """
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean"}
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
