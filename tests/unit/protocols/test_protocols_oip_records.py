"""Records against a signature with an event time and columns that are only logged."""

from __future__ import annotations

import json

import pytest

from seamline.domain.errors import InvalidInput
from seamline.protocols.oip_records import read_records
from seamline.serve.inputs.validate import rows_of
from seamline.serve.snapshots.snapshot import Column, EndpointSpec, Signature

DIGEST = "sha256:" + "a" * 64
SPEC = EndpointSpec(
    "late", "late", "1", DIGEST, DIGEST, "/w", "w", "m", "regression",
    Signature(
        (Column("hour", "INT64"), Column("carrier", "BYTES", nullable=True)),
        (Column("score", "FP64"),),
    ),
    "python",
    event_time="time_hour",
    context=(Column("time_hour", "BYTES", True), Column("tailnum", "BYTES", True)),
)  # fmt: skip


def rows(*records):
    tensors, request_id = read_records(json.dumps(list(records)).encode(), SPEC)
    assert request_id is None
    return rows_of(tensors, SPEC)


def test_what_is_not_sent_is_null_and_what_is_only_logged_is_kept_apart():
    found = rows(
        {"hour": 6, "time_hour": "2013-01-01T06:00:00Z", "tailnum": "N1"},
        {"hour": 7, "carrier": "UA", "tailnum": None},
    )
    assert found.count == 2
    assert found.columns["hour"].tolist() == [6, 7]
    assert found.columns["carrier"] == [None, "UA"]
    assert found.context["tailnum"] == ["N1", None]
    assert found.event_times == ["2013-01-01T06:00:00Z", None]
    assert rows({"hour": 6}).context == {}


@pytest.mark.parametrize("values", [[1, 2], [True, False], [1.5, 2], ["a", None]])
def test_logged_columns_keep_what_was_sent(values):
    records = [{"hour": 6, "tailnum": value} for value in values]
    context = rows(*records).context["tailnum"]
    assert (context if isinstance(context, list) else context.tolist()) == values


def test_an_event_time_has_to_be_one():
    with pytest.raises(InvalidInput, match="row 1 is 'noon'"):
        rows({"hour": 6, "time_hour": "2013-01-01"}, {"hour": 6, "time_hour": "noon"})


def test_an_input_may_be_called_rows():
    spec = EndpointSpec(
        "m", "m", "1", DIGEST, DIGEST, "/w", "w", "m", "regression",
        Signature((Column("rows", "INT64"),), (Column("y", "FP64"),)), "python",
    )  # fmt: skip
    for body in (b'{"rows": 3}', b'[{"rows": 3}]', b'{"rows": [{"rows": 3}], "id": "mine"}'):
        tensors, _ = read_records(body, spec)
        assert rows_of(tensors, spec).columns["rows"].tolist() == [3]
