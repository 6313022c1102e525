"""Profiles: the whole is exactly the sum of its parts, whatever the parts."""

from __future__ import annotations

import json
import math
from datetime import date
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.measure.basis import Basis, ColumnBasis, Kind, make_basis, quantile_edges
from seamline.measure.exact import exact_sum
from seamline.measure.profiles import (
    Profile,
    add_profiles,
    profile_frame,
    profile_partitions,
    sum_profiles,
)

floats = st.floats(allow_nan=True, allow_infinity=True, width=64)
rows = st.lists(
    st.tuples(
        st.none() | floats,
        st.none() | st.integers(-(2**40), 2**40),
        st.none() | st.sampled_from(["UA", "DL", "12,50", "7", "1.5", "yes", "2013-07-09", "é"]),
        st.none() | st.booleans(),
        st.none() | st.dates(date(1900, 1, 1), date(2100, 1, 1)),
        st.sampled_from(["d1", "d2", "d3"]),
    ),
    max_size=60,
)
SCHEMA = {
    "f": pl.Float64,
    "i": pl.Int64,
    "s": pl.String,
    "b": pl.Boolean,
    "t": pl.Date,
    "day": pl.String,
}


def _frame(values: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(values, schema=SCHEMA, orient="row")


@settings(max_examples=80, deadline=None)
@given(first=rows, values=rows)
def test_the_sum_of_the_partitions_is_the_whole(first, values) -> None:
    frame, basis = _frame(values), make_basis(_frame(first))
    whole = profile_frame(frame, basis)
    parts = profile_partitions(frame, basis, "day")
    assert sum_profiles([profile_frame(frame.head(0), basis), *parts.values()]) == whole
    for name, column in whole.columns.items():
        assert sum(column.counts) == column.present, name
        assert len(column.counts) == basis.columns[name].n_cells
    text = json.dumps(whole.to_json(), allow_nan=False)
    assert Profile.from_json(json.loads(text), basis) == whole


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e140, 1e140), max_size=50))
def test_exact_sums_equal_rational_arithmetic(values) -> None:
    assert exact_sum(np.array(values, np.float64)) == sum(map(Fraction, values))


def test_order_does_not_change_a_single_byte_of_a_profile() -> None:
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"x": rng.normal(size=40_000) * 10.0 ** rng.integers(-9, 9, 40_000)})
    basis = make_basis(frame)
    shuffled = profile_frame(frame.sample(fraction=1, shuffle=True, seed=2), basis)
    assert shuffled.to_json() == profile_frame(frame, basis).to_json()


def test_moments_and_range_agree_with_numpy_far_from_zero() -> None:
    values = 1.7e9 + np.random.default_rng(1).normal(size=5000)
    frame = pl.DataFrame({"x": values})
    column = profile_frame(frame, make_basis(frame)).columns["x"]
    assert math.isclose(column.mean, values.mean(), rel_tol=1e-15)
    assert math.isclose(column.std, values.std(), rel_tol=1e-9)
    assert (column.low, column.high) == (values.min(), values.max())


def test_bins_count_what_numpy_histogram_counts() -> None:
    rng = np.random.default_rng(2)
    basis = make_basis(pl.DataFrame({"x": rng.normal(size=10_000)}))
    edges = basis.columns["x"].edges
    assert len(edges) == 65
    window = rng.normal(1, 2, size=3000)
    counts = profile_frame(pl.DataFrame({"x": window}), basis).columns["x"].counts
    assert list(counts[1:-1]) == np.histogram(window, edges)[0].tolist()
    assert counts[0] == (window < edges[0]).sum() and counts[-1] == (window >= edges[-1]).sum()


def test_heavy_ties_get_a_bin_of_their_own() -> None:
    values = np.concatenate([np.zeros(7000), np.random.default_rng(3).uniform(0, 9, 3000)])
    edges = quantile_edges(np.sort(values))
    counts = np.histogram(values, edges)[0]
    assert counts[0] == 7000
    assert len(edges) <= 66 and counts[1:].max() <= 2 * 10_000 / 64


def test_the_largest_double_has_no_edge_above_it() -> None:
    largest = float(np.finfo(np.float64).max)
    assert quantile_edges(np.array([1.0, largest])) == (1.0, largest)


def test_constants_and_empty_columns_have_a_basis() -> None:
    frame = pl.DataFrame({"c": [3.0, 3.0, None], "e": [None, None, None]})
    profile = profile_frame(frame, make_basis(frame))
    assert profile.columns["c"].counts == (0, 2, 0)
    assert profile.columns["e"].missing == 3


def test_numbers_that_became_text_are_counted_as_mistyped_and_shaped() -> None:
    basis = make_basis(pl.DataFrame({"distance": [1.0, 2.0, 3.0]}))
    frame = pl.DataFrame({"distance": ["1.5", "2", "n/a", "12,50", None, "EUR 20"]})
    column = profile_frame(frame, basis).columns["distance"]
    assert (column.missing, column.mistyped, column.present) == (1, 3, 2)
    assert dict(column.shapes) == {"integer": 1, "float": 1, "decimal_comma": 1, "text": 2}
    assert (column.shortest, column.longest) == (1, 6)


def test_mostly_unique_strings_are_text_and_many_categories_keep_the_top_200() -> None:
    ids = [f"id-{i}" for i in range(1000)]
    many = [f"c{i % 400}" for i in range(999)] + ["c7"]
    basis = make_basis(pl.DataFrame({"id": ids, "many": many}))
    assert basis.columns["id"] == ColumnBasis(Kind.TEXT)
    assert len(basis.columns["many"].values) == 200
    frame = pl.DataFrame({"id": ids, "many": many})
    assert profile_frame(frame, basis).columns["many"].counts[-1] > 0


def test_a_basis_survives_json_and_its_digest_ignores_column_order() -> None:
    frame = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "y"], "t": [date(2026, 1, 1)] * 3})
    basis = make_basis(frame)
    again = Basis.from_json(json.loads(json.dumps(basis.to_json(), allow_nan=False)))
    assert again == basis and again.digest == basis.digest
    assert make_basis(frame.select("t", "b", "a")).digest == basis.digest
    assert make_basis(frame.head(2)).digest != basis.digest


def test_profiles_of_different_bases_or_columns_do_not_add() -> None:
    frame = pl.DataFrame({"a": [1, 2, 3], "b": [1, 1, 1]})
    basis, other = make_basis(frame), make_basis(frame.head(2))
    a = profile_frame(frame, basis)
    with pytest.raises(InvalidInput, match="different bases"):
        add_profiles(a, profile_frame(frame, other))
    with pytest.raises(InvalidInput, match="only one has b"):
        add_profiles(a, profile_frame(frame.select("a"), basis))
    with pytest.raises(InvalidInput, match="counted on basis"):
        Profile.from_json(a.to_json(), other)
    with pytest.raises(InvalidInput, match="no profile"):
        sum_profiles([])


def test_lists_are_counted_by_presence_only() -> None:
    frame = pl.DataFrame({"l": [[1], None, [2, 3]]})
    column = profile_frame(frame, make_basis(frame)).columns["l"]
    assert (column.rows, column.missing, column.counts) == (3, 1, (2,))


def test_partitions_take_labels_from_a_series_and_name_the_missing_one() -> None:
    frame = pl.DataFrame({"x": [1, 2, 3]})
    days = pl.Series([date(2026, 1, 1), None, date(2026, 1, 1)])
    parts = profile_partitions(frame, make_basis(frame), days)
    assert {day: part.rows for day, part in parts.items()} == {"(missing)": 1, "2026-01-01": 2}
