"""Dates around a window, filled into the arguments of the training run."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.retrain.arguments import fill_arguments, shift_day
from seamline.retrain.triggers import EventWindow


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{window_start}", "2013-09-01"),
        ("{window_end}", "2013-10-01"),
        ("{window}", "2013-09"),
        ("{window_start-3m}", "2013-06-01"),
        ("{window_start - 3m}", "2013-06-01"),
        ("{window_end-1d}", "2013-09-30"),
        ("{window_end+2w}", "2013-10-15"),
        ("{window_start-1y}", "2012-09-01"),
        ("from {window_start} to {window_end}", "from 2013-09-01 to 2013-10-01"),
        ('{{"since": "{window_start}"}}', '{"since": "2013-09-01"}'),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_placeholders(months: dict[int, EventWindow], template: str, filled: str) -> None:
    assert fill_arguments({"a": template}, months[9]) == {"a": filled}


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{window_stat}", "no placeholder {window_stat}. Did you mean window_start?"),
        ("{today}", "Known: window, window_end, window_start."),
        ("{window_start-3q}", "Dates take +7d"),
        ("{window_start:>10}", "no placeholder"),
        ("{window_start!r}", "no placeholder"),
        ("{window+1d}", "no placeholder"),
        ("{}", "no placeholder"),
        ("{window_start", "braces"),
        ("{window_start-9999y}", "is no date"),
    ],
)
def test_unknown_placeholders_are_refused(
    months: dict[int, EventWindow], template: str, says: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        fill_arguments({"since": template}, months[9])
    assert says in str(caught.value)


DAYS = st.dates(date(1980, 1, 1), date(2100, 1, 1))


@given(DAYS, st.integers(-120, 120))
def test_months_come_to_the_same_day_or_the_last_of_the_month(day: date, months: int) -> None:
    moved = shift_day(day, months, "m")
    assert (moved.year * 12 + moved.month) - (day.year * 12 + day.month) == months
    assert moved.day == day.day or (
        moved.day < day.day and shift_day(moved, 1, "d").month != moved.month
    )


@given(DAYS, st.integers(-1000, 1000))
def test_weeks_are_seven_days(day: date, weeks: int) -> None:
    assert shift_day(day, weeks, "w") == shift_day(day, 7 * weeks, "d")
