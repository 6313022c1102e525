"""Profiles: the whole is exactly the sum of its parts, whatever the parts."""

from __future__ import annotations

import json
import math
from datetime import date
from fractions import Fraction
from functools import reduce

import numpy as np
import polars as pl
import pytest
import rfc8785
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
    profile_runs,
    sum_profiles,
)
from seamline.measure.sketches import Sketch
from seamline.measure.texts import FEW_TEXTS, LENGTH_EDGES, find_shapes

floats = st.floats(allow_nan=True, allow_infinity=True, width=64)
WORDS = st.sampled_from(["UA", "DL", "12,50", "7", "1.5", "yes", "2013-07-09", "é", "9 €", "n/a"])
rows = st.lists(
    st.tuples(
        st.none() | floats,
        st.none() | st.integers(-(2**40), 2**40),
        st.none() | WORDS | st.text(max_size=5),
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


@settings(max_examples=50, deadline=None)
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


@settings(max_examples=30, deadline=None)
@given(values=rows, n=st.integers(1, 5), random=st.randoms())
def test_any_split_in_any_order_and_any_grouping_adds_up(values, n, random) -> None:
    """Every column as text, too, on the basis that it had as it was typed."""
    frame = _frame(values)
    basis = make_basis(frame)
    for one in (frame, frame.cast(pl.String)):
        whole = profile_frame(one, basis)
        shuffled = list(range(frame.height))
        random.shuffle(shuffled)
        parts = [profile_frame(one[shuffled[i::n]], basis) for i in range(n)]
        assert sum_profiles(parts) == whole
        assert reduce(add_profiles, parts) == whole
        assert reduce(lambda a, b: add_profiles(b, a), reversed(parts)) == whole


@settings(max_examples=30, deadline=None)
@given(values=rows)
def test_a_profile_counts_what_a_person_would_count(values) -> None:
    frame = _frame(values)
    columns = profile_frame(frame, make_basis(frame)).columns
    for name in ("i", "s", "b", "t", "day"):
        present = frame[name].drop_nulls()
        assert columns[name].distinct == present.n_unique(), name
        assert columns[name].distinct_is_exact
    texts = frame["s"].drop_nulls()
    assert sum(columns["s"].lengths) == len(texts)
    assert sum(n for _, n in columns["s"].shapes) == len(texts)
    lengths = [len(text) for text in texts]
    assert columns["s"].shortest == min(lengths, default=None)
    for i, edge in enumerate(LENGTH_EDGES[:6] if lengths else ()):
        assert columns["s"].lengths[i] == lengths.count(edge)


def test_partitions_of_any_order_are_profiled_as_if_alone() -> None:
    """Large ones as well, where the cheap ways are taken."""
    rng = np.random.default_rng(4)
    n = 60_000
    frame = pl.DataFrame(
        {
            "x": rng.normal(size=n),
            "sparse": pl.Series(rng.normal(size=n)).set(pl.Series(rng.random(n) < 0.1), None),
            "whole": rng.integers(0, 30, n),
            "word": [f"w{i}" for i in rng.integers(0, 5000, n)],
            "id": [f"id-{i}" for i in range(n)],
            "flag": rng.random(n) < 0.3,
            "at": pl.Series(rng.integers(0, 10**15, n)).cast(pl.Datetime("us")),
            "day": pl.Series(rng.integers(0, 5, n)).cast(pl.String),
        }
    )
    basis = make_basis(frame.head(1000))
    parts = profile_partitions(frame, basis, "day")
    assert list(parts) == ["0", "1", "2", "3", "4"]
    for day, part in parts.items():
        assert part == profile_frame(frame.filter(pl.col("day") == day), basis)
    assert parts == profile_partitions(frame.sort("day"), basis, "day")
    assert sum_profiles(parts.values()) == profile_frame(frame, basis)


def test_what_the_basis_does_not_keep_is_named_with_its_count() -> None:
    basis = make_basis(pl.DataFrame({"x": [1.0, 2.0, 3.0], "c": ["a", "b", "b"]}))
    frame = pl.DataFrame({"x": [2.0, -9999.0, -9999.0, 77.5], "c": ["a", "z", "z", None]})
    columns = profile_frame(frame, basis).columns
    assert columns["x"].others.top(5) == [("-9999", 2), ("77.5", 1)]
    assert columns["c"].others.top(5) == [("z", 2)]
    assert (columns["x"].unread, columns["c"].unread) == (Sketch(), Sketch())


def test_the_churn_incident_is_told_from_the_profile_alone() -> None:
    """60 of 20,000 values of a column of floats become text."""
    basis = make_basis(pl.DataFrame({"total_charges": np.arange(20_000) / 7}))
    bad = ["n/a"] * 21 + ["12,50"] * 20 + ["EUR 20"] * 19
    frame = pl.DataFrame({"total_charges": [str(i / 7) for i in range(19_940)] + bad})
    parts = profile_partitions(frame, basis, pl.Series(["d1"] * 19_950 + ["d2"] * 50))
    column = sum_profiles(parts.values()).columns["total_charges"]
    assert (column.present, column.mistyped) == (19_940, 60)
    assert column.unread.top(3) == [("n/a", 21), ("12,50", 20), ("EUR 20", 19)]
    assert dict(column.shapes)["currency"] == 19 and dict(column.shapes)["decimal_comma"] == 20
    assert [parts[day].columns["total_charges"].mistyped for day in parts] == [10, 50]


def test_days_that_became_text_still_read_as_days() -> None:
    basis = make_basis(pl.DataFrame({"t": [date(2026, 1, 1), date(2026, 1, 3)]}))
    texts = pl.DataFrame({"t": ["2026-01-01", "2026-01-02T10:00:00Z", "soon", None]})
    column = profile_frame(texts, basis).columns["t"]
    assert (column.missing, column.mistyped, column.present) == (1, 1, 2)
    assert column.unread.top(1) == [("soon", 1)]


def test_lists_where_numbers_are_expected_are_mistyped() -> None:
    basis = make_basis(pl.DataFrame({"x": [1.0, 2.0]}))
    column = profile_frame(pl.DataFrame({"x": [[1.0], None, [2.0]]}), basis).columns["x"]
    assert (column.missing, column.mistyped, column.present) == (1, 2, 0)
    assert column.unread.top(1) == [("(List(Float64))", 2)]


def _as_stored_before(profile: Profile) -> dict[str, object]:
    """Its JSON without what this version added, and with money counted as text."""
    data = profile.to_json()
    for column in data["columns"].values():
        for name in ("others", "unread", "numbers", "lengths"):
            column.pop(name, None)
        money = column["shapes"].pop("currency", 0)
        if money:
            column["shapes"]["text"] = column["shapes"].get("text", 0) + money
    return data


def test_profiles_that_were_stored_before_still_read_and_unknown_stays_unknown() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0], "c": ["EUR 20", "b"]})
    basis = make_basis(frame)
    new = profile_frame(frame, basis)
    old = Profile.from_json(json.loads(json.dumps(_as_stored_before(new))), basis)
    assert old.columns["x"].distinct is None and not old.columns["x"].distinct_is_exact
    for total in (add_profiles(old, new), add_profiles(new, old), sum_profiles([new, old])):
        column = total.columns["c"]
        assert total.rows == 4 and column.counts == (2, 2, 0)
        assert dict(column.shapes) == {"text": 4}
        assert (column.others, column.unread, column.lengths) == (None, None, None)
        assert total.columns["x"].mean == 1.5 and total.columns["x"].distinct is None
    part = Profile.from_json(new.to_json(), basis, only=["c"])
    assert dict(part.columns) == {"c": new.columns["c"]}
    assert sum_profiles([old, new, new]) == add_profiles(old, add_profiles(new, new))


def test_an_actual_profile_of_an_earlier_version_reads() -> None:
    stored = (
        '{"rows":3,"missing":1,"mistyped":0,"counts":[0,1,1,0],"low":5.0,"high":6.0,"n_finite":2,'
        '"centre":6.0,"total":"-1","squares":"1","shapes":{},"shortest":null,"longest":null}'
    )
    basis = Basis({"hour": ColumnBasis(Kind.NUMERIC, edges=(5.0, 6.0, 6.000000000000001))})
    data = {"basis": basis.digest, "rows": 3, "columns": {"hour": json.loads(stored)}}
    column = Profile.from_json(data, basis).columns["hour"]
    assert (column.mean, column.present, column.others) == (5.5, 2, None)
    assert column.to_json() == json.loads(stored)


def test_long_texts_are_no_categories() -> None:
    long = ["x" * 100_000 + end for end in "ab"]
    basis = make_basis(pl.DataFrame({"doc": long * 5, "note": ["a", "a", *long * 4]}))
    assert basis.columns["doc"] == ColumnBasis(Kind.TEXT)
    assert basis.columns["note"] == ColumnBasis(Kind.CATEGORICAL, values=("a",))


@given(st.lists(st.text(alphabet="+-.,eE0123456789TtruefalsyFRU$€ :\n'", max_size=12)))
def test_texts_are_of_the_same_shape_one_by_one_and_many_at_a_time(texts) -> None:
    texts += ["2026-01-02 10:00", "2026-01-02T10:00\nx", "no", "7\n", "EUR 1'000.50", "1e5"]
    many = find_shapes(pl.Series(texts + ["word"] * FEW_TEXTS))
    assert find_shapes(pl.Series(texts)).tolist() == many[: len(texts)].tolist()


def test_long_texts_do_not_make_long_profiles() -> None:
    frame = pl.DataFrame({"doc": [f"{i}" + "x" * 1_000_000 for i in range(5)]})
    column = profile_frame(frame, make_basis(frame.head(0))).columns["doc"]
    assert len(json.dumps(column.to_json())) < 2000
    assert (column.distinct, column.longest) == (5, 1_000_001)


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
    assert dict(column.shapes) == {
        "integer": 1,
        "float": 1,
        "decimal_comma": 1,
        "currency": 1,
        "text": 1,
    }
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


def _all_kinds() -> dict[str, pl.Series]:
    whole = [3, None, 1, 3, 2]
    texts = ["a", None, "7", "2026-01-01", "true"]
    days = [date(2026, 1, 1), None, date(1969, 12, 31), date(2026, 1, 1), date(2026, 2, 1)]
    return {
        **{
            str(dtype): pl.Series(whole, dtype=dtype)
            for dtype in (pl.Int8, pl.UInt64, pl.Int128, pl.Float32, pl.Float64, pl.Decimal(9, 2))
        },
        "huge": pl.Series([2**64 - 1, None, 0, 2**63, 1], dtype=pl.UInt64),
        "wild": pl.Series([math.nan, None, math.inf, -0.0, 0.0]),
        "nothing": pl.Series([None] * 5),
        "text": pl.Series(texts),
        "ids": pl.Series([f"id-{i}" for i in range(500)])[:5],
        "categorical": pl.Series(texts, dtype=pl.Categorical),
        "enum": pl.Series(["x", None, "y", "x", "y"], dtype=pl.Enum(["x", "y", "z"])),
        "boolean": pl.Series([True, None, False, True, True]),
        "date": pl.Series(days),
        "zoned": pl.Series(days).cast(pl.Datetime("ms", "UTC")),
        "duration": pl.Series(whole).cast(pl.Duration("us")),
        "time": pl.Series(whole).cast(pl.Time),
        "list": pl.Series([[1], None, [], [2, 3], [1]]),
        "struct": pl.Series([{"a": 1}, None, {"a": 2}, {"a": 1}, {"a": None}]),
        "binary": pl.Series([b"a", None, b"", b"b", b"a"]),
    }


@pytest.mark.parametrize("first", _all_kinds())
def test_a_column_of_any_type_is_counted_on_the_basis_of_any_other(first: str) -> None:
    """As after a change of type: whole, by parts and from JSON alike, and every row is counted."""
    kinds = _all_kinds()
    basis = make_basis(pl.DataFrame({"x": kinds[first]}))
    full = {f"{name}, full": series.backward_fill() for name, series in kinds.items()}
    for name, series in {**kinds, **full}.items():
        frame = pl.DataFrame({"x": series})
        whole = profile_frame(frame, basis)
        column = whole.columns["x"]
        assert sum(column.counts) == column.present, (first, name)
        values = series.fill_nan(None) if series.dtype.is_float() else series
        assert column.missing == values.null_count(), (first, name)
        parts = profile_partitions(frame, basis, pl.Series(["b", "a", "b", "a", "c"]))
        assert sum_profiles(parts.values()) == whole, (first, name)
        assert profile_partitions(frame[:0], basis, pl.Series([], dtype=pl.String)) == {}
        text = rfc8785.dumps(whole.to_json())  # as packages keep it: refuses what is not exact
        assert Profile.from_json(json.loads(text), basis) == whole


@settings(max_examples=40, deadline=None)
@given(
    days=st.lists(
        st.lists(st.sampled_from([0.0, -0.0, 1.5, 2.0**60, -3e200, math.inf, -math.inf, math.nan])),
        min_size=1,
        max_size=6,
    ),
    times=st.integers(1, 9),
)
def test_numbers_that_repeat_are_counted_as_if_each_day_were_alone(days, times) -> None:
    """Taken together where they repeat; what is outside the edges is named as often as it is."""
    basis = Basis({"x": ColumnBasis(Kind.NUMERIC, edges=(0.0, 1.0, 2.0))})
    parts = [[value for value in day for _ in range(times)] for day in days]
    frame = pl.DataFrame({"x": [value for day in parts for value in day]}, schema={"x": pl.Float64})
    runs = {str(n): len(day) for n, day in enumerate(parts)}
    found = profile_runs(frame, basis, runs)
    for n, day in enumerate(parts):
        alone = pl.DataFrame({"x": day}, schema={"x": pl.Float64})
        assert found[str(n)] == _one_at_a_time(alone, basis)
    assert sum_profiles(found.values()) == _one_at_a_time(frame, basis)


def _one_at_a_time(frame: pl.DataFrame, basis: Basis) -> Profile:
    """The sum of its rows' profiles, where there are any: nothing repeats within one."""
    rows = [profile_frame(frame[at], basis) for at in range(frame.height)]
    return sum_profiles([profile_frame(frame.head(0), basis), *rows])


def test_a_column_that_says_one_thing_is_counted_as_any_other() -> None:
    """What the basis keeps, and what it does not; rows of the partitions in any order."""
    labels = pl.Series("ds", ["b", "a", "b", "c"] * 25)
    for text in ("AA", "unheard of", ""):
        frame = pl.DataFrame({"s": [text] * 100})
        basis = make_basis(pl.DataFrame({"s": ["AA", "BB", "AA", "CC"] * 30}))
        found = profile_partitions(frame, basis, labels)
        assert found == {
            day: profile_frame(frame.filter(labels == day), basis) for day in ("a", "b", "c")
        }
