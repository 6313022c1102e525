"""Rows as they travel to a worker: what it reads is what was asked."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from seamline.serve.flat_rows import FlatRows, RowLayout
from seamline.serve.snapshots.families import Column
from seamline.serve.workers.frames import NoFrame, decode_outputs, pack_rows, read_frame
from seamline.serve.workers.wire import LENGTHS
from seamline.serve.workers.worker_main import FORMATS, Tensors

FLOATS = (Column("b", "FP64"), Column("a", "FP64"))
MIXED = (*FLOATS, Column("hour", "INT64"), Column("carrier", "BYTES"))


@pytest.fixture(params=[True, False], ids=["numpy", "bare"])
def tensors(request) -> Tensors:
    """Of a worker whose model brings NumPy, and of one whose model does not."""
    found = Tensors()
    if not request.param:
        found.numpy = None
    return found


def travelled(tensors: Tensors, given, inputs, rows: int) -> dict[str, list]:
    header, body = pack_rows(given, inputs, rows)
    named = [(column.name, column.datatype) for column in inputs]
    columns = tensors.of_frame(header, bytearray(body), named)
    return {name: list(values) for name, values in columns.items()}


def test_rows_of_floats_travel_as_one_matrix(tensors):
    given = FlatRows(RowLayout(["b", "a"]), [1.0, 2.0, 3.0, 4.0, 5.0, -0.0])
    assert pack_rows(given, FLOATS, 3)[0] == {"op": "predict", "rows": 3, "flat": True}
    assert travelled(tensors, given, FLOATS, 3) == {"b": [1.0, 3.0, 5.0], "a": [2.0, 4.0, -0.0]}


def test_what_is_missing_stays_missing(tensors):
    given = FlatRows(RowLayout(["b", "a"]), [math.nan, math.inf])
    told = travelled(tensors, given, FLOATS, 1)
    assert math.isnan(told["b"][0])
    assert told["a"] == [math.inf]


def test_rows_of_several_types_travel_by_column(tensors):
    given = FlatRows(RowLayout(["b", "a", "hour", "carrier"]), [1.0, 2.0, 5, "AA"])
    wanted = {"b": [1.0], "a": [2.0], "hour": [5], "carrier": ["AA"]}
    assert travelled(tensors, given, MIXED, 1) == wanted


def test_halves_travel_raw_infinite_ones_too(tensors):
    """JSON has no numbers for them."""
    half = (Column("h", "FP16"),)
    given = {"h": np.array([0.5, math.inf], np.float16)}
    header, _ = pack_rows(given, half, 2)
    assert (header["json"], header["raw"]) == ({}, [("h", "FP16", 4)])
    assert travelled(tensors, given, half, 2) == {"h": [0.5, math.inf]}
    shape, data = tensors.encode(FORMATS["FP16"], given["h"])
    found = decode_outputs({"json": {}, "raw": [["h", "FP16", len(data), shape]]}, data)
    assert found["h"].tolist() == [0.5, math.inf]


def test_a_model_that_takes_fewer_columns_gets_its_own(tensors):
    """Of many models behind one endpoint the key columns only choose."""
    given = FlatRows(RowLayout(["key", "b", "a"]), [7.0, 1.0, 2.0])
    assert travelled(tensors, given, FLOATS, 1) == {"b": [1.0], "a": [2.0]}


def test_a_model_may_change_what_it_was_given():
    given = FlatRows(RowLayout(["b", "a"]), [1.0, 2.0, 3.0, 4.0])
    header, body = pack_rows(given, FLOATS, 2)
    columns = Tensors().of_frame(header, bytearray(body), [("b", "FP64"), ("a", "FP64")])
    assert isinstance(columns["a"], np.ndarray)
    assert columns["a"].flags.c_contiguous
    columns["a"] += 1.0
    assert columns["b"].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"op":"\xff"}', b'{"a":NaN}'])
def test_a_header_that_cannot_be_read_is_no_frame(text):
    """Whoever gets this ends the worker; anything else would be taken for a broken data plane."""

    async def run():
        stream = asyncio.StreamReader()
        stream.feed_data(LENGTHS.pack(len(text), 0) + text)
        await read_frame(stream)

    with pytest.raises(NoFrame):
        asyncio.run(run())
