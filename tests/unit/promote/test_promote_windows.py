from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.promote.windows import Window, is_open, opens_at, parse_window

TIMES = st.integers(0, 23).flatmap(lambda h: st.integers(0, 59).map(lambda m: f"{h:02}:{m:02}"))
DAYS = st.lists(
    st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min_size=1, unique=True
)
ZONES = st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Pacific/Apia"])
WINDOWS = st.builds(
    lambda days, opens, closes, zone: parse_window(f"{','.join(days)} {opens}-{closes} {zone}"),
    DAYS, TIMES, TIMES, ZONES,
)  # fmt: skip
NOWS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@given(st.lists(WINDOWS, min_size=1, max_size=3), NOWS)
def test_the_next_opening_is_open_and_nothing_before_it_is(
    windows: list[Window], now: datetime
) -> None:
    opens = opens_at(windows, now)
    assert opens >= now
    assert is_open(windows, opens)
    assert opens - now <= timedelta(days=8)
    if opens > now:
        half = now + (opens - now) / 2
        assert not is_open(windows, half)
        assert not is_open(windows, opens - timedelta(microseconds=1))


def test_a_window_keeps_its_local_hours_when_the_clocks_change() -> None:
    window = [parse_window("mon-fri 08:00-16:00 Europe/Paris")]
    winter, summer = (
        datetime(2026, 3, 27, 7, 30, tzinfo=UTC),
        datetime(2026, 3, 30, 6, 30, tzinfo=UTC),
    )
    assert is_open(window, winter)
    assert is_open(window, summer)
    assert not is_open(window, winter - timedelta(hours=1))


def test_a_window_over_midnight_belongs_to_the_day_it_opens_on() -> None:
    window = [parse_window("fri 22:00-02:00 UTC")]
    assert is_open(window, datetime(2026, 11, 21, 1, 59, tzinfo=UTC))
    assert not is_open(window, datetime(2026, 11, 20, 1, 59, tzinfo=UTC))
    assert not is_open(window, datetime(2026, 11, 21, 2, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("always", "'always' is no window"),
        ("mon 8:00-16:00 UTC", "is no window"),
        ("mon 08:00-25:00 UTC", "'25:00' is no time of day"),
        ("funday 08:00-16:00 UTC", "'funday' is no day"),
        ("mon 08:00-16:00 Europe/Pariss", "Did you mean Europe/Paris"),
        ("mon 08:00-16:00 ../etc", "There is no time zone"),
    ],
)
def test_what_is_no_window_is_said(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_window(text)
    assert words in str(caught.value)
