from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.console.grid import (
    DONE,
    ORDER,
    fields_of,
    group_failures,
    label_steps,
    pick,
    say_brief_progress,
    say_progress,
    segments,
    short_names,
    tally,
)
from seamline.domain.states import TaskState

STATES = st.lists(st.sampled_from(ORDER), max_size=60)
COUNTS = st.dictionaries(st.sampled_from(ORDER), st.integers(1, 10_000), min_size=1)
PATHS = st.lists(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), unique=True, max_size=8
)


def test_every_state_has_its_place() -> None:
    assert sorted(ORDER) == sorted(TaskState)


@given(STATES)
def test_a_tally_counts_all_in_order(states: list[str]) -> None:
    counts = tally(states)
    assert sum(counts.values()) == len(states)
    assert list(counts) == [state for state in ORDER if state in states]


@given(COUNTS)
def test_progress_tells_every_count(counts: dict[str, int]) -> None:
    said = say_progress(counts)
    done = sum(counts.get(state, 0) for state in DONE)
    assert said.startswith(f"{done:,} of {sum(counts.values()):,} done")
    for state, count in counts.items():
        assert state == "succeeded" or f"{count:,} " in said
    assert say_brief_progress(counts).startswith(f"{done:,} of {sum(counts.values()):,}")
    assert ("failed" in say_brief_progress(counts)) == ("failed" in counts)


@given(COUNTS, st.integers(60, 600))
def test_a_bar_is_filled_and_every_part_can_be_seen(counts: dict[str, int], width: int) -> None:
    parts = segments(counts, width, least=3)
    assert [one.state for one in parts] == [state for state in ORDER if state in counts]
    assert sum(one.width for one in parts) == pytest.approx(width, abs=0.5)
    assert all(one.width >= 2.9 for one in parts)
    for one, next_one in pairwise(parts):
        assert one.x + one.width == pytest.approx(next_one.x, abs=0.2)


def test_nothing_makes_an_empty_bar() -> None:
    assert segments({}, 100) == []


@given(PATHS)
def test_short_names_tell_paths_apart(paths: list[str]) -> None:
    short = short_names(paths)
    assert list(short) == paths
    assert len(set(short.values())) == len(paths)
    assert all(path.endswith(name) for path, name in short.items())


def test_steps_go_by_the_names_that_people_gave_them() -> None:
    steps = [
        {"name": "one/for-loop-2", "display_name": "by depth"},
        {"name": "one/fit", "display_name": "fit"},
        {"name": "two/fit-2", "display_name": "fit"},
    ]
    assert list(label_steps(steps).values()) == ["by depth", "fit", "fit-2"]


def iterations(*outcomes: str) -> list[dict[str, Any]]:
    return [
        {"index": index, "outcome": one, "item": {"to": f"L{index}", "by": "AA"}}
        for index, one in enumerate(outcomes)
    ]


def test_failing_ones_come_first_and_the_rest_stay_in_order() -> None:
    found = iterations("succeeded", "not_triggered", "failed", "running", "failed", "succeeded")
    assert [one["index"] for one in pick(found, None, "")] == [2, 4, 3, 0, 5, 1]
    assert [one["index"] for one in pick(found, "failed", "")] == [2, 4]


@pytest.mark.parametrize(
    ("text", "indexes"),
    [
        ("l1 aa", [1, 10, 11]),
        ("L1 nowhere", []),
        ("to=l11", [11]),
        ("7", [7]),
        ("BY", [*range(12)]),
    ],
)
def test_items_are_found_by_their_words(text: str, indexes: list[int]) -> None:
    found = iterations(*["succeeded"] * 12)
    assert [one["index"] for one in pick(found, None, text)] == indexes


@pytest.mark.parametrize(
    ("items", "fields"),
    [
        ([{"a": 1}, {"b": 2, "a": 3}], ["a", "b"]),
        ([{"a": 1}, 5], []),
        ([{str(n): n for n in range(7)}], []),
        ([], []),
        ([None], []),
    ],
)
def test_fields_are_columns_while_they_fit(items: list[Any], fields: list[str]) -> None:
    assert fields_of(items) == fields


def test_failures_that_say_the_same_are_told_once() -> None:
    found = [
        {"name": "a[0]/b[1]/fit", "sentence": "no rows"},
        {"name": "a[2]/b[0]/fit", "sentence": "no rows"},
        {"name": "a[2]/b[3]/fit", "sentence": "no disk"},
        {"name": "a[2]/b[3]/cut", "sentence": "no disk"},
    ]
    told = [(one["step"], one["sentence"], len(one["failures"])) for one in group_failures(found)]
    assert told == [("a/b/fit", "no rows", 2), ("a/b/fit", "no disk", 1), ("a/b/cut", "no disk", 1)]
