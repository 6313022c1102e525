"""What the log does not hold is said not to be known, and hurts no other column."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from seamline.app.declarations import MonitorDeclaration
from seamline.app.monitor.measure_monitor import Answered, measure_answers
from seamline.app.monitor.subjects import Subject
from seamline.domain.states import Verdict
from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_partitions, sum_profiles
from seamline.monitor.drift import DriftReference

DAYS = [date(2026, 1, 1) + timedelta(days=number) for number in range(30)]
INPUTS = {"hour": "INT64", "temp": "FP64", "carrier": "BYTES"}
MONITOR = MonitorDeclaration("late", "late", drift=0.2)


def rows_on(day: date) -> pl.DataFrame:
    number = day.toordinal()
    return pl.DataFrame(
        {
            "hour": [(number * 7 + row) % 24 for row in range(40)],
            "temp": [float((number + row) % 9) for row in range(40)],
            "carrier": ["AA" if (number + row) % 3 else "UA" for row in range(40)],
        }
    )


@pytest.fixture(scope="module")
def answered() -> Callable[[pl.DataFrame], Answered]:
    frame = pl.concat(rows_on(day) for day in DAYS)
    labels = pl.Series("ds", [str(day) for day in DAYS for _ in range(40)])
    days = profile_partitions(frame, make_basis(frame), labels)
    document = {
        "task": "regression",
        "threshold": None,
        "signature": {
            "inputs": [{"name": name, "datatype": kind} for name, kind in INPUTS.items()],
            "outputs": [{"name": "prediction", "datatype": "FP64"}],
        },
    }
    reference = DriftReference(sum_profiles(list(days.values())), days)

    class Known(Subject):
        def drift(self, by_day: Collection[str] | None = None) -> DriftReference:
            return reference

    version = SimpleNamespace(model="late", version="1.0.0", document=document)
    subject = Known(cast(Any, None), cast(Any, version), None)
    return lambda rows: Answered(subject, rows)


def logged(hidden: dict[str, str | None]) -> pl.DataFrame:
    """As the log has it: a hidden column holds that text, or is not there."""
    rows = []
    for day in (one + timedelta(days=30) for one in DAYS):
        for row in rows_on(day).to_dicts():
            kept = {**row, **hidden}
            features = {name: value for name, value in kept.items() if value is not None}
            text = json.dumps(features, separators=(",", ":"))
            rows.append({"ds": day, "features": text, "outputs": '{"prediction":1.5}'})
    return pl.DataFrame(rows).with_columns(pl.lit(None, pl.String).alias("truth"))


@pytest.mark.parametrize(
    "hidden",
    [
        {},
        {"temp": "private:0123456789abcdef0123456789abcdef"},
        {"carrier": "private:0123456789abcdef0123456789abcdef", "temp": None},
        dict.fromkeys(INPUTS),
    ],
)
def test_drift_of_what_the_log_does_not_hold(
    answered: Callable[[pl.DataFrame], Answered], hidden: dict[str, str | None]
) -> None:
    measured = measure_answers(MONITOR, [answered(logged(hidden))])
    found = {one.subject: one for one in measured if one.kind == "drift"}
    assert set(found) == set(INPUTS)
    unknown = {name for name, one in found.items() if one.verdict is Verdict.INCONCLUSIVE}
    assert unknown == set(hidden)
    assert all("the log does not hold what was sent" in found[name].sentence for name in hidden)
    assert {found[name].verdict for name in set(INPUTS) - set(hidden)} <= {Verdict.PASS}


def test_rows_that_are_gone_leave_no_drift_to_be_told_by_the_rest(
    answered: Callable[[pl.DataFrame], Answered],
) -> None:
    gone = "The rows of flights@1 were removed on 2026-03-01 by ann: asked for."
    measured = measure_answers(MONITOR, [answered(logged({}))], gone)
    found = [one for one in measured if one.kind == "drift"]
    assert {one.verdict for one in found} == {Verdict.INCONCLUSIVE}
    assert {one.sentence for one in found} == {f"{name}: {gone}" for name in INPUTS}
