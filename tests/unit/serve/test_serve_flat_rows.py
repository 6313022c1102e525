"""Rows that are one list are the columns that they stand for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seamline.serve.datatypes import to_list
from seamline.serve.flat_rows import FlatRows, RowLayout, columns_of, join_given

LAYOUT = RowLayout(["hour", "temp"])
ROWS = st.lists(st.tuples(st.integers(-9, 9), st.floats(-9, 9)), min_size=1, max_size=3)
KINDS = st.sampled_from(["flat", "lists", "arrays"])


def given_as(kind, rows):
    if kind == "flat":
        return FlatRows(LAYOUT, [value for row in rows for value in row])
    columns = {name: [row[at] for row in rows] for at, name in enumerate(LAYOUT.names)}
    if kind == "lists":
        return columns
    return {name: np.array(values) for name, values in columns.items()}


@given(st.lists(st.tuples(KINDS, ROWS), min_size=1, max_size=4))
def test_parts_of_all_kinds_join_in_order(parts):
    joined = columns_of(join_given([given_as(kind, rows) for kind, rows in parts]))
    wanted = [row for _, rows in parts for row in rows]
    assert list(joined) == ["hour", "temp"]
    assert list(zip(*map(to_list, joined.values()), strict=True)) == wanted
