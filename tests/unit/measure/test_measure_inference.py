from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.measure.casting import DType, _parse_any_datetimes, cast_series
from seamline.measure.inference import dtype_of, wider

TEXTS = [
    *("1", "-7", "007", "2.5", "1e3", "true", "False", "n/a", "12,50", ""),
    *("2013-01-01", "2013-01-01 05:00", "2013-01-01T05:00:00Z", "2013-01-01T05:00:00.25+02:00"),
]


@settings(deadline=None)
@given(
    values=st.lists(st.none() | st.sampled_from(TEXTS), max_size=10),
    cuts=st.lists(st.integers(0, 10), max_size=4),
)
def test_a_dtype_does_not_depend_on_how_values_came_in_batches(
    values: list[str | None], cuts: list[int]
) -> None:
    series = pl.Series(values, dtype=pl.String)
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    so_far: DType | None = None
    for first, end in pairwise(edges):
        so_far = dtype_of(series[first:end], parse=True, so_far=so_far)
    assert so_far == dtype_of(series, parse=True)
    if so_far is not None and so_far is not DType.STRING:
        assert cast_series(series, so_far).null_count() == series.null_count()


@given(one=st.sampled_from(DType), other=st.sampled_from(DType), third=st.sampled_from(DType))
def test_the_order_of_widening_does_not_matter(one: DType, other: DType, third: DType) -> None:
    assert wider(one, other) == wider(other, one)
    assert wider(wider(one, other), third) == wider(one, wider(other, third))
    assert wider(one, one) is one


@pytest.mark.parametrize("kind", [pl.Int8(), pl.UInt64()])
def test_typed_columns_say_it_themselves(kind: pl.DataType) -> None:
    assert dtype_of(pl.Series([1], dtype=kind), parse=False) is DType.INT
    assert dtype_of(pl.Series([], dtype=pl.Null), parse=True) is None


TIMES = [
    *(
        "2013-01-01T05:00:00Z",
        "2013-01-01 05:00",
        "2013-01-01",
        "soon",
        "2013-01-01T05:00:00+02:00",
    ),
    *("2013-01-01T05:00:00.123Z", "2013-01-01 05:00:00.5", "2013-01-01T05:00:00z", "", "Z"),
    *("2013-13-01T05:00:00Z", "2013-1-1T5:00:00Z", "2013-01-01T05:00:00ZZ", " 2013-01-01 05:00"),
    *(
        "2013-01-01T05:00:00 Z",
        "2013-01-01  05:00",
        "2013-01-01 5:00:00.12",
        "2013-01-01T05:00:60Z",
    ),
    *("2013-01-01T05:00:00.", "2013-01-01T05:00:00.1234567Z", "2013-01-01T24:00:00Z"),
]


@settings(deadline=None)
@given(texts=st.lists(st.none() | st.sampled_from(TIMES), max_size=4))
def test_the_quick_way_to_read_times_reads_what_the_exact_one_does(
    texts: list[str | None],
) -> None:
    series = pl.Series(texts, dtype=pl.String)
    assert cast_series(series, DType.DATETIME).equals(_parse_any_datetimes(series))
