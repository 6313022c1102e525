"""Rules of a contract beyond types: patterns, expressions, whole deliveries, profiles."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.measure.basis import make_basis
from seamline.measure.casting import DType
from seamline.measure.contracts import (
    Column,
    Contract,
    Freshness,
    Policy,
    RowBounds,
    RowRule,
    Violation,
    ViolationKind,
    check_contract,
    check_frame,
    check_rows,
)
from seamline.measure.contracts.deliveries import check_drift, check_freshness, check_row_count
from seamline.measure.contracts.expressions import broken_by, read_rule
from seamline.measure.contracts.profiled import check_profile
from seamline.measure.contracts.violations import add_violations
from seamline.measure.profiles import profile_frame, profile_partitions, sum_profiles

SCHEMA = {
    "a": pl.Int64(),
    "b": pl.Float64(),
    "name": pl.String(),
    "day": pl.Date(),
    "is late": pl.Boolean(),
}
ROWS = pl.DataFrame(
    {
        "a": [1, 2, None],
        "b": [0.5, -3.0, 1.0],
        "name": ["x", "Öl", None],
        "day": [date(2026, 1, 1), date(2026, 6, 30), None],
        "is late": [True, False, None],
    },
    schema=SCHEMA,
)


@pytest.mark.parametrize(
    ("rule", "breaks"),
    [
        ("a > 1", [True, False, False]),  # unknown is no breach
        ("a > 1 or name is null", [True, False, False]),
        ("not a > 1 and b < 1", [False, True, True]),
        ("a * 2 + 1 = 3", [False, True, False]),
        ("a between 1 and 1", [False, True, False]),
        ("a not between 1 and 1", [True, False, False]),
        ("name in ('x', 'y')", [False, True, False]),
        ("name not in ('x')", [True, False, False]),
        ("a in (-1, 2)", [True, False, False]),
        ("length(name) = 1", [False, True, False]),
        ("upper(name) = 'ÖL' or name = 'x'", [False, False, False]),
        ("day < date('2026-02-01')", [False, True, False]),
        ("month(day) = 6 and year(day) = 2026", [True, False, False]),
        ('"is late" = true', [False, True, False]),
        ('"is late"', [False, True, False]),
        ("coalesce(a, 0) > 0", [False, False, True]),
        ("greatest(a, b) >= 1 and least(a, b) < 1", [False, False, True]),
        ("abs(-b) <= 1", [False, True, False]),
        ("b is not null", [False, False, False]),
        ("1 = 2", [True, True, True]),
        ("name <> 'it''s'", [False, False, False]),
        ("length(name) - 3 > 0", [True, True, False]),  # lengths have a sign
        ("month(day) * 100 + day(day) in (101, 630)", [False, False, False]),  # of 64 bits
    ],
)
def test_rules_over_columns(rule: str, breaks: list[bool]) -> None:
    assert broken_by(read_rule(rule, SCHEMA), ROWS).to_list() == breaks


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("open('/etc/passwd') = 1", "calls open"),
        ("lenght(name) = 1", "Did you mean length"),
        ("nmae = 'x'", "Did you mean name"),
        ("a", "gives Int64, not true or false"),
        ("a > 'x'", "does not fit the columns' types"),
        ("a >", "ends where a value should be"),
        ("a > 1 b", "where it should end"),
        ("(a > 1", "lacks"),
        ("a between 1", "without 'and'"),
        ("a is 3", "without 'null'"),
        ("a in (1, 'x')", "texts and numbers"),
        ("a; drop", "cannot have ';'"),
        ("abs(a, b) > 1", "takes 1"),
        ("day > date('soon')", "Write date"),
        ("(" * 40 + "a > 1" + ")" * 40, "nested more than"),
        ("a > " + "1" * 1000, "characters"),
        ("", "ends where a value should be"),
        ("not " * 200 + "a", "gives Int64|does not fit"),
    ],
)
def test_what_is_no_rule_is_told(rule: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_rule(rule, SCHEMA)


def test_patterns_match_the_whole_text() -> None:
    contract = Contract((Column("id", DType.STRING, pattern="[A-Z]{2}[0-9]+|none"),))
    bad, _ = check_frame(pl.DataFrame({"id": ["UA12", "none", "xUA12", "UA12\n", None]}), contract)
    (only,) = bad
    assert (only.kind, only.count) == (ViolationKind.NO_MATCH, 2)
    assert only.sentence().startswith("id: 2 of 5 values do not match '[A-Z]{2}[0-9]+|none', e.g.")


def test_a_closed_set_is_of_values_and_not_of_how_they_are_written() -> None:
    columns = (
        Column("x", DType.FLOAT, values=("1", "2.50")),
        Column("n", DType.INT, values=("007",)),
        Column("flag", DType.BOOL, values=("True",)),
    )
    frame = pl.DataFrame({"x": [1.0, 2.5, 3.0], "n": [7, 7, 8], "flag": [True, True, False]})
    assert check_frame(frame.head(2), Contract(columns))[0] == []
    assert [one.count for one in check_frame(frame, Contract(columns))[0]] == [1, 1, 1]


@pytest.mark.parametrize(
    "column",
    [
        Column("a", DType.STRING, pattern="("),
        Column("a", DType.INT, values=("1", "x")),
        Column("a", DType.DATE, drift=0.2),
        Column("a", DType.STRING, pattern=r"(a)\1"),
        Column("a", DType.INT, pattern="1"),
        Column("a", DType.STRING, low=1),
        Column("a", DType.INT, low=2, high=1),
    ],
)
def test_rules_that_nothing_could_keep_are_refused(column: Column) -> None:
    with pytest.raises(InvalidInput, match="Column a"):
        check_contract(Contract((column,)))


def test_each_rule_has_its_policy_and_says_which_rows() -> None:
    contract = Contract(
        (
            Column("a", DType.INT, high=5, on_breach=Policy.QUARANTINE),
            Column("b", DType.INT, on_breach=Policy.WARN),
        ),
        rules=(RowRule("order", "a <= b", Policy.QUARANTINE),),
    )
    frame = pl.DataFrame({"a": ["1", "9", "3", "4"], "b": ["2", "1", "x", "1"]})
    checked = check_rows(frame, contract, day=pl.Series(["d1", "d2", "d3", "d4"]))
    assert [(one.column, one.kind, one.count, one.does) for one in checked.violations] == [
        ("a", ViolationKind.OUT_OF_RANGE, 1, Policy.QUARANTINE),
        ("b", ViolationKind.MISTYPED, 1, Policy.WARN),
        ("order", ViolationKind.RULE, 2, Policy.QUARANTINE),
    ]
    aside = checked.set_aside()
    assert aside is not None and aside.to_list() == [False, True, False, True]
    assert checked.reasons(aside).to_list() == [
        "a: out of range (at most 5); order: rule (a <= b)",
        "order: rule (a <= b)",
    ]
    assert checked.violations[2].sentence() == (
        "order: 2 of 4 rows break a <= b, e.g. 'a 9, b 1', 'a 4, b 1'; first bad day d2."
    )
    told = json.loads(json.dumps(checked.violations[2].to_json()))
    assert Violation.from_json(told) == checked.violations[2]


def test_what_concerns_a_whole_delivery_cannot_be_set_aside() -> None:
    contract = Contract((Column("a", DType.INT),), on_breach=Policy.QUARANTINE)
    (missing,) = check_rows(pl.DataFrame({"b": []}).head(0).drop("b"), contract).violations
    assert (missing.policy, missing.does) == (Policy.QUARANTINE, Policy.REFUSE)


def test_contracts_survive_json_and_the_old_ones_keep_their_digest() -> None:
    old = {
        "columns": [{"name": "a", "dtype": "int", "nullable": True, "required": True}],
        "null_values": ["", "NA", "NaN"],
    }
    assert Contract.from_json(old).to_json() == old
    whole = Contract(
        (
            Column("a", DType.STRING, pattern="x", unique=True, on_breach=Policy.WARN),
            Column("b", DType.INT, drift=0.2, on_drift=Policy.TRIGGER),
        ),
        on_breach=Policy.QUARANTINE,
        rules=(RowRule("r", "b > 1"),),
        rows=RowBounds(at_least=1, most_share=2.0, on_breach=Policy.WARN),
        freshness=Freshness(60.0),
        unique_in_table=True,
    )
    again = Contract.from_json(json.loads(json.dumps(whole.to_json())))
    assert again == whole and again.digest == whole.digest


@pytest.mark.parametrize(
    ("bounds", "rows", "before", "is_broken"),
    [
        (RowBounds(at_least=10), 9, None, True),
        (RowBounds(at_least=10), 10, None, False),
        (RowBounds(at_most=10), 11, None, True),
        (RowBounds(least_share=0.5), 49, 100, True),
        (RowBounds(least_share=0.5), 50, 100, False),
        (RowBounds(most_share=2.0), 201, 100, True),
        (RowBounds(most_share=2.0), 500, None, False),
        (RowBounds(at_least=1, least_share=0.5), 40, 100, True),
    ],
)
def test_how_many_rows_may_come(
    bounds: RowBounds, rows: int, before: int | None, is_broken: bool
) -> None:
    assert bool(check_row_count(Contract((), rows=bounds), rows, before)) is is_broken


def test_how_old_the_newest_event_may_be() -> None:
    contract = Contract((), freshness=Freshness(3600.0, Policy.WARN))
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert check_freshness(contract, "at", now - timedelta(hours=1), now) == []
    (stale,) = check_freshness(contract, "at", now - timedelta(hours=25), now)
    assert stale.does is Policy.WARN
    assert stale.sentence() == (
        "at: the newest event is of 2026-03-01 11:00 UTC, 1 d 1 h old; at most 1 h is allowed."
    )


def test_drift_needs_a_shift_that_the_days_before_do_not_show() -> None:
    days = [f"2026-01-{n:02d}" for n in range(1, 13)]
    frame = pl.DataFrame(
        {"day": [day for day in days for _ in range(100)], "x": [n % 100 for n in range(1200)]}
    )
    basis = make_basis(frame.select("x"))
    parts = list(profile_partitions(frame.select("x"), basis, frame["day"]).values())
    before = sum_profiles(parts)
    contract = Contract((Column("x", DType.INT, drift=0.2, on_drift=Policy.TRIGGER),))
    same = profile_frame(frame.select("x").head(200), basis)
    shifted = profile_frame(pl.DataFrame({"x": [n % 20 for n in range(200)]}), basis)
    assert list(check_drift(contract, before, parts, same, 2)) == []
    (found,) = check_drift(contract, before, parts, shifted, 2)
    assert (found.kind, found.does) == (ViolationKind.DRIFT, Policy.TRIGGER)
    assert found.sentence().startswith("x: the values have shifted more than PSI 0.2: PSI")
    assert list(check_drift(contract, before, parts[:5], shifted, 2)) == []  # nobody can tell


def test_a_profile_tells_what_rows_would() -> None:
    frame = pl.DataFrame({"hour": [5, 24, None, -1], "carrier": ["UA", "XX", "UA", None]})
    profile = profile_frame(frame, make_basis(frame))
    schema = {"hour": DType.INT, "carrier": DType.STRING}
    contract = Contract(
        (
            Column("hour", DType.INT, nullable=False, low=0, high=23),
            Column("carrier", DType.STRING, values=("UA", "DL")),
            Column("gone", DType.INT),
        )
    )
    assert [one.sentence() for one in check_profile(contract, schema, profile)] == [
        "hour: 1 of 4 values are missing; the contract allows none.",
        "hour: 2 of 4 values are out of range (at least 0, at most 23), e.g. '-1', '24'.",
        "carrier: 1 of 4 values are not among 'UA', 'DL', e.g. 'XX'.",
        "gone: the column is missing; the contract expects int.",
    ]
    whole = Contract((Column("hour", DType.FLOAT), Column("carrier", DType.STRING)))
    assert check_profile(whole, schema, profile) == []


def test_a_profile_tells_that_a_column_became_text() -> None:
    basis = make_basis(pl.DataFrame({"x": [1.5, 2.5, 3.5]}))
    broken = profile_frame(pl.DataFrame({"x": ["1.5", "n/a", "n/a"]}), basis)
    (found,) = check_profile(Contract((Column("x", DType.FLOAT),)), {"x": DType.STRING}, broken)
    assert found.sentence() == "x: 2 of 3 values are not float, e.g. 'n/a'."
    healed = profile_frame(pl.DataFrame({"x": ["1.5", "2", "3"]}), basis)
    assert check_profile(Contract((Column("x", DType.FLOAT),)), {"x": DType.STRING}, healed) == []


values = st.sampled_from(["1", "5", "9", "x", "", None])


@settings(deadline=None)
@given(st.lists(st.tuples(values, values), min_size=1, max_size=40), st.integers(0, 40))
def test_what_is_broken_does_not_depend_on_how_rows_came_in_batches(
    rows: list[tuple[str | None, str | None]], at: int
) -> None:
    contract = Contract(
        (
            Column("a", DType.INT, nullable=False, high=5, on_breach=Policy.QUARANTINE),
            Column("b", DType.INT, values=("1", "5")),
        ),
        rules=(RowRule("order", "a <= b", Policy.WARN),),
    )
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row")
    days = pl.Series([f"2026-01-{1 + n // 2:02d}" for n in range(len(rows))])
    whole = check_rows(frame, contract, day=days)
    parts = [
        check_rows(frame.slice(*cut), contract, day=days.slice(*cut))
        for cut in ((0, at), (at, len(rows)))
    ]
    found = add_violations([one for part in parts for one in part.violations], len(rows))
    assert sorted(found, key=_rule) == sorted(whole.violations, key=_rule)
    assert pl.concat([part.typed for part in parts]).equals(whole.typed)


def _rule(violation: Violation) -> tuple[str, str]:
    return violation.column, violation.kind
