"""Rules at endpoints decide as rules at a commit do: NumPy against Polars, rule by rule."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.measure.casting import POLARS_TYPES, DType, cast_series, null_missing
from seamline.measure.contracts.expressions import broken_by, read_rule
from seamline.measure.rules.arrays import compile_rule
from seamline.measure.rules.cells import CellKind, read_cells

KINDS = {
    "n": CellKind.INT,
    "m": CellKind.INT,
    "x": CellKind.FLOAT,
    "y": CellKind.FLOAT,
    "s": CellKind.STRING,
    "t": CellKind.STRING,
    "flag": CellKind.BOOL,
    "day": CellKind.DATE,
    "at": CellKind.DATETIME,
}
SCHEMA = {name: POLARS_TYPES[DType(kind)] for name, kind in KINDS.items()}

numbers = st.sampled_from(
    ["n", "m", "x", "y", "0", "1", "2.5", "-3", "length(s)", "year(day)", "month(at)", "hour(at)"]
)
maths = st.recursive(
    numbers,
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from("+-*/%"), part).map(lambda one: f"({' '.join(one)})"),
        st.tuples(st.sampled_from(["abs", "-", "round"]), part).map(
            lambda one: f"{one[0]}({one[1]})"
        ),
        st.tuples(st.sampled_from(["coalesce", "least", "greatest"]), part, part).map(
            lambda one: f"{one[0]}({one[1]}, {one[2]})"
        ),
    ),
    max_leaves=4,
)
words = st.sampled_from(["s", "t", "lower(s)", "upper(t)", "'a'", "'Äß'", "coalesce(s, t)"])
days = st.sampled_from(["day", "at", "date('2024-02-29')", "greatest(day, date('2024-01-31'))"])
marks = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
said = st.one_of(
    st.tuples(maths, marks, maths).map(" ".join),
    st.tuples(words, marks, words).map(" ".join),
    st.tuples(days, marks, days).map(" ".join),
    st.tuples(maths, st.sampled_from([" in (1, 2, -3)", " not in (0)", " between 0 and 2"])).map(
        "".join
    ),
    st.tuples(words, st.sampled_from([" in ('a', 'B')", " is null", " is not null"])).map("".join),
    st.tuples(st.sampled_from(["starts_with", "ends_with"]), words, words).map(
        lambda one: f"{one[0]}({one[1]}, {one[2]})"
    ),
    st.sampled_from(["flag", "flag = true", "flag != false", "not flag", "x is null"]),
)
rules = st.recursive(
    said,
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from(["and", "or"]), part).map(lambda one: f"({' '.join(one)})"),
        part.map(lambda one: f"not ({one})"),
    ),
    max_leaves=4,
)
texts = st.none() | st.sampled_from(["a", "A", "b", "Äß", "äSS", "", "ab"])
times = st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
row = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-4, 4),
        "m": st.none() | st.integers(-4, 4),
        "x": st.none() | st.sampled_from([-2.5, -1.0, 0.0, 0.5, 1.5, 3.0]),
        "y": st.none() | st.sampled_from([-2.5, -1.0, 0.0, 0.5, 1.5, 3.0]),
        "s": texts,
        "t": texts,
        "flag": st.none() | st.booleans(),
        "day": st.none()
        | st.dates(date(1960, 1, 1), date(2100, 1, 1))
        | st.just(date(2024, 2, 29)),
        "at": st.none() | times | st.just(datetime(2024, 2, 29, tzinfo=UTC)),
    }
)


def sent(rows: list[dict[str, object]], name: str) -> list[object]:
    """As a request's column: times as texts, as people write them."""
    values = [one[name] for one in rows]
    return [one.isoformat() if isinstance(one, date) else one for one in values]


@settings(deadline=None, max_examples=200)
@given(rules, st.lists(row, min_size=1, max_size=6))
def test_an_endpoint_decides_as_a_commit_does(rule: str, rows: list[dict[str, object]]) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    try:
        expression = read_rule(rule, SCHEMA)
    except InvalidInput:
        return  # no contract can have it
    given_cells = {name: read_cells(sent(rows, name), kind).cells for name, kind in KINDS.items()}
    found = compile_rule(rule, KINDS).broken(given_cells, len(rows))
    assert found.tolist() == broken_by(expression, frame).to_list()


NUMBERS = [
    "7",
    "-7",
    "+7",
    "007",
    " 7",
    "7 ",
    "1_000",
    "7.0",
    "7.5",
    ".5",
    "5.",
    "1e3",
    "1e400",
    "٣",
]
WORDS = ["x", "true", "False", "TRUE", "yes", "inf", "", "NA", "9" * 20, "9" * 400]
DATES = ["2025-03-01", "2025-3-1", "2025-02-30", "20250301"]
TIMES = [
    *("2025-03-01 08:00", "2025-03-01T08:00:00Z", "2025-03-01T08:00:00+02:00", "08:00"),
    *(
        "2025-03-01T08:00:00.1234567Z",
        "2025-03-01T08:00+0200",
        "2025-03-01T25:00",
        "2025-03-01 8:00",
    ),
]
written = st.sampled_from([*NUMBERS, *WORDS, *DATES, *TIMES])


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(CellKind), st.lists(st.none() | written, min_size=1, max_size=6))
def test_texts_are_read_as_those_of_a_delivery(kind: CellKind, texts: list[str | None]) -> None:
    """But that an endpoint takes no infinity."""
    sent = [one for one in texts if one != "inf"] or [None]
    read = read_cells(sent, kind, ["", "NA"])
    raw = null_missing(pl.Series(sent, dtype=pl.String), ["", "NA"])
    values = cast_series(raw, DType(kind))
    assert read.missing.tolist() == raw.is_null().to_list()
    assert read.mistyped.tolist() == (values.is_null() & raw.is_not_null()).to_list()
    found = pl.Series(read.cells.values.tolist(), dtype=POLARS_TYPES[DType(kind)], strict=False)
    assert found.set(pl.Series(read.cells.unknown), None).equals(values)
