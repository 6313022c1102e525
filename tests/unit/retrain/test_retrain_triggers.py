"""When an alarm asks for a retraining, and when not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import MachineryError
from seamline.retrain.phases import RetrainingPhase, check_step
from seamline.retrain.triggers import (
    Cause,
    EventWindow,
    Fire,
    Previous,
    Skip,
    Trigger,
    acts_on,
    decide_retraining,
)

DAY_S = 86_400.0
NOW = datetime(2014, 1, 1, tzinfo=UTC)
TRIGGER = Trigger("late-again", "late", cool_down_s=7 * DAY_S)
CAUSE = Cause("fact", "late", "auc >= 0.7", "auc >= 0.7: fail; 0.65 [0.63, 0.67]")
Months = dict[int, EventWindow]


def previous(window: EventWindow, phase: RetrainingPhase, *, days_ago: float = 100.0) -> Previous:
    key = f"late-again/late/{window.label}"
    return Previous("r1", key, phase, window.end, NOW - timedelta(days=days_ago))


def test_the_first_alarm_fires_and_says_why(months: Months) -> None:
    found = decide_retraining(TRIGGER, CAUSE, months[9], [], NOW)
    assert found == Fire(
        "late-again/late/2013-09", "late, 2013-09: auc >= 0.7: fail; 0.65 [0.63, 0.67]"
    )


@pytest.mark.parametrize(
    ("checks", "check", "acts"),
    [
        ((), "mae <= 10", True),
        ((), "drift(hour)", False),
        ((), "output(score)", False),
        (("mae <= 10",), "mae<=10", True),
        (("mae <= 10",), "mae <= 100", False),
        (("drift",), "drift(hour)", True),
        (("drift(hour)",), "drift(dest)", False),
        (("auc.worst_slice(hour) >= 0.5",), "auc.worst_slice(hour) >= 0.5", True),
        ((), "auc.worst_slice(hour) >= 0.5", True),
    ],
)
def test_which_alarms_a_trigger_acts_on(checks: tuple[str, ...], check: str, acts: bool) -> None:
    assert acts_on(checks, check) is acts


def test_other_monitors_are_not_acted_on(months: Months) -> None:
    other = Cause("fact", "other", "auc >= 0.7")
    assert isinstance(decide_retraining(TRIGGER, other, months[9], [], NOW), Skip)


def test_one_per_window_and_one_at_a_time(months: Months) -> None:
    ended = previous(months[9], RetrainingPhase.ERRORED)
    same = decide_retraining(TRIGGER, CAUSE, months[9], [ended], NOW)
    assert isinstance(same, Skip) and same.is_final and "r1, errored" in same.reason
    going = previous(months[9], RetrainingPhase.TRAINING)
    busy = decide_retraining(TRIGGER, CAUSE, months[11], [going], NOW)
    assert isinstance(busy, Skip) and not busy.is_final and "one at a time" in busy.reason


def test_an_older_window_is_not_acted_on(months: Months) -> None:
    done = previous(months[9], RetrainingPhase.KEPT)
    found = decide_retraining(TRIGGER, CAUSE, months[8], [done], NOW)
    assert isinstance(found, Skip) and found.is_final and "later window" in found.reason


def test_cool_down_passes_by_the_clock_or_in_event_time(months: Months) -> None:
    slow = Trigger("late-again", "late", cool_down_s=60 * DAY_S)
    done = previous(months[9], RetrainingPhase.RELEASED, days_ago=0.01)
    found = decide_retraining(slow, CAUSE, months[10], [done], NOW)
    assert isinstance(found, Skip) and not found.is_final and "cooling down" in found.reason
    assert isinstance(decide_retraining(slow, CAUSE, months[12], [done], NOW), Fire)
    long_ago = previous(months[9], RetrainingPhase.RELEASED, days_ago=61)
    assert isinstance(decide_retraining(slow, CAUSE, months[10], [long_ago], NOW), Fire)
    broke = previous(months[9], RetrainingPhase.ERRORED, days_ago=0.01)
    assert isinstance(decide_retraining(slow, CAUSE, months[10], [broke], NOW), Fire)


@given(
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from(RetrainingPhase)), max_size=5),
    st.integers(1, 12),
)
def test_a_trigger_never_fires_twice_nor_beside_another(
    past: list[tuple[int, RetrainingPhase]], number: int
) -> None:
    windows = {n: _month(n) for n in range(1, 13)}
    known = [previous(windows[n], phase) for n, phase in past]
    found = decide_retraining(TRIGGER, CAUSE, windows[number], known, NOW)
    if isinstance(found, Fire):
        assert all(one.phase.is_ended for one in known)
        assert found.dedup_key not in {one.dedup_key for one in known}


def _month(number: int) -> EventWindow:
    start = datetime(2013, number, 1).date()
    end = (start + timedelta(days=31)).replace(day=1)
    return _Month(f"2013-{number:02d}", start, end)


class _Month:
    def __init__(self, label: str, start: object, end: object) -> None:
        self.label, self.start, self.end = label, start, end


def test_phases_go_forward_only() -> None:
    path = ["requested", "training", "packaging", "comparing", "released"]
    for before, after in pairwise(path):
        check_step(RetrainingPhase(before), RetrainingPhase(after))
    for phase in RetrainingPhase:
        if phase.is_ended:
            with pytest.raises(MachineryError, match="cannot go from"):
                check_step(phase, RetrainingPhase.TRAINING)
        else:
            check_step(phase, RetrainingPhase.ERRORED)
    with pytest.raises(MachineryError):
        check_step(RetrainingPhase.TRAINING, RetrainingPhase.RELEASED)
