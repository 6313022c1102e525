"""The plane's end of the frames that `worker_main.py` describes."""

from __future__ import annotations

import asyncio
from array import array
from typing import Any

import msgspec
import numpy as np

from seamline.serve.datatypes import DTYPES, Columns, Values, to_list
from seamline.serve.flat_rows import FlatRows, Given, columns_of
from seamline.serve.snapshots.snapshot import Column
from seamline.serve.workers.wire import LENGTHS

#: Twice what a worker lets a model answer, so that it is the worker that says so.
LARGEST_FRAME_BYTES = 128 << 20
#: Those that packages have, in the standard library's words: cheaper than NumPy for a few values.
_CODES = {"FP64": "d", "INT64": "q"}


class NoFrame(Exception):
    """What a worker sent cannot be read."""


def pack_rows(given: Given, inputs: tuple[Column, ...], rows: int) -> tuple[dict[str, Any], bytes]:
    """(header, body) of a prediction. Numbers travel raw: floats alone as one matrix, else column
    by column; text, and integers with nulls, travel as JSON."""
    if isinstance(given, FlatRows) and _are_floats(given, inputs):
        return {"op": "predict", "rows": rows, "flat": True}, array("d", given.cells).tobytes()
    columns = columns_of(given)
    raw: list[tuple[str, str, int]] = []
    as_json: dict[str, list[Any]] = {}
    parts: list[bytes] = []
    for column in inputs:
        values = columns[column.name]
        if column.datatype in DTYPES and (isinstance(values, np.ndarray) or None not in values):
            data = _raw(values, column.datatype)
            raw.append((column.name, column.datatype, len(data)))
            parts.append(data)
        else:
            as_json[column.name] = to_list(values)
    return {"op": "predict", "rows": rows, "raw": raw, "json": as_json}, b"".join(parts)


def _are_floats(given: FlatRows, inputs: tuple[Column, ...]) -> bool:
    return given.layout.names == tuple(one.name for one in inputs if one.datatype == "FP64")


def _raw(values: Values, datatype: str) -> bytes:
    if isinstance(values, np.ndarray):
        return values.tobytes()
    code = _CODES.get(datatype)
    return array(code, values).tobytes() if code else np.array(values, DTYPES[datatype]).tobytes()


async def read_frame(stream: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """Raises asyncio.IncompleteReadError when the worker is gone, NoFrame when what it sends is
    not to be understood: nobody can say then where the next one begins."""
    header_length, body_length = LENGTHS.unpack(await stream.readexactly(LENGTHS.size))
    if header_length + body_length > LARGEST_FRAME_BYTES:
        raise NoFrame(f"it announced {header_length + body_length} bytes")
    text, body = await stream.readexactly(header_length), await stream.readexactly(body_length)
    try:
        return msgspec.json.decode(text, type=dict[str, Any]), body
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoFrame(str(error)) from error


def decode_outputs(header: dict[str, Any], body: bytes) -> Columns:
    outputs: Columns = dict(header["json"])
    start = 0
    for name, datatype, size, shape in header["raw"]:
        values = np.frombuffer(body, DTYPES[datatype], size // DTYPES[datatype].itemsize, start)
        outputs[name] = values.reshape(shape)
        start += size
    return outputs
