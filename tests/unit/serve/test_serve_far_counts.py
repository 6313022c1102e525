"""Counts of data planes elsewhere: told again, out of order, after a restart."""

from __future__ import annotations

import pytest

from seamline.domain.errors import InvalidInput
from seamline.serve.far_counts import Told, keep_counts, read_counts


def told(life, **by_status):
    counts = {status.removeprefix("s"): count for status, count in by_status.items()}
    return Told("kiosk", life, {"late": counts})


def total(root):
    (one,) = read_counts(root, "production")
    return dict(one.total["late"])


def keep(root, what, plane="p"):
    keep_counts(root, "production", plane, what, "2026-01-01T00:00:00Z")


def test_a_count_that_is_told_again_or_late_changes_nothing(tmp_path):
    for count in (3, 5, 5, 4):
        keep(tmp_path, told("a", s400=count))
    assert total(tmp_path) == {"400": 5}


def test_a_process_that_begins_again_counts_on(tmp_path):
    keep(tmp_path, told("a", s200=7, s400=5))
    keep(tmp_path, told("b", s400=1))
    keep(tmp_path, told("b", s400=2, s413=1))
    assert total(tmp_path) == {"200": 7, "400": 7, "413": 1}
    keep(tmp_path, told("a", s400=5))  # sent before, arrived now
    assert total(tmp_path) == {"200": 7, "400": 7, "413": 1}
    keep(tmp_path, told("c", s400=1))
    assert total(tmp_path) == {"200": 7, "400": 8, "413": 1}


def test_each_plane_has_its_own(tmp_path):
    keep(tmp_path, told("a", s400=1), "p")
    keep(tmp_path, told("a", s400=2), "q")
    assert [dict(one.total["late"]) for one in read_counts(tmp_path, "production")] == [
        {"400": 1},
        {"400": 2},
    ]
    assert read_counts(tmp_path, "staging") == []


@pytest.mark.parametrize(
    ("plane", "what", "says"),
    [
        ("../x", told("a", s400=1), "'../x' cannot be the name"),
        ("p", told("a", s400=-1), "-1 requests to 'late' with status '400'"),
        ("p", told("a", okay=1), "status 'okay'"),
        ("p", told("", s400=1), "too long"),
        ("p", told("a" * 201, s400=1), "too long"),
    ],
)
def test_what_is_no_count_is_refused(tmp_path, plane, what, says):
    with pytest.raises(InvalidInput, match=says):
        keep(tmp_path, what, plane)
    assert read_counts(tmp_path, "production") == []


def test_a_damaged_file_is_begun_anew(tmp_path):
    keep(tmp_path, told("a", s400=1))
    path = next(tmp_path.glob("*/production/p.json"))
    path.write_text("{")
    assert read_counts(tmp_path, "production") == []
    keep(tmp_path, told("a", s400=2))
    assert total(tmp_path) == {"400": 2}
