"""Contracts as YAML: read, written, suggested from a profile, exported."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.data.contracts.exports import ExportFormat, export_contract, json_schema
from seamline.data.contracts.inference import suggest_contract
from seamline.data.contracts.offline import check_file
from seamline.data.contracts.reading import read_contract
from seamline.data.contracts.writing import write_contract
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
    ViolationKind,
    check_frame,
    infer_contract,
)
from seamline.measure.profiles import profile_frame

WHOLE = """
on_breach: warn
rows: {at_least: 10, of_previous: {at_least: 0.5, at_most: 2}, on_breach: refuse}
freshness: {max_age: 36h}
keys: {unique_in: table}
columns:
  id: {type: int, nullable: false, unique: true}
  at: datetime
  hour: {type: int, at_least: 0, at_most: 23.5, on_breach: quarantine}
  country: {type: string, one_of: [no, 007, UA], matches: "[A-Z]{2}|no|007"}
  score: {type: float, required: false, drift: {psi: 0.25, on_breach: trigger}}
rules:
  - name: night
    holds: "hour < 6 or country = 'no'"
    on_breach: quarantine
"""

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
policies = st.none() | st.sampled_from(Policy)
numbers = st.floats(-1e12, 1e12).map(lambda x: x + 0.0) | st.integers(-99, 99).map(float)

allowed = {
    DType.INT: st.integers(-(2**60), 2**60).map(str),
    DType.FLOAT: numbers.map(str),
    DType.STRING: texts,
    DType.BOOL: st.sampled_from(["true", "False"]),
    DType.DATE: st.dates(date(1900, 1, 1)).map(str),
    DType.DATETIME: st.datetimes(datetime(1900, 1, 1)).map(lambda one: f"{one:%Y-%m-%dT%H:%M}Z"),
}


@st.composite
def bounds(draw: st.DrawFn) -> RowBounds:
    """At least one of them, in order."""
    low, high = sorted(draw(st.tuples(*[st.integers(0, 10**9)] * 2)))
    least, most = sorted(draw(st.tuples(*[st.floats(0, 5)] * 2)))
    said = (low, high, least, most)
    left_out = draw(st.sets(st.integers(0, 3), max_size=3))
    rules = [None if at in left_out else one for at, one in enumerate(said)]
    return RowBounds(*rules, on_breach=draw(policies))


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    dtype = draw(st.sampled_from(DType))
    is_number = dtype in (DType.INT, DType.FLOAT)
    ends = sorted(draw(st.tuples(numbers, numbers))) if is_number else [None, None]
    is_time = dtype in (DType.DATE, DType.DATETIME)
    drift = None if is_time else draw(st.none() | st.floats(0.01, 5))
    return Column(
        name,
        dtype,
        nullable=draw(st.booleans()),
        required=draw(st.booleans()),
        low=ends[0],
        high=ends[1],
        values=draw(st.none() | st.lists(allowed[dtype], min_size=1, max_size=4).map(tuple)),
        pattern=draw(st.none() | st.sampled_from(["[A-Z]+", 'a"b', "x|\\d"]))
        if dtype is DType.STRING
        else None,
        unique=draw(st.booleans()),
        drift=drift,
        on_drift=draw(policies) if drift is not None else None,
        on_breach=draw(policies),
    )


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    names = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    return Contract(
        tuple(draw(columns(name)) for name in names),
        on_breach=draw(st.sampled_from(Policy)),
        rules=tuple(
            RowRule(name, "1 = 1", draw(policies)) for name in draw(st.lists(texts, unique=True))
        ),
        rows=draw(st.none() | bounds()),
        freshness=draw(
            st.none() | st.builds(Freshness, st.integers(1, 10**7).map(float), policies)
        ),
        unique_in_table=draw(st.booleans()),
    )


@settings(deadline=None)
@given(contracts())
def test_what_is_written_reads_as_the_same_contract(contract: Contract) -> None:
    assert read_contract(write_contract(contract)) == contract


def test_a_file_says_all_there_is_to_say() -> None:
    contract = read_contract(WHOLE)
    assert contract.rows == RowBounds(10, None, 0.5, 2.0, Policy.REFUSE)
    assert contract.freshness == Freshness(129_600.0)
    assert contract.unique_in_table and contract.on_breach is Policy.WARN
    country = contract.column("country")
    assert country is not None and country.values == ("no", "007", "UA")
    assert contract.rules == (RowRule("night", "hour < 6 or country = 'no'", Policy.QUARANTINE),)
    assert contract.policy(country.on_breach) is Policy.WARN
    assert read_contract(write_contract(contract, "a title\nof two lines")) == contract


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("[1]", "c.yaml:1: the file has to be a table"),
        ("a: b: c", "c.yaml:1: "),
        ("columns:\n  a: [\n", "c.yaml:3: "),
        ("on_breach: warn\n", "columns is missing"),
        ("colums: {}", "c.yaml:1: a contract has no key 'colums'. Did you mean columns?"),
        ("columns:\n  a: {typ: int}", "c.yaml:2: columns.a has no key 'typ'. Did you mean type?"),
        ("columns:\n\n  a: {type: flaot}", "c.yaml:3: columns.a.type: 'flaot' .*mean float"),
        ("columns:\n  a: {nullable: true}", "c.yaml:2: columns.a lacks its type"),
        ("columns:\n  a: {type: int, nullable: no}", "columns.a.nullable has to be true or false"),
        ("columns:\n  a: {type: int, at_least: '0'}", "at_least has to be a number, not '0'"),
        ("columns:\n  a: {type: int, at_least: 3, at_most: 2}", "c.yaml:2: Column a: nothing is"),
        ("columns:\n  a: {type: string, matches: '('}", "c.yaml:2: .*no regular expression"),
        ("columns:\n  a: {type: string, one_of: []}", "allows no value"),
        ("columns:\n  a: int\n  a: float", "c.yaml:3: columns.a is there twice"),
        ("columns:\n  a: int\nrows: {at_least: 1.5}", "c.yaml:3: .*whole number"),
        ("columns:\n  a: int\nfreshness: {max_age: soon}", "c.yaml:3: 'soon' is not a duration"),
        (
            "columns:\n  a: int\nrules:\n  - {name: r, holds: a > 0}\n  - {name: q, holds: aa > 0}",
            "c.yaml:5: The rule 'aa > 0' names 'aa', which is no column. Did you mean a",
        ),
        ("columns:\n  a:\n    typ:\n      int", "c.yaml:3: columns.a has no key 'typ'"),
        ("columns:\n  a: {type: int, min: 3}", "no key 'min'. Did you mean at_least?"),
        ("columns:\n  a: {type: string, regex: x}", "no key 'regex'. Did you mean matches?"),
        ("columns:\n  a: text", "columns.a: 'text' is not known. Did you mean string?"),
        ("on_breach: error\ncolumns:\n  a: int", "c.yaml:1: .*Did you mean refuse?"),
        ("columns:\n  b: int\n  a:", "c.yaml:3: columns.a lacks its type. One of int"),
        ("columns: {}", "columns names none"),
        ("columns:\n  a: {type: int, one_of: [1, x]}", "c.yaml:2: Column a is int: 'x' of one_of"),
        ("columns:\n  a: {type: int, at_most: 1e400}", "c.yaml:2: .*beyond"),
        ("columns:\n  a: {type: int, drift: 0}", "c.yaml:2: columns.a.drift has to be above 0"),
        ("columns:\n  a: {type: date, drift: 1}", "c.yaml:2: Column a is date: times"),
        ("columns:\n  a: int\nrows: {at_least: -1}", "c.yaml:3: rows cannot be below 0"),
        ("columns:\n  a: int\nrows: {at_least: 2, at_most: 1}", "c.yaml:3: rows: nothing is"),
        ("columns:\n  a: int\nrows: {on_breach: warn}", "c.yaml:3: rows says nothing"),
        ("columns:\n  a: int\nrows: 5", "c.yaml:3: .*Write rows: {at_least: 1}"),
        ("columns:\n  a: int\nfreshness: 36h", "c.yaml:3: .*Write freshness: {max_age: 36h}"),
        ("columns:\n  a: int\nfreshness: {max_age: 0h}", "c.yaml:3: Nothing is younger"),
        (
            "columns:\n  a: int\nrules:\n  - {name: r, holds: a > 0}\n  - {name: r, holds: a < 0}",
            "c.yaml:5: There are two rules of the name 'r'",
        ),
        (
            "columns:\n  a: int\nrules:\n  - name: r\n    holds: lenght(a) > 0",
            "c.yaml:5: .*Did you mean length?",
        ),
        ("a: &x 1\nb: *x", "c.yaml:1: anchors"),
        ("columns: !!python/name:os.system {}", "c.yaml:1: tags"),
        ("columns: {}\n---\ncolumns: {}", "c.yaml:"),
        ("columns:\n  a: " + "[" * 5000, "c.yaml:2: lists and tables lie .* more than 20 deep"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_contract(text, "c.yaml")


cells = {
    "n": st.none() | st.integers(-50, 50),
    "x": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
    "s": st.none() | st.sampled_from(["UA", "DL", "OO"]),
    "free": st.none() | st.text(st.characters(codec="ascii", categories=["L"]), max_size=5),
    "flag": st.none() | st.booleans(),
}
frames = st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=120).map(
    lambda rows: pl.DataFrame(
        rows,
        schema={
            "n": pl.Int64,
            "x": pl.Float64,
            "s": pl.String,
            "free": pl.String,
            "flag": pl.Boolean,
        },
    )
)


@settings(deadline=None)
@given(frames)
def test_what_is_suggested_holds_for_the_rows_it_was_made_from(frame: pl.DataFrame) -> None:
    inferred = infer_contract(frame, ())
    schema = [(column.name, column.dtype) for column in inferred.columns]
    contract, hints = suggest_contract(schema, profile_frame(frame, make_basis(frame)), ["n"])
    read = read_contract(write_contract(contract, hints=hints), null_values=())
    assert check_frame(frame, read)[0] == []


def test_small_sets_are_closed_and_rare_values_keep_them_open() -> None:
    frame = pl.DataFrame({"a": ["UA", "DL"] * 40, "b": [*["UA"] * 79, "XX"], "n": range(80)})
    schema = [("a", DType.STRING), ("b", DType.STRING), ("n", DType.INT)]
    contract, hints = suggest_contract(schema, profile_frame(frame, make_basis(frame)), ["n"])
    assert [column.values for column in contract.columns] == [("DL", "UA"), None, None]
    assert [column.nullable for column in contract.columns] == [True, True, False]
    assert contract.columns[2].low is None and hints["n"] == "0 to 79 so far"


def test_a_file_is_checked_without_a_workspace(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("id,hour\n1,5\n2,24\n3,x\n4,-\n")
    text = "columns:\n  id: {type: int, unique: true}\n  hour: {type: int, at_most: 23}\n"
    found = check_file(text, "c.yaml", data, tmp_path, ["-"])
    assert found.rows == 4
    assert [(one.kind, one.count) for one in found.violations] == [
        (ViolationKind.MISTYPED, 1),
        (ViolationKind.OUT_OF_RANGE, 1),
    ]


def test_a_file_tells_values_that_come_twice(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("id,code\n1,a\n1.0,\n2,\n")
    text = "columns:\n  id: {type: int, unique: true, on_breach: warn}\n"
    text += "  code: {type: string, unique: true}\n  gone: {type: int, unique: true}\n"
    bad = check_file(text.replace("int, unique", "float, unique"), "c.yaml", data, tmp_path)
    assert [(one.kind, one.column, one.count, one.policy) for one in bad.violations] == [
        (ViolationKind.MISSING_COLUMN, "gone", 0, Policy.REFUSE),
        (ViolationKind.DUPLICATE_KEYS, "id", 2, Policy.WARN),
    ]


def test_json_schema_says_what_a_row_is_and_what_it_cannot_say() -> None:
    found = json_schema(read_contract(WHOLE), "calls")
    assert found["required"] == ["id", "at", "hour", "country"]
    assert found["properties"]["id"] == {"type": "integer"}
    assert found["properties"]["hour"] == {
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": 23.5,
    }
    assert found["properties"]["country"]["enum"] == ["no", "007", "UA", None]
    for left_out in ("how many rows", "drift of score", "night", "id unique"):
        assert left_out in found["$comment"]
    assert json.loads(export_contract(read_contract(WHOLE), "calls", ExportFormat.JSON_SCHEMA))


GOOD = {"id": 1, "at": "2026-03-01T08:00:00Z", "hour": 5, "country": "UA", "score": 0.5}


@pytest.mark.parametrize(
    ("change", "is_valid"),
    [
        ({}, True),
        ({"hour": None}, True),
        ({"id": None}, False),
        ({"hour": 24}, False),
        ({"hour": "5"}, False),
        ({"country": "ZZ"}, False),
        ({"other": 1}, False),
    ],
)
def test_jsonschema_agrees(change: dict[str, object], is_valid: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema(read_contract(WHOLE), "calls")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert jsonschema.Draft202012Validator(schema).is_valid(GOOD | change) is is_valid


def test_the_pandera_module_agrees() -> None:
    pandera = pytest.importorskip("pandera.polars")
    contract = read_contract(WHOLE.replace("007", "seven"))
    module: dict[str, object] = {}
    exec(export_contract(contract, 'a "name"', ExportFormat.PANDERA), module)
    schema = module["schema"]
    good = pl.DataFrame(
        {"id": [1, 2], "hour": [5, None], "country": ["UA", "no"], "score": [0.5, None]}
    ).select(
        "id",
        pl.lit("2026-03-01").str.to_datetime(time_unit="us", time_zone="UTC").alias("at"),
        "hour",
        "country",
        "score",
    )
    assert schema.validate(good).equals(good)
    for change in (
        pl.Series("id", [1, 1]),
        pl.Series("hour", [5, 24]),
        pl.Series("hour", [5.0, 6.0]),
        pl.Series("country", ["UA", "ZZ"]),
        pl.Series("hour", [7, 5]),  # the rule: not at night, and not 'no'
    ):
        with pytest.raises((pandera.errors.SchemaError, pandera.errors.SchemaErrors)):
            schema.validate(good.with_columns(change))
