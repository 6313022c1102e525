"""Quantiles of summed profiles lie in the bin of the exact quantile."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_frame, profile_partitions, sum_profiles
from seamline.measure.quantiles import cell_range, quantile, quantiles

finite = st.floats(-1e300, 1e300) | st.integers(-20, 20).map(float)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(finite, max_size=90),
    st.lists(st.tuples(finite, st.sampled_from("abc")), min_size=1, max_size=90),
    st.floats(0, 1),
)
def test_a_summed_quantile_is_in_the_bin_of_the_exact_one(first, rows, q) -> None:
    basis = make_basis(pl.DataFrame({"x": first}, schema={"x": pl.Float64}))
    frame = pl.DataFrame(rows, schema={"x": pl.Float64, "day": pl.String}, orient="row")
    whole = sum_profiles(profile_partitions(frame, basis, "day").values()).columns["x"]
    ordered = np.sort(frame["x"].to_numpy())
    exact = ordered[max(math.ceil(q * len(ordered)), 1) - 1]
    found = quantile(whole, basis.columns["x"], q)
    cell = int(np.searchsorted(basis.columns["x"].edges, exact, "right"))
    start, stop = cell_range(whole, basis.columns["x"], cell)
    assert start <= exact <= stop and start <= found <= stop


def test_quantiles_of_many_bins_are_close() -> None:
    values = np.random.default_rng(2).lognormal(1, 0.8, 100_000)
    frame = pl.DataFrame({"x": values})
    basis = make_basis(frame)
    found = quantiles(profile_frame(frame, basis).columns["x"], basis.columns["x"])
    assert np.allclose(found, np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)), rtol=0.005)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-9, 40).map(lambda i: i / 2), min_size=1), st.floats(0, 1))
def test_quantiles_of_few_values_are_exact(values, q) -> None:
    """Also of a window that has only some of them."""
    basis = make_basis(pl.DataFrame({"x": values}))
    for held in (values, values[::2]):
        column = profile_frame(pl.DataFrame({"x": held}), basis).columns["x"]
        exact = sorted(held)[max(math.ceil(q * len(held)), 1) - 1]
        assert quantile(column, basis.columns["x"], q) == exact


def test_infinities_take_their_places() -> None:
    frame = pl.DataFrame({"x": [-math.inf, -math.inf, 1.0, math.inf]})
    basis = make_basis(frame)
    column = profile_frame(frame, basis).columns["x"]
    at = [quantile(column, basis.columns["x"], q) for q in (0.25, 0.75, 0.9)]
    assert at == [-math.inf, 1.0, math.inf]


def test_there_is_no_quantile_of_nothing_or_of_words() -> None:
    frame = pl.DataFrame({"x": [1.0], "s": ["a"]})
    basis = make_basis(frame)
    empty = profile_frame(frame.clear(), basis)
    assert quantile(empty.columns["x"], basis.columns["x"], 0.5) is None
    assert quantile(profile_frame(frame, basis).columns["s"], basis.columns["s"], 0.5) is None
