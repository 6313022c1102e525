"""The first shifted partition: many windows compared at once tell what each would alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.data.diff.columns import MODERATE, Pair, chance_limit, grouped, shifts
from seamline.data.diff.deliveries import Delivery
from seamline.data.diff.findings import Commit
from seamline.data.diff.first_bad import find_first_shift
from seamline.measure.basis import ColumnBasis, Kind
from seamline.measure.columns import ColumnProfile
from seamline.measure.drift import group_cells, population_stability

BASIS = ColumnBasis(Kind.CATEGORICAL, values=tuple("abcd"))
BEFORE = ColumnProfile(1000, 0, 0, (400, 300, 200, 100, 0))
GROUPS = group_cells(BEFORE, BASIS)
COUNTS = st.tuples(*[st.integers(0, 400)] * 3, st.integers(0, 40), st.just(0))


def profile(counts: Sequence[int]) -> ColumnProfile:
    return ColumnProfile(sum(counts), 0, 0, tuple(counts))


def delivery(days: Sequence[Sequence[int]], version: int = 2) -> Delivery:
    commit = Commit("d", version, None, "ada", "d.csv", "2026-03-03T00:00:00.000000Z")
    return Delivery(
        commit, (), lambda _: ((f"day {n:03}", profile(one)) for n, one in enumerate(days))
    )


def pair() -> Pair:
    return Pair("column", BASIS, BEFORE, BEFORE, BEFORE)


def one_by_one(days: Sequence[Sequence[int]], least: float) -> str | None:
    """The rule as it is told: from each day on, as many days as are enough."""
    was = grouped(BEFORE, GROUPS)
    for first in range(len(days)):
        for last in range(first + 1, len(days) + 1):
            now = grouped(profile(np.sum(days[first:last], axis=0).tolist()), GROUPS)
            n = int(now.sum())
            if n >= 1000 or (n >= 110 and chance_limit(1000, n, 11) <= least):
                break
        n_groups = int(((was > 0) | (now > 0)).sum())
        psi = float(population_stability(was, now))
        if n and psi >= max(least, chance_limit(1000, n, n_groups)):
            return f"day {first:03}"
    return None


@settings(max_examples=60, deadline=None)
@given(days=st.lists(COUNTS, max_size=30), psi=st.floats(0.0, 1.5))
def test_it_is_the_one_that_is_found_one_by_one(days, psi) -> None:
    found = find_first_shift([delivery(days)], pair(), psi)
    expected = one_by_one(days, max(MODERATE, psi / 2))
    assert (None if found is None else found.partition) == expected


@pytest.mark.parametrize("at", [0, 1, 5, 40, 199])
def test_it_is_found_wherever_it_lies(at: int) -> None:
    days = [(400, 300, 200, 100, 0)] * at + [(100, 200, 300, 400, 0)] * 2
    found = find_first_shift([delivery(days), delivery(days, version=3)], pair(), 0.5)
    assert found is not None
    assert (found.partition, found.commit.version) == (f"day {at:03}", 2)
    assert find_first_shift([delivery(days[:at])], pair(), 0.5) is None


def test_no_more_days_are_asked_for_than_are_needed() -> None:
    asked: list[int] = []

    def days_of(_: str):
        for n in range(100):
            asked.append(n)
            yield f"day {n:03}", profile((100, 200, 300, 400, 0))

    one = delivery([])
    found = find_first_shift([Delivery(one.commit, (), days_of)], pair(), 0.5)
    assert found is not None
    assert len(asked) < 10


@settings(max_examples=60, deadline=None)
@given(days=st.lists(COUNTS, min_size=1, max_size=20), least=st.floats(0.0, 1.0))
def test_rows_do_not_change_one_another(days, least) -> None:
    was, now = grouped(BEFORE, GROUPS), np.array([grouped(profile(one), GROUPS) for one in days])
    alone = np.concatenate([shifts(was, row[np.newaxis], least) for row in now])
    np.testing.assert_array_equal(shifts(was, now, least), alone)
