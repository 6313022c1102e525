from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.data.labels.definition import LabelsDeclaration
from seamline.data.labels.join import KNOWN_AT, AsOf, join_labels, known_labels
from seamline.domain.errors import InvalidInput

START = datetime(2026, 3, 1, tzinfo=UTC)
SAID = LabelsDeclaration(
    "outcomes", ("id",), time="happened", values=("label",), arrived="arrived", horizon="10h"
)
TIME = pl.Datetime("us", "UTC")


def at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


def rows_of(rows: list[tuple[int, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": [one[0] for one in rows], "seen": [at(one[1]) for one in rows]},
        schema={"id": pl.Int64, "seen": TIME},
    )


def labels_of(labels: list[tuple[int, int, int]]) -> pl.DataFrame:
    """(id, happened, arrives so much later); the label is its place in the list."""
    return pl.DataFrame(
        {
            "id": [one[0] for one in labels],
            "happened": [at(one[1]) for one in labels],
            "arrived": [at(one[1] + one[2]) for one in labels],
            "label": list(range(len(labels))),
        },
        schema={"id": pl.Int64, "happened": TIME, "arrived": TIME, "label": pl.Int64},
    )


def joined(rows: pl.DataFrame, labels: pl.DataFrame, hour: int) -> pl.DataFrame:
    as_of = AsOf(at(hour))
    return join_labels(rows, known_labels(labels, SAID, as_of), SAID, as_of, "seen")


ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)))
LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(-3, 20)))


@given(ROWS, LABELS, st.integers(0, 50))
@settings(deadline=None)
def test_each_row_has_the_last_known_label_of_its_time_and_none_from_the_future(
    rows: list[tuple[int, int]], labels: list[tuple[int, int, int]], now: int
) -> None:
    found = joined(rows_of(rows), labels_of(labels), now)
    seen = [one for one in rows if one[1] <= now]
    assert list(found.select("id", "seen").iter_rows()) == [(key, at(hour)) for key, hour in seen]
    for (key, hour), row in zip(seen, found.iter_rows(named=True), strict=True):
        own = [
            (happened, happened + later, number)
            for number, (other, happened, later) in enumerate(labels)
            if other == key and hour <= happened <= hour + 10
            if happened + later <= now and happened <= now
        ]
        last = max(own, default=None)
        assert row["label"] == (None if last is None else last[2])
        assert row[KNOWN_AT] == (None if last is None else at(last[1]))
        assert row[KNOWN_AT] is None or row[KNOWN_AT] <= at(now)


@given(ROWS, LABELS, st.integers(0, 40), LABELS)
@settings(deadline=None)
def test_what_comes_in_later_changes_nothing_of_what_was_known(
    rows: list[tuple[int, int]],
    labels: list[tuple[int, int, int]],
    now: int,
    more: list[tuple[int, int, int]],
) -> None:
    later = [(key, happened, now + 1 - happened + abs(late)) for key, happened, late in more]
    before = joined(rows_of(rows), labels_of(labels), now)
    assert joined(rows_of(rows), labels_of(labels + later), now).equals(before)


def test_what_is_told_by_a_day_is_known_at_its_end() -> None:
    said = LabelsDeclaration("outcomes", ("id",), time="day", values=("label",))
    labels = pl.DataFrame({"id": [1], "day": [date(2026, 3, 1)], "label": ["late"]})
    rows = pl.DataFrame({"id": [1, 1], "ds": [date(2026, 2, 28), date(2026, 3, 1)]})
    for hours, found in ((23, [None]), (24, ["late", "late"])):
        as_of = AsOf(at(hours))
        known = known_labels(labels, said, as_of)
        assert join_labels(rows, known, said, as_of, "ds")["label"].to_list() == found


def test_a_corrected_label_is_the_one_that_arrived_last() -> None:
    labels = labels_of([(1, 5, 1), (1, 5, 9)])
    assert [joined(rows_of([(1, 0)]), labels, hour)["label"][0] for hour in (5, 6, 13, 14)] == [
        None,
        0,
        0,
        1,
    ]


def test_refusals_say_which_columns() -> None:
    as_of = AsOf(at(9))
    with pytest.raises(InvalidInput, match="lack the columns arrived"):
        known_labels(labels_of([]).drop("arrived"), SAID, as_of)
    known = known_labels(labels_of([]), SAID, as_of)
    rows = rows_of([(1, 1)]).with_columns(label=pl.lit(1))
    with pytest.raises(InvalidInput, match="called like the labels': label"):
        join_labels(rows, known, SAID, as_of, "seen")
    with pytest.raises(InvalidInput, match="no times"):
        join_labels(rows_of([(1, 1)]), known, SAID, as_of, "id")


def test_a_day_is_over_where_it_is_told() -> None:
    """What New York says of 1 March is not known while it is 1 March there."""
    labels = pl.DataFrame({"id": [1], "on": [date(2026, 3, 1)], "label": [7]})
    said = LabelsDeclaration("outcomes", ("id",), time="on", values=("label",))
    rows = pl.DataFrame({"id": [1], "seen": [date(2026, 2, 28)]})

    def ask(hour: int) -> list[int | None]:
        as_of, zone = AsOf(datetime(2026, 3, 2, hour, tzinfo=UTC)), "America/New_York"
        known = known_labels(labels, said, as_of, zone=zone)
        return join_labels(rows, known, said, as_of, "seen", zone=zone)["label"].to_list()

    assert (ask(4), ask(5)) == ([None], [7])
