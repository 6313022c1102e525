"""Slices that no column holds, held against plain Python."""

from __future__ import annotations

import itertools
from datetime import date, datetime, time, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.evaluate.derive import By, Derived, slice_labels

TIMES = [datetime(2013, 7, 1, 5) + timedelta(hours=37 * n) for n in range(40)]


@pytest.mark.parametrize("as_text", [False, True])
def test_parts_of_a_time(as_text: bool) -> None:
    at = pl.Series("at", [one.isoformat() for one in TIMES] if as_text else TIMES)
    derived = {one.value: Derived("at", one) for one in (By.HOUR, By.WEEKDAY, By.MONTH)}
    made = slice_labels(at.to_frame(), list(derived), derived)
    assert made["hour"].to_list() == [one.hour for one in TIMES]
    assert made["weekday"].to_list() == [one.strftime("%a") for one in TIMES]
    assert made["month"].to_list() == [one.month for one in TIMES]


def test_the_weekday_of_a_day() -> None:
    frame = pl.DataFrame({"ds": [date(2013, 7, 1), None]})
    made = slice_labels(frame, ["weekday"], {"weekday": Derived("ds", By.WEEKDAY)})
    assert made["weekday"].to_list() == ["Mon", None]


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-3, 3).map(float)), min_size=1),
    st.integers(2, 6),
)
def test_every_number_lies_in_its_bin(values: list[float | None], bins: int) -> None:
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64})
    labels = slice_labels(frame, ["band"], {"band": Derived("x", By.BINS, bins)})["band"]
    assert labels.n_unique() <= bins + 1
    known = [(value, label) for value, label in zip(values, labels, strict=True) if label]
    assert len(known) == sum(value is not None for value in values)
    # Bins do not overlap: in the order of the numbers no bin comes back.
    order = [label for _, label in sorted(known, key=lambda pair: pair[0] or 0.0)]
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert changes == max(len(set(order)) - 1, 0)


def test_bins_are_about_equally_full() -> None:
    frame = pl.DataFrame({"x": range(1000)})
    made = slice_labels(frame, ["band"], {"band": Derived("x", By.BINS, 4)})["band"]
    counts = made.value_counts()
    assert counts.height == 4 and counts["count"].min() >= 240
    assert set(made.unique()) == {"0..250", "250..500", "500..749", "749..999"}


def test_a_pair_has_a_value_for_each_combination() -> None:
    frame = pl.DataFrame({"a": ["x", "y", None], "b": [1, None, 1]})
    assert slice_labels(frame, ["a*b"], {})["a*b"].to_list() == [
        "x*1",
        "y*(missing)",
        "(missing)*1",
    ]


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        (Derived("carier", By.BINS), "no column 'carier'. Did you mean carrier"),
        (Derived("carrier", By.BINS), "'carrier' is String, not a number"),
        (Derived("carrier", By.HOUR), "none of 2 values of 'carrier' reads as a time, e.g. 'UA'"),
        (Derived("ds", By.HOUR), "'ds' is Date, which has no hour"),
        (Derived("n", By.WEEKDAY), "'n' is Int64, which has no weekday"),
    ],
)
def test_what_cannot_be_derived_is_told(derived: Derived, message: str) -> None:
    frame = pl.DataFrame({"carrier": ["UA", "DL"], "ds": [date(2013, 7, 1)] * 2, "n": [1, 2]})
    with pytest.raises(InvalidInput, match=message):
        slice_labels(frame, ["made"], {"made": derived})


def test_a_slice_of_5_000_values_is_refused() -> None:
    frame = pl.DataFrame({"id": range(5_000)})
    with pytest.raises(InvalidInput, match=r"Slice 'id' has 5,000 values; 1,000 are the most"):
        slice_labels(frame, ["id"], {})


def test_an_absent_column_names_the_nearest() -> None:
    frame = pl.DataFrame({"hour": [5]})
    with pytest.raises(InvalidInput, match=r"no column 'houre'\. Did you mean hour"):
        slice_labels(frame, ["houre"], {})


def test_bins_are_some() -> None:
    with pytest.raises(InvalidInput, match="cannot be cut into 1 bins"):
        Derived("x", By.BINS, 1)


def test_bins_of_large_numbers_are_told_apart() -> None:
    """Seconds since 1970, or what a house costs to the cent."""
    rows = pl.DataFrame({"at": [1_700_000_000 + 60 * n for n in range(100)]})
    made = slice_labels(rows, ["part"], {"part": Derived("at", By.BINS, bins=4)})["part"]
    assert sorted(made.value_counts()["count"]) == [24, 25, 25, 26]
    assert made[0] == "1700000000..1700001500"


@pytest.mark.parametrize("by", [By.WEEKDAY, By.MONTH])
def test_a_time_of_the_day_has_no_day(by: By) -> None:
    rows = pl.DataFrame({"at": [time(5, 30)], "took": [timedelta(hours=5)]})
    assert slice_labels(rows, ["x"], {"x": Derived("at", By.HOUR)})["x"].to_list() == [5]
    for column in ("at", "took"):
        with pytest.raises(InvalidInput, match=f"'{column}' is .*, which has no {by}"):
            slice_labels(rows, ["x"], {"x": Derived(column, by)})
