"""Cron: expressions against a clock that is read second by second, also where clocks jump."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.train.schedule.cron import Cron
from seamline.train.schedule.expression import MACROS, read_cron
from seamline.train.schedule.rhythm import Interval, latest_until, read_rhythm

MINUTE = timedelta(minutes=1)
#: A zone, and a moment about which its clock jumps: by one hour, by half an hour, over
#: midnight in both directions, by a whole day; and two that never do.
JUMPS = {
    "spring in Berlin": ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    "autumn in Berlin": ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "autumn in New York": ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    "spring on Lord Howe": ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    "autumn on Lord Howe": ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    "spring in Sao Paulo": ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    "autumn in Sao Paulo": ("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC)),
    "no 30 December on Samoa": ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    "Kolkata": ("Asia/Kolkata", datetime(2026, 3, 1, tzinfo=UTC)),
    "UTC": ("UTC", datetime(2026, 3, 1, tzinfo=UTC)),
}


def walk(rule: Cron, after: datetime, until: datetime) -> list[datetime]:
    found: list[datetime] = []
    at = rule.next_after(after)
    while at is not None and at <= until:
        found.append(at)
        at = rule.next_after(at)
    return found


def fits(rule: Cron, local: datetime) -> bool:
    by_date, by_weekday = local.day in rule.days, local.isoweekday() % 7 in rule.weekdays
    day = (by_date or by_weekday) if rule.is_either_day else (by_date and by_weekday)
    hour = local.hour in rule.hours and local.minute in rule.minutes
    return day and hour and local.month in rule.months and local.second in rule.seconds


@lru_cache(maxsize=len(JUMPS))
def by_the_minute(zone: ZoneInfo, middle: datetime) -> list[tuple[datetime, datetime]]:
    """Every minute of five days: when it is, and what the clock shows."""
    start = middle - timedelta(days=2)
    moments = [start + MINUTE * index for index in range(5 * 24 * 60)]
    return [(at, at.astimezone(zone).replace(tzinfo=None)) for at in moments]


def expected(rule: Cron, middle: datetime) -> list[datetime]:
    """The rule's own words, read off the list of minutes."""
    minutes = by_the_minute(rule.zone, middle)
    if len(rule.hours) == 24:
        return [at for at, local in minutes if fits(rule, local)]
    first_shown: dict[datetime, datetime] = {}
    for at, local in minutes:
        first_shown.setdefault(local, at)
    found = set()
    for (_, before), (at, local) in itertools.pairwise(minutes):
        left_out = before + MINUTE
        while left_out < local:
            if fits(rule, left_out):
                found.add(at)
            left_out += MINUTE
    return sorted(found | {at for local, at in first_shown.items() if fits(rule, local)})


@pytest.mark.parametrize("jump", JUMPS)
@settings(deadline=None, max_examples=20)
@given(
    hours=st.one_of(st.just("*"), st.sets(st.integers(0, 23), min_size=1, max_size=6)),
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=5),
    weekdays=st.one_of(st.just("*"), st.sets(st.integers(0, 6), min_size=1)),
)
def test_every_time_and_no_other(
    jump: str, hours: str | set[int], minutes: set[int], weekdays: str | set[int]
) -> None:
    zone, middle = JUMPS[jump]
    fields = [one if isinstance(one, str) else ",".join(map(str, one)) for one in (hours, weekdays)]
    text = f"0 {','.join(map(str, minutes))} {fields[0]} * * {fields[1]}"
    rule = read_cron(text, zone)
    wanted = expected(rule, middle)
    start, end = middle - timedelta(days=1), middle + timedelta(days=2)
    assert walk(rule, start, end) == [at for at in wanted if start < at <= end], text


def test_a_daily_time_happens_once_on_each_day_of_the_year() -> None:
    rule = read_cron("0 30 2 * * *", "Europe/Berlin")
    year = walk(
        rule, datetime(2025, 12, 31, 12, tzinfo=UTC), datetime(2026, 12, 31, 12, tzinfo=UTC)
    )
    shown = [at.astimezone(rule.zone) for at in year]
    assert [one.date() for one in shown] == sorted({one.date() for one in shown})
    assert len(shown) == 365
    odd = [one.strftime("%d.%m. %H:%M %Z") for one in shown if (one.hour, one.minute) != (2, 30)]
    assert odd == ["29.03. 03:00 CEST"]
    assert shown[297].strftime("%d.%m. %H:%M %Z") == "25.10. 02:30 CEST"


def test_every_ten_minutes_goes_on_through_the_repeated_hour() -> None:
    rule = read_cron("0 */10 * * * *", "Europe/Berlin")
    night = walk(
        rule, datetime(2026, 10, 24, 23, 59, tzinfo=UTC), datetime(2026, 10, 25, 3, tzinfo=UTC)
    )
    assert {later - earlier for earlier, later in itertools.pairwise(night)} == {MINUTE * 10}


def test_two_times_that_spring_leaves_out_are_one() -> None:
    rule = read_cron("0 0,30 2,3 * * *", "Europe/Berlin")
    morning = walk(rule, datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC))
    assert [at.strftime("%H:%M") for at in morning] == ["01:00", "01:30"]


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("30 6 * * 1-5", "0 30 6 * * 1-5"),
        ("0 30 6 ? * MON-FRI", "0 30 6 * * 1-5"),
        ("0 0 0 1 jan,JUL *", "0 0 0 1 1,7 *"),
        ("0 0 6 * * 7", "0 0 6 * * 0"),
        ("0 0 6 * * 5-7", "0 0 6 * * 0,5,6"),
        ("10/20 5-59/27 * * * *", "10,30,50 5,32,59 * * * *"),
        ("0 0 0 * * 1/2", "0 0 0 * * 1,3,5"),
        *MACROS.items(),
        ("@Daily", "0 0 0 * * *"),
    ],
)
def test_ways_to_write_the_same(text: str, same_as: str) -> None:
    assert read_cron(text) == read_cron(same_as)


def test_either_day_will_do_when_both_are_restricted() -> None:
    rule = read_cron("0 0 0 13 * FRI")
    days = walk(rule, datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 14, tzinfo=UTC))
    shown = [at.strftime("%a %d") for at in days]
    assert shown == ["Fri 06", "Fri 13", "Fri 20", "Fri 27", "Fri 04", "Fri 11", "Sun 13"]
    stepped = read_cron("0 0 0 */2 * FRI")  # a star: both have to fit, as in KFP
    both = walk(stepped, datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC))
    assert [at.strftime("%a %d") for at in both] == ["Fri 13", "Fri 27"]


def test_rare_days() -> None:
    leap = read_cron("0 0 12 29 2 *")
    assert leap.next_after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(
        2104, 2, 29, 12, tzinfo=UTC
    )
    passing = read_cron("0 0 * 29 2 *")
    assert passing.next_after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "0 fields"),
        ("* * *", "3 fields"),
        ("0 0 25 * * *", "its hour is '25'; it goes from 0 to 23"),
        ("0 0 0 0 * *", "its day of the month is '0'"),
        ("0 0 0 31 2,4 *", "no such month has a day 31"),
        ("0 0 0 * * FRX", "its day of the week is 'FRX'"),
        ("0 */0 * * * *", "the step of its minute is '0'"),
        ("0 30-10 * * * *", "its minute goes backwards: '30-10'"),
        ("0 0 0 L * *", "its day of the month is 'L'"),
        ("0 0 0 * * 5#2", "its day of the week is '5#2'"),
        ("0 -5 * * * *", "its minute is ''"),
        ("٠ 0 0 * * *", "its second is '٠'"),
        ("@sometimes", "1 fields"),
        ("0 " + "1," * 200, "more than 200 characters"),
    ],
)
def test_what_cannot_be_read_says_which_field(text: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_cron(text)
    assert says in str(refused.value)
    assert "six fields" in refused.value.next_step


def test_time_zones() -> None:
    with pytest.raises(InvalidInput, match=r"There is no time zone 'Europe/Berlen'. Did you mean"):
        read_cron("0 0 0 * * *", "Europe/Berlen")
    with pytest.raises(InvalidInput, match="two time zones"):
        read_cron("TZ=Asia/Tokyo 0 0 0 * * *", "Europe/Berlin")
    with pytest.raises(InvalidInput, match="There is no time zone"):
        read_cron("0 0 0 * * *", "../../etc/passwd")
    assert read_cron("CRON_TZ=Asia/Tokyo @daily").zone == ZoneInfo("Asia/Tokyo")


def test_intervals() -> None:
    start = datetime(2026, 11, 21, 9, 0, 0, 500_000, tzinfo=UTC)
    hourly = read_rhythm(None, 3600, "", start)
    assert isinstance(hourly, Interval)
    assert hourly.next_after(start) == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert hourly.next_after(datetime(2020, 1, 1, tzinfo=UTC)) == datetime(
        2026, 11, 21, 10, tzinfo=UTC
    )
    for cron, interval in [
        (None, None),
        ("@daily", 60),
        (None, 0),
        (None, -5),
        ("@every 0s", None),
    ]:
        with pytest.raises(InvalidInput):
            read_rhythm(cron, interval, "", start)
    with pytest.raises(InvalidInput, match="is no interval"):
        read_rhythm("@every fortnight", None, "", start)


@settings(deadline=None, max_examples=50)
@given(
    text=st.sampled_from(["0 */7 * * * *", "30 15 2 * * *", "0 0 0 1 * *", "*/5 0 12 * * 1"]),
    slept=st.integers(0, 400 * 86_400),
)
def test_the_latest_is_the_last_of_a_walk(text: str, slept: int) -> None:
    rule = read_cron(text, "Europe/Berlin")
    first = rule.next_after(datetime(2026, 1, 1, tzinfo=UTC))
    assert first is not None
    until = first + timedelta(seconds=slept)
    found = latest_until(rule, first, until)
    following = rule.next_after(found)
    assert found <= until
    assert following is not None and following > until
    assert found == first or rule.next_after(found - timedelta(seconds=1)) == found
