"""A request against a signature: each way to be wrong has its own sentence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from seamline.domain.errors import InvalidInput
from seamline.serve.inputs.validate import Tensor, rows_of
from seamline.serve.snapshots.snapshot import Column, Signature


@pytest.fixture
def spec(workspace):
    return workspace.endpoint()


@pytest.fixture
def numeric(spec):
    columns = (Column("hour", "INT64"), Column("temp", "FP64", nullable=True))
    signature = Signature(columns, spec.signature.outputs)
    return dataclasses.replace(spec, signature=signature)


def tensors(**changes):
    base = {
        "hour": Tensor("hour", "INT64", [2], [6, 20]),
        "carrier": Tensor("carrier", "BYTES", [2], ["UA", None]),
        "temp": Tensor("temp", "FP64", [2], [1, None]),
    }
    return [tensor for tensor in {**base, **changes}.values() if tensor is not None]


def test_columns_leave_in_the_signature_s_order_and_types(spec):
    rows = rows_of(list(reversed(tensors())), spec)
    assert list(rows.columns) == ["hour", "carrier", "temp"]
    assert rows.columns["hour"].dtype == np.int64
    assert rows.columns["carrier"] == ["UA", None]
    assert rows.columns["temp"].tolist()[0] == 1.0
    assert np.isnan(rows.columns["temp"][1])
    assert rows.count == 2
    assert rows.event_times is None


@pytest.mark.parametrize(
    ("shape", "data"), [([2, 1], [6, 20]), ([2, 1], [[6], [20]]), ([2], [6, 20])]
)
def test_flat_or_nested(spec, shape, data):
    rows = rows_of(tensors(hour=Tensor("hour", "INT64", shape, data)), spec)
    assert rows.columns["hour"].tolist() == [6, 20]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hour": Tensor("houre", "INT64", [2], [6, 20])}, "Did you mean hour?"),
        ({"hour": None}, "Missing inputs: hour."),
        ({"hour": Tensor("hour", "INT65", [2], [6, 20])}, "Did you mean INT64?"),
        ({"hour": Tensor("hour", "FP64", [2], [6, 20])}, "is FP64; the model takes INT64"),
        ({"hour": Tensor("hour", "INT64", [2], [6, 20.5])}, "holds 20.5"),
        ({"hour": Tensor("hour", "INT64", [2], [6, "20"])}, "holds '20'"),
        ({"hour": Tensor("hour", "INT64", [2], [6, 2**70])}, "values beyond INT64"),
        ({"hour": Tensor("hour", "INT64", [2], [6, True])}, "holds True"),
        ({"hour": Tensor("hour", "INT8", [2], [6, 200])}, "values beyond INT8"),
        ({"hour": Tensor("hour", "INT64", [2], [6])}, "has 1 values; its shape [2] wants 2"),
        ({"hour": Tensor("hour", "INT64", [2, 2], [[1, 2], [3, 4]])}, "send [2] or [2, 1]"),
        ({"hour": Tensor("hour", "INT64", [2, 1], [[1], [2, 3]])}, "differ in length"),
        ({"hour": Tensor("hour", "INT64", [1], [6])}, "differ in their number of rows"),
        ({"hour": Tensor("hour", "INT64", [2], [6, None])}, "null (or NaN) in row 1"),
        ({"temp": Tensor("temp", "FP64", [2], [1.0, float("inf")])}, "infinite in row 1"),
        ({"temp": Tensor("temp", "FP32", [2], [1.0, 1e300])}, "infinite in row 1"),
        ({"carrier": Tensor("carrier", "BYTES", [2], ["UA", 3])}, "takes text; row 1 is 3"),
        ({"time_hour": Tensor("time_hour", "BYTES", [2], ["noon", None])}, "row 0 is 'noon'"),
        ({"x": Tensor("x", "INT64", [2], [1, 2])}, "There is no input 'x'"),
        ({"x": Tensor("hour", "INT64", [2], [1, 2])}, "sent twice"),
    ],
)
def test_each_fault_is_named(spec, changes, says):
    with pytest.raises(InvalidInput) as caught:
        rows_of(tensors(**changes), spec)
    assert says in str(caught.value)


def test_no_rows(spec):
    with pytest.raises(InvalidInput, match="no rows"):
        rows_of([Tensor("hour", "INT64", [0], [])], spec)


def test_lossless_widening_is_taken(spec):
    sent = Tensor("hour", "INT8", [2], np.array([6, 20], np.int8))
    assert rows_of(tensors(hour=sent), spec).columns["hour"].dtype == np.int64


def test_context_is_kept_apart_in_whatever_type(spec):
    sent = {
        "time_hour": Tensor("time_hour", "BYTES", [2], ["2013-12-01T05:00:00Z", None]),
        "tailnum": Tensor("tailnum", "INT32", [2], [7, 8]),
    }
    rows = rows_of(tensors(**sent), spec)
    assert "tailnum" not in rows.columns
    assert rows.context["tailnum"].tolist() == [7, 8]
    assert rows.event_times == ["2013-12-01T05:00:00Z", None]


def test_one_matrix_for_an_all_numeric_signature(numeric):
    rows = rows_of([Tensor("x", "FP64", [2, 2], [[6, 0.5], [20, None]])], numeric)
    assert rows.columns["hour"].tolist() == [6, 20]
    assert rows.columns["temp"].tolist()[0] == 0.5
    assert np.isnan(rows.columns["temp"][1])


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (Tensor("x", "FP64", [2, 3], [0.0] * 6), "has 3 columns; the model takes 2: hour, temp"),
        (Tensor("x", "FP64", [1, 2], [6.5, 0]), "'hour' takes INT64; it holds fractions"),
        (Tensor("x", "FP64", [1, 2], [None, 0]), "'hour' is null"),
        (Tensor("x", "BYTES", [1, 2], ["6", "0"]), "is BYTES; the model takes numbers"),
        (Tensor("x", "FP64", [1, 2], np.array([np.nan, 1.0])), "'hour'"),
    ],
)
def test_faults_of_a_matrix(numeric, tensor, says):
    with pytest.raises(InvalidInput) as caught:
        rows_of([tensor], numeric)
    assert says in str(caught.value)


def test_a_matrix_cannot_hold_text(spec):
    with pytest.raises(InvalidInput, match="also takes text"):
        rows_of([Tensor("x", "FP64", [1, 3], [1.0, 2.0, 3.0])], spec)


def test_a_column_that_may_be_null_may_be_left_out(spec):
    """Callers of a model that did not have it yet are answered by the one that has."""
    rows = rows_of(tensors(temp=None, carrier=None), spec)
    assert list(rows.columns) == ["hour", "carrier", "temp"]
    assert rows.columns["carrier"] == [None, None]
    assert np.isnan(rows.columns["temp"]).all()
