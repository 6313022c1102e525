from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from seamline.data.days import read_times, with_day
from seamline.data.declaration import DatasetDeclaration, Mode, Partition
from seamline.domain.errors import InvalidInput


def days(frame: pl.DataFrame) -> list[str]:
    return frame["ds"].cast(pl.String).to_list()


def test_json_round_trip() -> None:
    declared = DatasetDeclaration("flights", date=("year", "month", "day"), keys=("flight",))
    assert DatasetDeclaration.from_json(declared.to_json()) == declared
    snapshot = DatasetDeclaration("stock", mode=Mode.REPLACE, partition=Partition.INSERTION)
    assert DatasetDeclaration.from_json(snapshot.to_json()) == snapshot
    before = {"name": "flights", "time": "at"}  # as earlier versions wrote it
    assert DatasetDeclaration.from_json(before).mode is Mode.APPEND


def test_where_rows_lie() -> None:
    assert DatasetDeclaration("stock").lies_by is Partition.INSERTION
    assert DatasetDeclaration("stock", time="at").lies_by is Partition.EVENT
    by_insertion = DatasetDeclaration("stock", time="at", partition=Partition.INSERTION)
    frame = pl.DataFrame({"at": ["2013-01-01T05:00:00Z"]})
    dated = with_day(frame, by_insertion, inserted_on=date(2026, 1, 2))
    assert days(dated) == ["2026-01-02"]
    assert dated["at"].to_list() == [datetime(2013, 1, 1, 5, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "Flights", "time": "at"}, "cannot be the name"),
        ({"name": "../x", "time": "at"}, "cannot be the name"),
        ({"name": "flights", "partition": Partition.EVENT}, "which day"),
        ({"name": "flights", "time": "at", "date": ("y", "m", "d")}, "says twice which day"),
        ({"name": "flights", "date": ("day",)}, "three columns"),
        ({"name": "flights", "time": "at", "zone": "America/New_Yrok"}, "America/New_York"),
        ({"name": "flights", "time": "at", "zone": "../etc"}, "no time zone"),
        ({"name": "flights", "time": "at", "from_output": "train"}, "PIPELINE.OUTPUT"),
    ],
)
def test_a_wrong_declaration_says_what_to_write(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        DatasetDeclaration(**fields)
    assert told in str(caught.value)


def test_times_without_an_offset_are_local() -> None:
    declared = DatasetDeclaration("calls", time="at", zone="America/New_York")
    frame = pl.DataFrame({"at": ["2013-01-01 23:30", "2013-01-02T04:30:00+00:00"]})
    dated = with_day(frame, declared)
    assert days(dated) == ["2013-01-01", "2013-01-01"]
    assert dated["at"].to_list() == [datetime(2013, 1, 2, 4, 30, tzinfo=UTC)] * 2


def test_hours_that_come_twice_or_never() -> None:
    declared = DatasetDeclaration("calls", time="at", zone="America/New_York")
    read = read_times(pl.Series("at", ["2013-11-03 01:30", "2013-03-10 02:30"]), declared)
    assert read.to_list() == [
        datetime(2013, 11, 3, 5, 30, tzinfo=UTC),
        datetime(2013, 3, 10, 7, 30, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("pattern", "text", "day"),
    [
        ("%d.%m.%Y", "09.07.2013", "2013-07-09"),
        ("%d.%m.%Y %H:%M", "09.07.2013 23:59", "2013-07-09"),
        ("%d.%m.%Y %H:%M %z", "09.07.2013 23:59 +0000", "2013-07-10"),
        ("%s", "1373414340", "2013-07-10"),
    ],
)
def test_a_declared_time_format(pattern: str, text: str, day: str) -> None:
    declared = DatasetDeclaration("calls", time="at", time_format=pattern, zone="Europe/Berlin")
    assert days(with_day(pl.DataFrame({"at": [text]}), declared)) == [day]


@pytest.mark.parametrize(
    "times",
    [
        pl.Series("at", [date(2013, 7, 9)]),
        pl.Series("at", [datetime(2013, 7, 9, 23, 59)]),
        pl.Series("at", [datetime(2013, 7, 9, 21, 59, tzinfo=UTC)]).cast(pl.Datetime("ns", "UTC")),
        pl.Series("at", ["2013-07-09"]),
    ],
    ids=["date", "local", "instant", "text"],
)
def test_typed_times(times: pl.Series) -> None:
    declared = DatasetDeclaration("calls", time="at", zone="Europe/Berlin")
    assert days(with_day(times.to_frame(), declared)) == ["2013-07-09"]


def test_rows_without_a_day_are_told_with_examples() -> None:
    declared = DatasetDeclaration("flights", date=("year", "month", "day"))
    frame = pl.DataFrame(
        {"year": ["2013", "2013", "2013"], "month": ["2", "2", None], "day": ["28", "30", "1"]}
    )
    with pytest.raises(InvalidInput) as caught:
        with_day(frame, declared)
    assert "2 of 3 rows" in caught.value.message
    assert "'2013-2-30', '2013-(missing)-1'" in caught.value.message


def test_numbers_are_no_times() -> None:
    with pytest.raises(InvalidInput, match="cannot be told from at"):
        with_day(pl.DataFrame({"at": [5]}), DatasetDeclaration("calls", time="at"))


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(InvalidInput, match="Did you mean minutes"):
        with_day(
            pl.DataFrame({"at": ["2013-01-01"], "minutes": [1]}),
            DatasetDeclaration("calls", time="at", label="minuets"),
        )


def test_a_column_ds_of_its_own_has_to_agree() -> None:
    declared = DatasetDeclaration("calls", time="at")
    agreeing = pl.DataFrame({"at": ["2013-01-01T05:00:00Z"], "ds": ["2013-01-01"]})
    assert days(with_day(agreeing, declared)) == ["2013-01-01"]
    with pytest.raises(InvalidInput, match="partition column"):
        with_day(agreeing.with_columns(ds=pl.lit("2013-01-02")), declared)
