"""Windows: every day is in exactly one; labels read back; what is complete."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.monitor.windows import (
    WindowKind,
    complete_windows,
    parse_window,
    window_of,
    windows_from,
)

DAYS = st.dates(date(1970, 1, 1), date(2100, 12, 31))
KINDS = st.sampled_from(WindowKind)


@given(DAYS, KINDS)
def test_each_day_lies_in_its_window_which_its_label_names(day: date, kind: WindowKind) -> None:
    window = window_of(day, kind)
    assert day in window and window.end not in window
    assert window == parse_window(window.label)
    assert window_of(window.end - timedelta(days=1), kind) == window
    assert window_of(window.end, kind).start == window.end


@given(DAYS, KINDS)
def test_windows_follow_one_another_without_gaps(day: date, kind: WindowKind) -> None:
    windows = list(islice(windows_from(day, kind), 5))
    assert all(a.end == b.start for a, b in pairwise(windows))
    assert windows == sorted(windows, key=lambda window: window.label)


def test_only_windows_that_hold_rows_and_are_over_are_complete() -> None:
    days = [date(2013, 7, 30), date(2013, 9, 1), date(2013, 9, 30)]
    labels = [window.label for window in complete_windows(days, "month", date(2013, 9, 30))]
    assert labels == ["2013-07", "2013-09"]
    assert complete_windows(days, "month", date(2013, 7, 30)) == []
    assert [one.label for one in complete_windows(days, "day")] == ["2013-07-30", "2013-09-01"]
    assert complete_windows([], "day") == []


@pytest.mark.parametrize("label", ["2013", "2013-13", "2013-W54", "2013-02-30", "soon"])
def test_other_labels_are_refused(label: str) -> None:
    with pytest.raises(InvalidInput, match="is not a window"):
        parse_window(label)


def test_other_lengths_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'quarter' is not a length"):
        window_of(date(2013, 1, 1), "quarter")
