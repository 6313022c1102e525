"""Columns that say the same in many rows, as runs: each value once, and where it ends.

Of a row of the prediction log two digests and six names are its endpoint's. Written out they are
half of what goes to the disk, and most of the time that it takes. Readers get plain columns.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def in_runs(schema: pa.Schema, names: Collection[str]) -> pa.Schema:
    return pa.schema(
        [
            (one.name, pa.run_end_encoded(pa.int32(), one.type) if one.name in names else one.type)
            for one in schema
        ]
    )


def repeat(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    """The same value in each row of a column of this type, which may be one of runs.

    >>> repeat("a", pa.run_end_encoded(pa.int32(), pa.string()), 3).to_pylist()
    ['a', 'a', 'a']
    """
    if not pa.types.is_run_end_encoded(kind):
        return pa.repeat(pa.scalar(value, kind), count)
    ends = pa.array([count] if count else [], kind.run_end_type)
    return pa.RunEndEncodedArray.from_arrays(ends, pa.array([value] * len(ends), kind.value_type))


def laid_as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A plain column, as one of this type, which may be one of runs."""
    if pa.types.is_run_end_encoded(kind):
        return pc.run_end_encode(column, run_end_type=kind.run_end_type)
    return column if column.type == kind else column.cast(kind)


def plain(column: pa.Array) -> pa.Array:
    """
    >>> plain(repeat(None, pa.run_end_encoded(pa.int32(), pa.string()), 2)).to_pylist()
    [None, None]
    """
    is_runs = pa.types.is_run_end_encoded(column.type)
    return pc.run_end_decode(column) if is_runs else column


def plain_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [
            (one.name, one.type.value_type if pa.types.is_run_end_encoded(one.type) else one.type)
            for one in schema
        ]
    )
