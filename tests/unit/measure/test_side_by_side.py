"""Columns side by side: in order, all of them, and what the first of them raises."""

from __future__ import annotations

import threading

import pytest

from seamline.measure.side_by_side import map_columns

MANY = 1_000_000


def test_the_answers_come_in_the_order_of_the_columns() -> None:
    second_is_done = threading.Event()

    def look(column: int) -> int:
        if column == 0:
            assert second_is_done.wait(30), "the columns are not looked at side by side"
        else:
            second_is_done.set()
        return column * 10

    assert map_columns(look, range(5), MANY) == [0, 10, 20, 30, 40]


def test_few_rows_are_not_worth_a_thread() -> None:
    assert set(map_columns(lambda _: threading.get_ident(), range(3), 10)) == {
        threading.get_ident()
    }


def test_what_is_raised_is_that_of_the_first_column() -> None:
    def look(column: int) -> int:
        raise ValueError(f"column {column}")

    with pytest.raises(ValueError, match="column 0"):
        map_columns(look, range(4), MANY)
