"""Two versions compared from their profiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.data.diff.columns import chance_limit
from seamline.data.diff.compare import ADDED, Comparison, Side, compare_versions
from seamline.data.diff.deliveries import Delivery
from seamline.data.diff.findings import Change, Commit, Producer, VersionDiff, with_producers
from seamline.measure.basis import Basis, make_basis
from seamline.measure.columns import ColumnProfile
from seamline.measure.drift import population_stability
from seamline.measure.profiles import Profile, profile_partitions, sum_profiles

DAYS = 20
PER_DAY = 1000
TEXTS = ["n/a"] * 21 + ["12,50"] * 20 + ["EUR 20"] * 19
CHURN = (("customer", "int"), ("tenure", "int"), ("plan", "string"), ("total_charges", "float"))
WIDENED = (*CHURN[:3], ("total_charges", "string"))
STRUCK = date(2026, 3, 2)


def churn(days: Sequence[date], seed: int = 1) -> pl.DataFrame:
    """Customers with their charges; `ds` says in which partition they lie."""
    rng = np.random.default_rng(seed)
    n = PER_DAY * len(days)
    tenure = rng.integers(0, 72, n)
    return pl.DataFrame(
        {
            "customer": np.arange(n) + seed * 1_000_000,
            "tenure": tenure,
            "plan": rng.choice(["monthly", "yearly", "two years"], n),
            "total_charges": (tenure * rng.uniform(20, 110, n)).round(2),
            "ds": [day for day in days for _ in range(PER_DAY)],
        }
    )


def corrupt(frame: pl.DataFrame) -> pl.DataFrame:
    """Sixty charges of one day become text, as a change in data preparation made them."""
    texts = frame["total_charges"].cast(pl.String).to_list()
    where = np.flatnonzero((frame["ds"] == STRUCK).to_numpy())[: len(TEXTS)]
    for place, text in zip(where.tolist(), TEXTS, strict=True):
        texts[place] = text
    return frame.with_columns(pl.Series("total_charges", texts))


def march(first: int, n: int) -> list[date]:
    return [date(2026, 2, 20) + timedelta(days=first + i) for i in range(n)]


def delivery(
    frame: pl.DataFrame,
    basis: Basis,
    version: int,
    schema: tuple[tuple[str, str], ...] = CHURN,
    run_id: str | None = None,
) -> tuple[Delivery, Profile]:
    days = profile_partitions(frame.drop("ds"), basis, frame["ds"])
    commit = Commit("churn", version, run_id, "ada", "churn.csv", "2026-03-03T00:00:00.000000Z")

    def days_of(column: str) -> Iterator[tuple[str, ColumnProfile]]:
        return ((day, one.columns[column]) for day, one in days.items() if column in one.columns)

    return Delivery(commit, schema, days_of), sum_profiles(days.values())


def side(number: int, profile: Profile, schema: tuple[tuple[str, str], ...] = CHURN) -> Side:
    return Side(f"churn@{number}", f"sha256:{number:064}", schema, profile)


def replaced(
    before: pl.DataFrame,
    after: pl.DataFrame,
    schema: tuple[tuple[str, str], ...] = CHURN,
    run_id: str | None = None,
    was_schema: tuple[tuple[str, str], ...] = CHURN,
) -> VersionDiff:
    """Version 4 is the whole table anew."""
    basis = make_basis(before.drop("ds"))
    _, was = delivery(before, basis, 3, was_schema)
    made, now = delivery(after, basis, 4, schema, run_id)
    return compare_versions(
        Comparison(
            side(3, was, was_schema), side(4, now, schema), [made], False, steady={"customer"}
        )
    )


def appended(before: pl.DataFrame, added: pl.DataFrame) -> VersionDiff:
    basis = make_basis(before.drop("ds"))
    _, was = delivery(before, basis, 3)
    made, more = delivery(added, basis, 4)
    now = sum_profiles([was, more])
    return compare_versions(
        Comparison(side(3, was), side(4, now), [made], True, steady={"customer"})
    )


def kinds(diff: VersionDiff) -> list[tuple[Change, str | None]]:
    return [(one.change, one.column) for one in diff.findings]


def test_the_incident_is_told_in_the_first_line() -> None:
    frame = churn(march(0, DAYS))
    diff = replaced(frame, corrupt(frame), WIDENED, run_id="0199")
    producer = Producer("prepare", "prep", "1.4", "churn@2.0")
    first = with_producers(diff, lambda commit: producer).findings[0]
    assert first.sentence() == (
        "total_charges: float → string; 19,940 of 20,000 still numeric; 60 text values: "
        "'n/a' ×21, '12,50' ×20, 'EUR 20' ×19; first in partition 2026-03-02 (60 of 1,000); "
        "committed by run 0199, component prep@1.4 as churn@4"
    )
    assert kinds(diff) == [(Change.TYPE, "total_charges")]


def test_text_among_numbers_that_were_kept_as_text() -> None:
    clean = churn(march(0, DAYS)).with_columns(pl.col("total_charges").cast(pl.String))
    diff = replaced(clean, corrupt(clean), WIDENED, was_schema=WIDENED)
    (first,) = diff.findings
    assert first.change is Change.TYPE
    # Of 20,000 different texts a sketch names 64: which ones are bad cannot be told from it.
    assert first.statement == (
        "total_charges: string; 19,940 of 20,000 still numeric; 60 text values"
    )
    assert first.first is not None
    assert (first.first.partition, first.first.bad) == ("2026-03-02", 60)


def test_text_among_few_different_numbers_is_named() -> None:
    clean = churn(march(0, DAYS)).with_columns(
        (pl.col("total_charges") // 100 * 100).cast(pl.Int64).cast(pl.String)
    )
    (first, *_) = replaced(clean, corrupt(clean), WIDENED, was_schema=WIDENED).findings
    assert first.statement == (
        "total_charges: string; 19,940 of 20,000 still whole numbers; "
        "60 text values: 'n/a' ×21, '12,50' ×20, 'EUR 20' ×19"
    )


def test_what_is_added_is_held_against_what_was() -> None:
    before = churn(march(0, DAYS))
    added = churn(march(DAYS, 4), seed=2).with_columns(
        total_charges=pl.col("total_charges")
        * pl.when(pl.col("ds") >= march(DAYS, 4)[1]).then(3.0).otherwise(1.0),
        plan=pl.when(pl.col("ds") == march(DAYS, 4)[2])
        .then(pl.lit("lifetime"))
        .otherwise(pl.col("plan")),
    )
    diff = appended(before, added)
    assert diff.part == ADDED
    found = {(one.change, one.column): one for one in diff.findings}
    rows = found[(Change.ROWS, None)]
    assert rows.sentence() == "rows: 20,000 → 24,000 (+4,000), by 1 version"
    new = found[(Change.VALUES_NEW, "plan")]
    assert new.statement == "plan: new values: 'lifetime' ×1,000"
    assert new.first is not None
    assert (new.first.partition, new.first.bad) == (str(march(DAYS, 4)[2]), 1000)
    shift = found[(Change.SHIFT, "total_charges")]
    assert shift.first is not None
    assert shift.first.partition == str(march(DAYS, 4)[1])
    assert "in the 4,000 rows added" in shift.statement
    assert (Change.SHIFT, "tenure") not in found
    assert not any(one.column == "customer" for one in diff.findings)


def test_missing_values_and_those_that_are_gone() -> None:
    before = churn(march(0, DAYS))
    after = before.with_columns(
        tenure=pl.when((pl.col("ds") >= STRUCK) & (pl.col("customer") % 2 == 0))
        .then(None)
        .otherwise(pl.col("tenure")),
        plan=pl.col("plan").replace("yearly", "monthly"),
    )
    diff = replaced(before, after)
    assert kinds(diff)[:2] == [(Change.MISSING, "tenure"), (Change.VALUES_GONE, "plan")]
    missing, gone = diff.findings[:2]
    assert missing.statement == "tenure: missing 0.0% → 25.0% (5,000 of 20,000)"
    assert missing.first is not None
    assert (missing.first.partition, missing.first.bad) == ("2026-03-02", 500)
    assert gone.statement.startswith("plan: values gone: 'yearly' ×")


def test_columns_that_come_and_go() -> None:
    before = churn(march(0, 2))
    after = before.rename({"plan": "tariff"})
    schema = tuple(("tariff" if name == "plan" else name, dtype) for name, dtype in CHURN)
    diff = replaced(before, after, schema)
    assert kinds(diff) == [(Change.COLUMN_GONE, "plan"), (Change.COLUMN_NEW, "tariff")]
    for one in diff.findings:
        assert one.first is not None
        assert one.first.commit.version == 4


def test_the_earliest_version_that_brought_it_is_named() -> None:
    """Two deliveries into the same day: the first is clean, the second is not."""
    before = churn(march(0, DAYS))
    basis = make_basis(before.drop("ds"))
    _, was = delivery(before, basis, 1)
    late = churn([STRUCK], seed=2)
    clean, first = delivery(late, basis, 2)
    struck, second = delivery(corrupt(churn([STRUCK], seed=3)), basis, 3, WIDENED)
    again, third = delivery(corrupt(churn([STRUCK], seed=4)), basis, 4, WIDENED)
    now = sum_profiles([was, first, second, third])
    found = Comparison(side(1, was), side(4, now, WIDENED), [clean, struck, again], True)
    top = compare_versions(found).findings[0]
    assert top.change is Change.TYPE
    assert top.first is not None
    assert (top.first.commit.version, top.first.bad) == (3, 60)


@pytest.mark.parametrize("rows", [30, 300])
def test_few_rows_are_no_shift(rows: int) -> None:
    before = churn(march(0, DAYS))
    added = churn(march(DAYS, 1), seed=5).head(rows)
    assert not any(one.change is Change.SHIFT for one in appended(before, added).findings)


VALUES = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, -9999.0]))
WORDS = st.one_of(st.none(), st.sampled_from(["n/a", "12,50", "7", "true", "2026-03-02", ""]))


@given(st.lists(st.tuples(VALUES, WORDS, st.integers(0, 3)), min_size=1, max_size=60))
def test_a_version_does_not_differ_from_itself(rows: list[tuple[float | None, str | None, int]]):
    frame = pl.DataFrame(
        {
            "number": pl.Series([row[0] for row in rows], dtype=pl.Float64),
            "word": pl.Series([row[1] for row in rows], dtype=pl.String),
            "ds": [march(row[2], 1)[0] for row in rows],
        }
    )
    schema = (("number", "float"), ("word", "string"))
    basis = make_basis(frame.drop("ds").head(len(rows) // 2 + 1))
    _, profile = delivery(frame, basis, 1, schema)
    one = side(1, profile, schema)
    for deliveries, extends in (([], True), ([], False)):
        diff = compare_versions(Comparison(one, one, deliveries, extends))
        assert diff.findings == ()
        assert not diff.differs


def test_the_same_profile_of_other_bytes_differs() -> None:
    _, profile = delivery(churn(march(0, 1)), make_basis(churn(march(0, 1)).drop("ds")), 1)
    one = side(1, profile)
    other = replace(one, digest="sha256:other", reference="churn@2")
    diff = compare_versions(Comparison(one, other, [], False))
    assert diff.findings == ()
    assert diff.differs


def test_profiles_of_before_values_were_named() -> None:
    """How many is known, which ones is not."""
    frame = churn(march(0, DAYS))
    basis = make_basis(frame.drop("ds"))
    _, was = delivery(frame, basis, 1)
    made, now = delivery(corrupt(frame), basis, 2, WIDENED)
    was, now = (
        replace(
            profile,
            columns={
                name: replace(column, others=None, unread=None)
                for name, column in profile.columns.items()
            },
        )
        for profile in (was, now)
    )
    (first,) = compare_versions(
        Comparison(side(1, was), side(2, now, WIDENED), [made], False, steady={"customer"})
    ).findings
    assert first.statement == (
        "total_charges: float → string; 19,940 of 20,000 still numeric; 60 text values"
    )
    assert first.first is not None


@pytest.mark.parametrize(("n", "m"), [(20_000, 20_000), (20_000, 300), (1000, 1000)])
def test_chance_exceeds_its_limit_once_in_a_thousand_times(n: int, m: int) -> None:
    rng = np.random.default_rng(7)
    shares, draws = np.full(10, 0.1), 40_000
    before, after = (rng.multinomial(size, shares, draws).astype(float) for size in (n, m))
    psi = population_stability(before, after)
    assert 0.0002 < (psi > chance_limit(n, m, 10)).mean() < 0.002
