"""What is exported decides as Seamline does: random contracts, random rows, the real libraries."""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.data.contracts.exports import ExportFormat, export_contract, json_schema
from seamline.measure.casting import POLARS_TYPES, DType
from seamline.measure.contracts import Column, Contract, RowRule, check_frame

NAMES = ("n", "m", "x", "s", "flag", "day")
TYPES = dict(
    zip(
        NAMES,
        (DType.INT, DType.INT, DType.FLOAT, DType.STRING, DType.BOOL, DType.DATE),
        strict=True,
    )
)
DAYS = [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
VALUES: Mapping[DType, list[Any]] = {
    DType.INT: [-3, 0, 1, 7, 12],
    DType.FLOAT: [-2.5, 0.0, 1.0, 7.25, 12.0],
    DType.STRING: ["a", "A", "ab", "b1", "ä", ""],
    DType.BOOL: [True, False],
    DType.DATE: DAYS,
}
RULES = (
    "n <= m",
    "x > 0 or s is null",
    "flag = true or n in (1, 7)",
    "day >= date('2024-02-29')",
    "length(s) - 1 > 0",
    "coalesce(x, n) < 8",
    "not (starts_with(s, 'a') and flag)",
)


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    dtype = TYPES[name]
    is_number = dtype in (DType.INT, DType.FLOAT)
    ends = sorted(draw(st.tuples(*[st.sampled_from([-5.0, 0.5, 7.0, 20.0])] * 2)))
    low, high = (draw(st.sampled_from([None, end])) if is_number else None for end in ends)
    written = [str(one) for one in VALUES[dtype]]
    return Column(
        name,
        dtype,
        nullable=draw(st.booleans()),
        required=draw(st.booleans()),
        low=low,
        high=high,
        values=draw(st.none() | st.lists(st.sampled_from(written), min_size=1).map(tuple)),
        pattern=draw(st.sampled_from([None, "[a-z]+", "a|b1", ".?"]))
        if dtype is DType.STRING
        else None,
        unique=draw(st.booleans()),
    )


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    held = tuple(draw(columns(name)) for name in NAMES)
    said = draw(st.lists(st.sampled_from(RULES), unique=True, max_size=2))
    rules = tuple(RowRule(f"rule {at}", text) for at, text in enumerate(said))
    if rules:  # a rule over a column that is not there cannot be written for Pandera
        held = tuple(Column(**{**vars(one), "required": True}) for one in held)
    return Contract(held, null_values=(), rules=rules)


rows = st.fixed_dictionaries(
    {name: st.none() | st.sampled_from(VALUES[TYPES[name]]) for name in NAMES}
)
frames = st.tuples(
    st.lists(rows, min_size=1, max_size=5), st.sets(st.sampled_from(NAMES), max_size=1)
)


def holds(frame: pl.DataFrame, contract: Contract) -> bool:
    """By Seamline's rules of rows, and the one of values that are unique in a delivery."""
    unique = [one.name for one in contract.columns if one.unique and one.name in frame.columns]
    twice = any(frame[name].drop_nulls().is_duplicated().any() for name in unique)
    return not check_frame(frame, contract)[0] and not twice


@settings(deadline=None, max_examples=150)
@given(contracts(), frames)
def test_pandera_decides_alike(
    contract: Contract, given_frame: tuple[list[dict[str, Any]], set[str]]
) -> None:
    pandera = pytest.importorskip("pandera.polars")
    told, left_out = given_frame
    frame = pl.DataFrame(told, schema={name: POLARS_TYPES[TYPES[name]] for name in NAMES})
    if contract.rules:
        left_out = set()
    frame = frame.drop(left_out)
    module: dict[str, Any] = {}
    exec(export_contract(contract, "calls", ExportFormat.PANDERA), module)
    try:
        module["schema"].validate(frame, lazy=True)
    except (pandera.errors.SchemaError, pandera.errors.SchemaErrors) as error:
        assert not holds(frame, contract), error
    else:
        assert holds(frame, contract)


strange = st.sampled_from([True, 1, 1.0, 1.5, "soon", None])


@settings(deadline=None, max_examples=150)
@given(
    contracts(), rows, st.dictionaries(st.sampled_from(NAMES), strange, max_size=1), st.booleans()
)
def test_jsonschema_decides_alike(
    contract: Contract, row: dict[str, Any], other: dict[str, Any], more: bool
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    contract = Contract(contract.columns, null_values=())  # rules are said to be left out
    whole = {**row, **other, **({"more": 1} if more else {})}
    sent = {name: str(one) if isinstance(one, date) else one for name, one in whole.items()}
    validator = jsonschema.Draft202012Validator(
        json_schema(contract, "calls"), format_checker=jsonschema.FormatChecker(["date"])
    )
    assert validator.is_valid(sent) == (not check_frame(pl.DataFrame([sent]), contract)[0])


def test_names_that_python_or_json_would_trip_over() -> None:
    pytest.importorskip("pandera.polars")
    names = ["it's", 'a "b"', "back\\slash", "läng", string.punctuation, "new\nline"]
    contract = Contract(tuple(Column(name, DType.INT, high=5) for name in names))
    module: dict[str, Any] = {}
    exec(export_contract(contract, "quo'te\"", ExportFormat.PANDERA), module)
    frame = pl.DataFrame({name: [1] for name in names})
    assert module["schema"].validate(frame).equals(frame)
    assert list(json_schema(contract, "x")["properties"]) == names
