"""Contracts: every way of breaking one, in one sentence each."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import polars as pl
import pytest

from seamline.domain.errors import InvalidInput
from seamline.measure.casting import DType, cast_series
from seamline.measure.contracts import (
    Column,
    Contract,
    Violation,
    ViolationKind,
    check_frame,
    infer_contract,
)


@pytest.fixture
def july() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "day": [f"2013-07-{1 + i // 100:02d}" for i in range(3100)],
            "carrier": ["UA" if i % 3 else "DL" for i in range(3100)],
            "dep_delay": ["NA" if i % 50 == 0 else str(i % 60) for i in range(3100)],
            "distance": [f"{500 + i}.5" for i in range(3100)],
            "late": ["true" if i % 4 == 0 else "FALSE" for i in range(3100)],
            "at": ["2013-07-01T05:00:00Z"] * 3100,
        }
    )


def test_a_csv_of_strings_gives_a_typed_contract_and_a_typed_frame(july: pl.DataFrame) -> None:
    contract = infer_contract(july)
    assert [(c.name, str(c.dtype), c.nullable) for c in contract.columns] == [
        ("day", "date", False),
        ("carrier", "string", False),
        ("dep_delay", "int", True),
        ("distance", "float", False),
        ("late", "bool", False),
        ("at", "datetime", False),
    ]
    violations, typed = check_frame(july, contract)
    assert violations == [] and typed is not None
    assert typed["day"][0] == date(2013, 7, 1)
    assert typed["dep_delay"].null_count() == 62
    assert typed["at"][0] == datetime(2013, 7, 1, 5, tzinfo=UTC)
    assert check_frame(typed, contract)[1].equals(typed)
    assert infer_contract(typed).columns == contract.columns


def test_the_incident_is_told_in_one_sentence(july: pl.DataFrame) -> None:
    contract = infer_contract(july)
    bad = ["n/a", "12,50", "EUR 20"] * 20
    distance = july["distance"].to_list()
    distance[850:910] = bad
    broken = july.with_columns(pl.Series("distance", distance))
    violations, typed = check_frame(broken, contract, day=july["day"])
    assert typed is None
    assert [v.sentence() for v in violations] == [
        "distance: 60 of 3,100 values are not float, e.g. 'n/a', '12,50', 'EUR 20'; "
        "first bad day 2013-07-09."
    ]
    assert violations[0].share == 60 / 3100
    assert Violation.from_json(json.loads(json.dumps(violations[0].to_json()))) == violations[0]


def test_each_kind_of_violation_has_its_sentence() -> None:
    contract = Contract(
        (
            Column("hour", DType.INT, nullable=False, low=0, high=23),
            Column("carrier", DType.STRING, values=("UA", "DL")),
            Column("gone", DType.FLOAT),
            Column("optional", DType.FLOAT, required=False),
        )
    )
    frame = pl.DataFrame(
        {"hour": ["5", "24", ""], "carrier": ["UA", "XX", None], "extra": ["1", "2", "3"]}
    )
    violations, typed = check_frame(frame, contract)
    assert typed is None
    assert {v.kind: v.sentence() for v in violations} == {
        ViolationKind.NULLS: "hour: 1 of 3 values are missing; the contract allows none.",
        ViolationKind.OUT_OF_RANGE: "hour: 1 of 3 values are out of range "
        "(at least 0, at most 23), e.g. '24'.",
        ViolationKind.NOT_ALLOWED: "carrier: 1 of 3 values are not among 'UA', 'DL', e.g. 'XX'.",
        ViolationKind.MISSING_COLUMN: "gone: the column is missing; the contract expects float.",
        ViolationKind.UNEXPECTED_COLUMN: "extra: the column is not in the contract.",
    }


def test_null_values_are_the_contracts_own() -> None:
    frame = pl.DataFrame({"country": ["NA", "DE"], "n": ["-", "1"]})
    contract = Contract((Column("country", DType.STRING), Column("n", DType.INT)), ("-",))
    violations, typed = check_frame(frame, contract)
    assert not violations and typed is not None
    assert typed.rows() == [("NA", None), ("DE", 1)]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (pl.Series([1, 2]), DType.FLOAT, [1.0, 2.0]),
        (pl.Series([1.0, 1.5]), DType.INT, [1, None]),
        (pl.Series([1, 2]), DType.STRING, [None, None]),
        (pl.Series([date(2026, 1, 2)]), DType.DATETIME, [datetime(2026, 1, 2, tzinfo=UTC)]),
        (pl.Series([datetime(2026, 1, 2, 5)]), DType.DATE, [None]),
        (pl.Series(["1e3", "NaN", " 1"]), DType.FLOAT, [1000.0, None, None]),
        (pl.Series(["9223372036854775808"]), DType.INT, [None]),
        (pl.Series(["2026-02-30", "2026-02-03"]), DType.DATE, [None, date(2026, 2, 3)]),
        (pl.Series(["a"], dtype=pl.Categorical), DType.STRING, ["a"]),
        (pl.Series([None, None]), DType.INT, [None, None]),
    ],
)
def test_casts_widen_and_never_guess(values, dtype, expected) -> None:
    assert cast_series(values, dtype).to_list() == expected


def test_contracts_survive_json_and_say_what_is_wrong_with_a_column() -> None:
    contract = Contract((Column("a", DType.INT, low=0), Column("b", DType.STRING, values=("x",))))
    again = Contract.from_json(json.loads(json.dumps(contract.to_json())))
    assert again == contract and again.digest == contract.digest
    assert replace(contract, null_values=("",)).digest != contract.digest
    for bad in ({"name": "a", "dtype": "number"}, {"dtype": "int"}, {"name": "a", "dtyp": 1}):
        with pytest.raises(InvalidInput, match="contract column"):
            Contract.from_json({"columns": [bad]})


def test_day_labels_must_fit_the_rows() -> None:
    with pytest.raises(InvalidInput, match="1 day labels do not fit 2 rows"):
        check_frame(pl.DataFrame({"a": [1, 2]}), Contract(()), day=pl.Series(["d"]))
