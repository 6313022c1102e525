"""What is shown of a column comes from its profile, and agrees with the rows."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import polars as pl

from seamline.cli.data_columns import column_table
from seamline.data.column_summary import summarise_column
from seamline.measure.basis import make_basis
from seamline.measure.casting import DType
from seamline.measure.profiles import ColumnProfile, profile_frame


def _summary(series: pl.Series, dtype: DType, first: pl.Series | None = None) -> dict[str, object]:
    basis = make_basis(pl.DataFrame({"x": series if first is None else first}))
    column = profile_frame(pl.DataFrame({"x": series}), basis).columns["x"]
    found = summarise_column("x", dtype, basis.columns["x"], column)
    return json.loads(json.dumps(found, allow_nan=False))


def test_numbers_have_quantiles_and_distinct_counts() -> None:
    values = np.random.default_rng(1).normal(50, 9, 30_000)
    found = _summary(pl.Series(values), DType.FLOAT)
    exact = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    assert list(found["quantiles"]) == ["p5", "p25", "p50", "p75", "p95"]
    assert np.allclose(list(found["quantiles"].values()), exact, rtol=0.01)
    assert not found["distinct_is_exact"] and abs(found["distinct"] - 30_000) < 6000
    whole = _summary(pl.Series([5, 6, 6, 23]), DType.INT)
    assert whole["quantiles"]["p50"] == 6 and whole["distinct"] == 3 and whole["distinct_is_exact"]


def test_days_are_shown_as_days() -> None:
    found = _summary(pl.Series([date(2026, 1, 1), date(2026, 1, 3)]), DType.DATE)
    assert found["quantiles"]["p5"] == "2026-01-01" and found["max"] == "2026-01-03"


def test_texts_tell_top_values_types_and_lengths() -> None:
    texts = ["12,5"] * 6 + ["7"] * 3 + ["n/a"]
    found = _summary(pl.Series(texts), DType.STRING)
    assert found["top"][0] == {"value": "12,5", "count": 6} and found["rest"] == 0
    assert found["reads_as"] == {"type": "decimal_comma", "share": 0.9}
    assert found["lengths"] == {"min": 1, "max": 4, "counts": [[1, 3], [3, 1], [4, 6]]}
    assert (found["distinct"], found["quantiles"]) == (3, None)


def test_a_new_category_is_among_the_top_values() -> None:
    found = _summary(pl.Series(["a"] * 3 + ["z"] * 9), DType.STRING, pl.Series(["a", "b"]))
    assert found["top"] == [{"value": "z", "count": 9}, {"value": "a", "count": 3}]


def test_what_does_not_read_is_named_in_the_table() -> None:
    series = pl.Series(["1.5", "2"] * 20 + ["n/a"] * 3)
    found = _summary(series, DType.STRING, pl.Series([1.0, 2.0]))
    assert found["mistyped"] == 3 and found["unread"] == [{"value": "n/a", "count": 3}]
    lines = column_table([found]).splitlines()
    assert lines[0].split() == [
        *("name", "dtype", "missing", "distinct", "min", "median", "max", "mean", "holds")
    ]
    assert "3 do not read: 'n/a' ×3" in lines[1]


def test_a_profile_of_an_earlier_version_is_shown_as_far_as_it_goes() -> None:
    basis = make_basis(pl.DataFrame({"x": [1.0, 2.0]})).columns["x"]
    old = ColumnProfile(2, 0, 0, (0, 1, 1, 0), 1.0, 2.0, 2)
    found = summarise_column("x", DType.FLOAT, basis, old)
    assert (found["distinct"], found["distinct_is_exact"]) == (None, False)
    assert " - " in column_table([found])
