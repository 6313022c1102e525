"""Rows of a table as an endpoint takes them: checked as a request's rows are.

Control-plane side: the data plane never imports this file (Polars is heavy).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from seamline.domain.errors import InvalidInput, NotFound, nearest
from seamline.serve.datatypes import DTYPES, TEXT
from seamline.serve.inputs.validate import Rows, Tensor, rows_of
from seamline.serve.snapshots.snapshot import Column, EndpointSpec

_SENT_AS = {kind: name for name, kind in DTYPES.items()}
_ISO = "%Y-%m-%dT%H:%M:%S%.f"


def columns_read(spec: EndpointSpec, known: list[str]) -> list[str]:
    """Those of a table's columns that the endpoint takes or logs. Raises NotFound, naming the
    nearest, where one that it cannot do without is missing."""
    for column in spec.signature.inputs:
        if column.name not in known and not column.nullable:
            raise NotFound(
                f"The rows have no column {column.name!r}, which {spec.endpoint} takes.",
                next_step=f"{nearest(column.name, known)} Or make it: --query 'SELECT …'.",
            )
    named = [*(one.name for one in spec.signature.inputs), *(one.name for one in spec.context)]
    return [name for name in named if name in known]


def rows_of_frame(frame: pl.DataFrame, spec: EndpointSpec, where: str) -> Rows:
    """As `rows_of` of a request; InvalidInput also says where the rows are."""
    columns = (*spec.signature.inputs, *spec.context)
    try:
        return rows_of(
            [_tensor(frame[one.name], one) for one in columns if one.name in frame.columns], spec
        )
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error.message}", next_step=error.next_step) from error


def _tensor(series: pl.Series, column: Column) -> Tensor:
    if column.datatype == TEXT:
        return Tensor(column.name, TEXT, [len(series)], text_of(series))
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise InvalidInput(
            f"Column {column.name!r} is {series.dtype}; the model takes {column.datatype}."
        )
    if series.null_count() and DTYPES[column.datatype].kind == "f":
        series = series.cast(pl.Float64).fill_null(np.nan)
    if series.null_count():
        sent = "BOOL" if series.dtype == pl.Boolean else "INT64"
        return Tensor(column.name, sent, [len(series)], series.to_list())
    values: np.ndarray[Any, Any] = series.to_numpy()
    return Tensor(column.name, _SENT_AS.get(values.dtype, "FP64"), [len(series)], values)


def text_of(series: pl.Series) -> list[Any]:
    """Times in ISO 8601, as callers send them."""
    if isinstance(series.dtype, pl.Datetime):
        zone = "%:z" if series.dtype.time_zone else ""
        return series.dt.strftime(_ISO + zone).to_list()
    return series.cast(pl.String).to_list()
