"""Short ways through a request: what they take, they take as the long way does."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.serve.datatypes import DTYPES, as_arrays, join_rows, to_list
from seamline.serve.inputs.quick_rows import MAX_ROWS, QuickReader
from seamline.serve.inputs.quick_rules import QuickRules
from seamline.serve.inputs.validate import Tensor, rows_of
from seamline.serve.snapshots.input_rules import InputRule, check_inputs
from seamline.serve.snapshots.snapshot import Column, EndpointSpec, Signature

COLUMNS = (
    Column("hour", "INT64"),
    Column("delay", "INT64", nullable=True),
    Column("temp", "FP64"),
    Column("wind", "FP64", nullable=True),
    Column("carrier", "BYTES", nullable=True),
    Column("origin", "BYTES"),
    Column("late", "BOOL"),
)
CONTEXT = (Column("tailnum", "BYTES", nullable=True), Column("at", "BYTES", nullable=True))
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([1])
)
GOOD = {
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "FP64": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9)),
    "BYTES": st.text(max_size=4),
    "BOOL": st.booleans(),
}


def spec_of(columns, **more):
    spec = EndpointSpec(
        "e", "m", "1", "sha256:" + "0" * 64, "", "", "", "m", "regression",
        Signature(columns, (Column("y", "FP64"),)), "python", context=CONTEXT,
    )  # fmt: skip
    return dataclasses.replace(spec, **more)


def by_the_long_way(tensors, spec):
    try:
        return rows_of(tensors, spec)
    except InvalidInput:
        return None


def assert_same(quick, whole):
    """The long way must take it, too, in the same order and types."""
    assert whole is not None
    assert (quick.count, quick.event_times) == (whole.count, whole.event_times)
    for mine, its in ((quick.columns, whole.columns), (quick.context, whole.context)):
        assert list(mine) == list(its)
        for name in mine:
            mine_listed, its_listed = to_list(mine[name]), to_list(its[name])
            assert list(map(type, mine_listed)) == list(map(type, its_listed))
            for one, other in zip(mine_listed, its_listed, strict=True):
                assert one == other or (math.isnan(one) and math.isnan(other))


@st.composite
def requests(draw):
    count = draw(st.integers(1, 3))
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True))
    tensors = []
    for column in draw(st.permutations([*columns, *draw(st.sampled_from([(), CONTEXT]))])):
        values = GOOD[column.datatype]
        if column.nullable or draw(st.integers(0, 9)) == 0:
            values = st.one_of(st.none(), values)
        if draw(st.integers(0, 19)) == 0:
            values = ODD
        data = draw(st.lists(values, min_size=count, max_size=count))
        shape = draw(st.sampled_from([[count], [count], [count, 1], [count + 1], []]))
        odd = draw(st.sampled_from([column.datatype] * 9 + ["FP32", "INT8", "x"]))
        tensors.append(Tensor(column.name, odd, shape, data))
    return columns, tensors


@given(requests(), st.sampled_from([None, "at"]))
@example(([COLUMNS[2]], [Tensor("temp", "FP64", [2], [1.7e308, 1.7e308])]), None)
def test_named_columns_come_out_as_by_the_long_way(request, event_time):
    columns, tensors = request
    spec = spec_of(tuple(columns), event_time=event_time)
    whole = by_the_long_way(tensors, spec)
    try:
        quick = QuickReader(spec).read(tensors)
    except InvalidInput:
        assert whole is None  # an event time that is none
        return
    if quick is not None:
        assert_same(quick, whole)


@given(
    st.lists(st.sampled_from(["FP64", "INT64", "BOOL"]), min_size=1, max_size=4),
    st.lists(
        st.lists(st.one_of(GOOD["FP64"], ODD), min_size=4, max_size=4), min_size=1, max_size=3
    ),
    st.booleans(),
    st.sampled_from(["FP64", "INT64", "FP32"]),
)
def test_a_matrix_comes_out_as_by_the_long_way(kinds, rows, is_nested, datatype):
    spec = spec_of(tuple(Column(f"c{at}", kind) for at, kind in enumerate(kinds)))
    rows = [row[: len(kinds)] for row in rows]
    data = rows if is_nested else [value for row in rows for value in row]
    tensors = [Tensor("x", datatype, [len(rows), len(kinds)], data)]
    quick = QuickReader(spec).read(tensors)
    try:
        whole = by_the_long_way(tensors, spec)
    except (ValueError, TypeError):
        assert quick is None
        return
    if quick is not None:
        assert_same(quick, whole)


def test_ordinary_requests_take_the_short_way():
    reader = QuickReader(spec_of(COLUMNS, event_time="at"))
    values = {"INT64": 5, "FP64": 1.5, "BYTES": "UA", "BOOL": True}
    tensors = [
        Tensor(one.name, one.datatype, [1], [values[one.datatype]])
        for one in (*COLUMNS, CONTEXT[0])
    ]
    tensors.append(Tensor("at", "BYTES", [1], ["2013-07-09T12:00:00Z"]))
    rows = reader.read(tensors)
    assert rows is not None
    assert rows.event_times == ["2013-07-09T12:00:00Z"]
    numbers = QuickReader(spec_of((COLUMNS[0], COLUMNS[2])))
    assert numbers.read([Tensor("x", "FP64", [2, 2], [1, 2.5, 3.0, 4])]).columns == {
        "hour": [1, 3],
        "temp": [2.5, 4.0],
    }


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("temp", "FP64", [MAX_ROWS + 1], [1.0] * (MAX_ROWS + 1)),
        Tensor("temp", "FP64", [1], np.array([1.0])),
        Tensor("temp", "FP64", [1], [float("inf")]),
        Tensor("temp", "FP64", [1], [None]),
        Tensor("temp", "FP64", [1], [10**400]),
    ],
)
def test_all_else_is_left_to_the_long_way(tensor):
    assert QuickReader(spec_of((COLUMNS[2],))).read([tensor]) is None


RULES = st.lists(
    st.builds(
        InputRule,
        st.sampled_from([one.name for one in COLUMNS]),
        low=st.one_of(st.none(), st.integers(-3, 3)),
        high=st.one_of(st.none(), st.integers(-3, 3)),
        values=st.one_of(st.none(), st.just(("UA", "B6", "1"))),
        nullable=st.booleans(),
        dtype=st.sampled_from(["", "int", "float", "string", "bool", "date"]),
        pattern=st.sampled_from([None, None, None, "[A-Z]+"]),
        missing=st.sampled_from([(), ("NA",)]),
    ),
    max_size=3,
)


@given(RULES, st.data())
def test_rules_that_are_kept_for_certain_are_kept(rules, data):
    values = {
        "INT64": st.integers(-4, 4),
        "FP64": st.one_of(st.just(math.nan), st.floats(-4, 4)),
        "BYTES": st.sampled_from(["UA", "B6", "NA", "x", None]),
        "BOOL": st.booleans(),
    }
    columns = {
        column.name: data.draw(st.lists(values[column.datatype], min_size=2, max_size=2))
        for column in COLUMNS
    }
    datatypes = {column.name: column.datatype for column in COLUMNS}
    assume(QuickRules(rules).are_kept(columns))
    assert check_inputs(as_arrays(columns, datatypes), rules) == []


def test_ordinary_rules_are_decided_at_once():
    rules = [
        InputRule("hour", low=0, high=23, dtype="int"),
        InputRule("carrier", values=("UA",), dtype="string"),
    ]
    quick = QuickRules(rules)
    assert quick.are_kept({"hour": [5], "carrier": ["UA"]})
    assert quick.are_kept({"hour": [5], "carrier": [None]})
    assert not quick.are_kept({"hour": [24], "carrier": ["UA"]})
    assert not quick.are_kept({"hour": [5], "carrier": ["XX"]})
    assert not quick.are_kept({"hour": np.array([5]), "carrier": ["UA"]})


@given(st.lists(st.one_of(st.lists(st.integers(-9, 9), max_size=3), st.just("array")), min_size=1))
def test_parts_of_both_kinds_join_in_order(parts):
    held = [np.array([7, 8], DTYPES["INT64"]) if one == "array" else one for one in parts]
    joined = join_rows([{"n": one} for one in held])["n"]
    assert to_list(joined) == [value for one in held for value in to_list(one)]
    if "array" in parts:
        assert isinstance(joined, np.ndarray)
        assert joined.dtype == DTYPES["INT64"]
