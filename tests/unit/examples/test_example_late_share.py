"""examples/flights/risk: what a model is told of late departures was known two hours ahead."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

FEATURES = Path(__file__).resolve().parents[3] / "examples/flights/risk/features.py"

SKY = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")


@pytest.fixture(scope="module")
def prepare() -> Callable[..., None]:
    spec = importlib.util.spec_from_file_location("risk_features", FEATURES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.prepare_features.python_func


def flight(number: int, at: str, dep_delay: int | None = 0, origin: str = "JFK") -> dict[str, Any]:
    """Scheduled at a local time of June (UTC - 4)."""
    local = datetime.fromisoformat(at)
    hour = (local + timedelta(hours=4)).replace(minute=0, tzinfo=UTC)
    return {
        "year": local.year,
        "month": local.month,
        "day": local.day,
        "carrier": "UA",
        "flight": number,
        "origin": origin,
        "dest": "LAX",
        "distance": 2475,
        "hour": local.hour,
        "minute": local.minute,
        "time_hour": hour.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "dep_delay": dep_delay,
        "arr_delay": dep_delay,
        "ds": local.date(),
    }


@pytest.fixture
def shares(prepare: Callable[..., None], tmp_path: Path) -> Callable[..., dict[int, float | None]]:
    """Flight number → its `late_share`."""

    def of(
        flights: list[dict[str, Any]], since: str = "", until: str = ""
    ) -> dict[int, float | None]:
        weather = {
            "origin": ["JFK"],
            "time_hour": ["2013-06-01T00:00:00Z"],
            **{name: [1.0] for name in SKY},
        }
        for name, table in (("flights", pl.DataFrame(flights)), ("weather", pl.DataFrame(weather))):
            (tmp_path / name).mkdir(exist_ok=True)
            days = table if "ds" in table.columns else table.with_columns(ds=pl.date(2013, 6, 1))
            days.write_parquet(tmp_path / name / "rows.parquet")
        made = SimpleNamespace(path=tmp_path / "features.parquet", metadata={})
        flown = SimpleNamespace(path=tmp_path / "flights")
        prepare(flown, SimpleNamespace(path=tmp_path / "weather"), since, until, made)
        rows = pl.read_parquet(made.path)
        return dict(zip(rows["flight"], rows["late_share"], strict=True))

    return of


def test_a_share_of_those_that_were_seen_in_the_three_hours_before(shares):
    found = shares(
        [
            flight(1, "2013-06-03T06:45", 300),  # seen at 7:00: too long ago
            flight(2, "2013-06-03T08:00", 16),
            flight(3, "2013-06-03T09:00", 15),
            flight(4, "2013-06-03T09:15", None),  # cancelled: still there
            flight(5, "2013-06-03T09:30", 200, origin="EWR"),
            flight(6, "2013-06-03T12:30", 0),  # at 10:00, of those seen after 7:00
        ]
    )
    assert found[6] == pytest.approx(2 / 3)


def test_what_is_not_known_two_hours_ahead_is_not_told(shares):
    """A flight is known to be late 15 minutes after its time, and no minute sooner."""
    early = [flight(1, "2013-06-03T09:45", 90), flight(2, "2013-06-03T09:46", 90)]
    found = shares([*early, flight(3, "2013-06-03T12:00"), flight(4, "2013-06-03T13:00")])
    assert found[3] == 1.0  # at 10:00 the first is known to be late, the second not yet
    on_time = [early[0], flight(2, "2013-06-03T09:46", 0)]
    again = shares([*on_time, flight(3, "2013-06-03T12:00"), flight(4, "2013-06-03T13:00")])
    assert again[3] == found[3]
    assert (again[4], found[4]) == (0.5, 1.0)


def test_the_clock_decides_and_not_the_date(shares):
    evening = [flight(1, "2013-06-02T23:50", 240), flight(2, "2013-06-02T23:30", 0)]
    asked = flight(3, "2013-06-03T05:00")  # at 3:00, for what is known since midnight
    assert shares([*evening, asked])[3] == 1.0
    assert shares([*evening, asked], since="2013-06-03") == {3: 1.0}


def test_early_in_the_morning_there_is_nothing_to_know(shares):
    assert shares([flight(1, "2013-06-03T06:00"), flight(2, "2013-06-03T08:30")]) == {
        1: None,
        2: None,
    }


def test_no_outcome_after_the_hour_of_prediction_moves_it(shares):
    """However late those are that leave afterwards."""

    def day(delay: int | None) -> list[dict[str, Any]]:
        before = [
            flight(n, f"2013-06-03T{6 + n // 4:02}:{n % 4 * 15:02}", n * 3) for n in range(20)
        ]
        later = [flight(100 + n, f"2013-06-03T{n}:00", delay) for n in range(12, 24)]
        return [*before, flight(50, "2013-06-03T13:00"), *later]

    wanted = shares(day(0))[50]
    assert wanted is not None
    assert shares(day(500))[50] == wanted
    assert shares(day(None))[50] == wanted
