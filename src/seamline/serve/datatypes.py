"""Open Inference Protocol datatypes, and how a tensor of each lies in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: OIP datatype → NumPy dtype, little-endian on the wire (BYTES has none: it is text).
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
TEXT = "BYTES"
DATATYPES = frozenset({*DTYPES, TEXT})

#: One value per row for each name: an array where every value is there, else a list, with None for
#: what is not. Of a few rows it may be a list either way.
Values = np.ndarray[Any, np.dtype[Any]] | list[Any]
Columns = dict[str, Values]


def fits(sent: str, wanted: str) -> bool:
    """Whether values declared as `sent` may stand in a column of `wanted` without loss.

    >>> fits("FP32", "FP64"), fits("INT64", "FP64"), fits("FP64", "INT64"), fits("BOOL", "INT64")
    (True, True, False, False)
    """
    if sent == wanted:
        return True
    if TEXT in (sent, wanted) or "BOOL" in (sent, wanted):
        return False
    return np.can_cast(DTYPES[sent], DTYPES[wanted], "safe")


def take_rows(columns: Columns, start: int, stop: int) -> Columns:
    return {name: values[start:stop] for name, values in columns.items()}


def join_rows(parts: list[Columns]) -> Columns:
    """Parts that hold the same columns, one after another."""
    if len(parts) == 1:
        return parts[0]
    if all(type(values) is list for part in parts for values in part.values()):
        return {name: [one for part in parts for one in part[name]] for name in parts[0]}
    return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _join(parts: list[Values]) -> Values:
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if arrays and len(arrays) < len(parts):
        # Short requests hold lists: a long one beside them stays an array.
        dtype, lists = arrays[0].dtype, [part for part in parts if isinstance(part, list)]
        if not any(None in part for part in lists):
            arrays = [np.asarray(part, dtype) for part in parts]
    if len(arrays) == len(parts):
        return np.concatenate(arrays)
    return [value for part in parts for value in to_list(part)]


def as_arrays(columns: Columns, datatypes: Mapping[str, str]) -> Columns:
    """Lists of numbers without nulls become arrays of their datatype."""
    return {
        name: np.array(values, DTYPES[datatypes[name]])
        if isinstance(values, list) and datatypes[name] in DTYPES and None not in values
        else values
        for name, values in columns.items()
    }


def to_list(values: Values) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else values
