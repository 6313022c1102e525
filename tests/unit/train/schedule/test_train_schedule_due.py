"""What a schedule does about times that have passed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.train.schedule.due import GRACE, Decision, MissedPolicy, Timing, decide_due
from seamline.train.schedule.rhythm import Interval

START = datetime(2026, 11, 21, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def timing(missed: MissedPolicy, *, full_at: int = 1, end_at: datetime | None = None) -> Timing:
    """Hourly, from seven on; nothing has been decided yet."""
    return Timing(Interval(3600, START), missed, full_at, START + HOUR, end_at)


@pytest.mark.parametrize("missed", MissedPolicy)
def test_before_its_time_it_only_says_when_to_look_again(missed: MissedPolicy) -> None:
    assert decide_due(timing(missed), START, 0) == Decision(look_again_at=START + HOUR)


@pytest.mark.parametrize("missed", MissedPolicy)
def test_on_time_it_runs(missed: MissedPolicy) -> None:
    due = START + HOUR
    for now in (due, due + GRACE):
        assert decide_due(timing(missed), now, 0) == Decision(run_at=due, handled_until=due)


def test_after_a_pause() -> None:
    now = START + 5 * HOUR + timedelta(minutes=30)
    first, before_last, last = START + HOUR, START + 4 * HOUR, START + 5 * HOUR
    every = decide_due(timing(MissedPolicy.ALL), now, 0)
    assert every == Decision(run_at=first, handled_until=first)
    latest = decide_due(timing(MissedPolicy.LATEST), now, 0)
    assert latest == Decision(run_at=last, skipped=(first, before_last), handled_until=last)
    nothing = decide_due(timing(MissedPolicy.NONE), now, 0)
    assert nothing == Decision(skipped=(first, last), handled_until=last)


def test_none_still_runs_what_is_only_late() -> None:
    now = START + 5 * HOUR + GRACE
    found = decide_due(timing(MissedPolicy.NONE), now, 0)
    assert found.run_at == START + 5 * HOUR
    assert found.skipped == (START + HOUR, START + 4 * HOUR)


def test_a_full_schedule_waits_for_room() -> None:
    now = START + HOUR + SECOND
    for missed in (MissedPolicy.ALL, MissedPolicy.LATEST):
        assert decide_due(timing(missed), now, 1) == Decision(is_full=True)
        assert decide_due(timing(missed, full_at=2), now, 1).run_at == START + HOUR
    given_up = decide_due(timing(MissedPolicy.NONE), now, 1)
    assert given_up == Decision(is_full=True, look_again_at=START + HOUR + GRACE + SECOND)
    assert given_up.look_again_at is not None
    later = decide_due(timing(MissedPolicy.NONE), given_up.look_again_at, 1)
    assert later.skipped == (START + HOUR, START + HOUR)


def test_nothing_is_due_behind_the_end() -> None:
    end = START + 2 * HOUR
    found = decide_due(timing(MissedPolicy.LATEST, end_at=end), START + 9 * HOUR, 0)
    assert found.run_at == end
    assert timing(MissedPolicy.ALL, end_at=end).next_after(end) is None
    over = Timing(Interval(3600, START), MissedPolicy.ALL, 1, None, end)
    assert decide_due(over, START + 9 * HOUR, 0) == Decision()


@settings(deadline=None)
@given(
    missed=st.sampled_from(MissedPolicy),
    slept=st.integers(0, 200_000),
    full_at=st.integers(1, 3),
    going=st.integers(0, 3),
)
def test_each_time_is_decided_once_and_none_is_left_out(
    missed: MissedPolicy, slept: int, full_at: int, going: int
) -> None:
    """Followed to its end, with runs that never end."""
    now = START + timedelta(seconds=slept)
    at, told = START + HOUR, []
    rhythm = Interval(3600, START)
    while True:
        found = decide_due(Timing(rhythm, missed, full_at, at, None), now, going)
        if found.skipped:
            one = found.skipped[0]
            while one <= found.skipped[1]:
                told.append(one)
                one += HOUR
        if found.run_at:
            told.append(found.run_at)
            going += 1
        if found.handled_until is None:
            break
        assert told[-1] == found.handled_until
        at = found.handled_until + HOUR
    assert told == [START + HOUR * n for n in range(1, 1 + len(told))]
    assert at > now or (found.is_full and going >= full_at)
