"""What a plane elsewhere sends is taken once, and only what a plane of its environment writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from seamline.app.serve.far.giving import receive_segment
from seamline.domain.clock import SystemClock, new_id
from seamline.domain.errors import Refused
from seamline.serve.log.prediction_log import FOLDER, SCHEMA, SEGMENT_SCHEMA
from seamline.serve.log.runs import laid_as
from seamline.serve.log.tables import read_predictions
from seamline.server import ControlPlane


def segment(schema: pa.Schema, **said: Any) -> bytes:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    row = {"prediction_id": "p", "row": 0, "at": at, "ds": at.date(), "environment": "production"}
    plain = pa.Table.from_pylist([{**row, **said}], SCHEMA).combine_chunks()
    columns = [laid_as(plain.column(one.name).chunk(0), one.type) for one in schema]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return sink.getvalue().to_pybytes()


def send(plane: ControlPlane, data: bytes) -> None:
    name = new_id(SystemClock()) + ".arrows"
    receive_segment(plane.platform, "production", FOLDER, name, data)


@pytest.mark.parametrize("schema", [SCHEMA, SEGMENT_SCHEMA], ids=["written out", "in runs"])
def test_of_planes_of_any_age(plane: ControlPlane, schema: pa.Schema) -> None:
    older = pa.schema([one for one in schema if one.name != "features_from"])
    send(plane, segment(schema, model="late"))
    send(plane, segment(older, model="late"))
    assert read_predictions(plane.platform.stores, "production")["model"].to_list() == ["late"] * 2


def test_no_row_of_a_dataset_here_is_named_from_elsewhere(plane: ControlPlane) -> None:
    with pytest.raises(Refused, match="refers to rows of this server's datasets"):
        send(plane, segment(SEGMENT_SCHEMA, features_from='{"dataset":"secret@1"}'))
    with pytest.raises(Refused, match="holds rows of staging"):
        send(plane, segment(SEGMENT_SCHEMA, environment="staging"))
    assert read_predictions(plane.platform.stores, "production").is_empty()
