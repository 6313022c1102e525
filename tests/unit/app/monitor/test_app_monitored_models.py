"""A window that several models, or versions, answered: all rows count, each by its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from seamline.app.declarations import MonitorDeclaration
from seamline.app.monitor import measure_monitor
from seamline.app.monitor.subjects import Subject
from seamline.domain.states import Verdict
from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_partitions, sum_profiles
from seamline.monitor.measurement import Measurement
from seamline.monitor.measurements import list_alarms, list_measurements
from seamline.monitor.windows import Window
from seamline.store.canonical import canonical_json
from seamline.store.stores import Stores

WINDOW = Window(date(2026, 1, 1), date(2026, 2, 1), "2026-01")
MONITOR = MonitorDeclaration("air", "air", checks=("mae <= 2", "bias.abs <= 2"), drift=0.2)
DAYS = [date(2025, 12, 1) + timedelta(days=number) for number in range(62)]


def document(task: str = "regression", threshold: float | None = None) -> dict[str, Any]:
    output = "prediction" if task == "regression" else "score"
    return {
        "task": task,
        "threshold": threshold,
        "profile_digest": None,
        "signature": {
            "inputs": [{"name": "hour", "datatype": "INT64"}],
            "outputs": [{"name": output, "datatype": "FP64"}],
        },
    }


class House:
    """Versions by name, and what they answered; measured as a monitor does."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.platform = cast(Any, SimpleNamespace(stores=stores))
        self.subjects: dict[tuple[str, str], Subject] = {}
        self.measured = 0

    def model(self, name: str, version: str = "1.0.0", **more: Any) -> None:
        """With a profile of 31 days on which every hour was as likely."""
        frame = pl.DataFrame({"hour": [number % 20 for number in range(31 * 20)]})
        labels = pl.Series("ds", [str(day) for day in DAYS[:31] for _ in range(20)])
        days = profile_partitions(frame, make_basis(frame), labels)
        kept = {
            "basis": make_basis(frame).to_json(),
            "total": sum_profiles(list(days.values())).to_json(),
            "days": {day: one.to_json() for day, one in days.items()},
        }
        digest = self.stores.blobs.put(canonical_json(kept))
        told = document(**more) | {"profile_digest": digest}
        made = SimpleNamespace(
            model=name, version=version, document=told, wheel_digest=f"{name} {version}"
        )
        self.subjects[name, version] = Subject(self.platform, cast(Any, made), None)

    def measure(self, rows: pl.DataFrame, monitor: MonitorDeclaration = MONITOR) -> None:
        measure_monitor.measure_window(
            self.platform, monitor, WINDOW, rows, lambda *key: self.subjects[key], "ann"
        )

    def found(self) -> dict[str, Measurement]:
        return {m.measurement.subject: m.measurement for m in list_measurements(self.stores, "air")}


@pytest.fixture
def house(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(stores)
    real: Callable[..., Any] = measure_monitor.measure_answers

    def counted(*args: Any) -> Any:
        made.measured += 1
        return real(*args)

    monkeypatch.setattr(measure_monitor, "measure_answers", counted)
    return made


def answers(
    model: str,
    version: str = "1.0.0",
    *,
    error: float = 1.0,
    hour: int | None = None,
    days: range = range(31, 62),
    per_day: int = 10,
    output: str = "prediction",
) -> pl.DataFrame:
    """Of January; truth is 10, or 0 and 1 in turn for scores."""
    rng = np.random.default_rng(sum(map(ord, model)))
    told = []
    for day in days:
        for number in range(per_day):
            sent = int(rng.integers(0, 20)) if hour is None else hour
            wrong = error if number % 2 else -error
            said = 10 + wrong if output == "prediction" else 0.5
            truth = "10.0" if output == "prediction" else str(number % 2)
            told.append(
                {"model": model, "model_version": version, "ds": DAYS[day], "row": 0,
                 "features": json.dumps({"hour": sent}, separators=(",", ":")),
                 "features_from": None, "truth": truth,
                 "outputs": json.dumps({output: said}, separators=(",", ":"))}
            )  # fmt: skip
    return pl.DataFrame(told, schema_overrides={"features_from": pl.String()})


def test_one_model_is_measured_as_ever(house: House) -> None:
    house.model("air-r1")
    house.measure(answers("air-r1"))
    found = house.found()
    assert set(found) >= {"mae", "mae <= 2", "truth", "hour", "prediction"}
    assert "models" not in found
    assert found["hour"].sentence.startswith("hour: mean 9")
    assert found["mae <= 2"].verdict is Verdict.PASS


def test_performance_is_of_all_rows_and_drift_of_each_model(house: House) -> None:
    for name in ("air-r1", "air-r2", "air-r3"):
        house.model(name)
    house.measure(
        pl.concat([answers("air-r1"), answers("air-r2", error=5.0), answers("air-r3", hour=3)])
    )
    found = house.found()
    assert found["mae"].n_rows == 930
    assert found["mae"].value == pytest.approx(7 / 3)
    assert found["mae <= 2"].verdict is Verdict.FAIL
    assert "Of 3 models 1 breaks the limit: air-r2 1.0.0." in found["mae <= 2"].sentence
    assert found["air-r2 1.0.0"].verdict is Verdict.FAIL
    assert found["hour"].verdict is Verdict.FAIL
    assert found["hour"].sentence.startswith(
        "hour: 1 of 3 models changed, which answered 310 of 930 rows: air-r3 1.0.0: "
    )
    assert found["prediction"].sentence == (
        "prediction: none of 3 models is judged: 0 reference days, 10 are needed (3)"
    )
    assert found["models"].sentence == (
        "3 models answered 930 rows: air-r1 1.0.0 33.3 %, air-r2 1.0.0 33.3 %, air-r3 1.0.0 33.3 %"
    )
    alarms = {one.check for one in list_alarms(house.stores, "air")}
    assert alarms == {"mae <= 2", "drift(hour)"}, "of the endpoint, not of each model"


def test_a_swap_within_the_window_leaves_no_row_out(house: House) -> None:
    house.model("late", "1.0.1")
    house.model("late", "1.0.2")
    before, after = range(31, 46), range(46, 62)
    house.measure(
        pl.concat(
            [
                answers("late", "1.0.1", days=before, per_day=20),
                answers("late", "1.0.2", days=after, per_day=20, error=4.0),
            ]
        )
    )
    found = house.found()
    assert found["mae"].n_rows == 620
    assert "late 1.0.2" in found
    assert "late 1.0.1" not in found
    assert found["hour"].sentence == "hour: none of 2 models has changed"


def test_what_has_not_changed_is_not_measured_again(house: House) -> None:
    for name in ("air-r1", "air-r2"):
        house.model(name)
    rows = pl.concat([answers("air-r1"), answers("air-r2")])
    house.measure(rows)
    house.measure(rows[::-1])
    assert house.measured == 1
    house.measure(pl.concat([rows, answers("air-r2", per_day=1)]))
    house.measure(pl.concat([answers("air-r1", per_day=11), answers("air-r2")]))
    assert house.measured == 3, "as many rows, but of another model"
    house.measure(rows.with_columns(truth=pl.lit("9.0")))
    assert house.measured == 4


def test_the_digest_of_one_models_window_is_as_it_was(house: House) -> None:
    """What was measured before there were families is not measured again."""
    house.model("air-r1")
    rows = answers("air-r1")
    told = measure_monitor._input_of(
        [measure_monitor.Answered(house.subjects["air-r1", "1.0.0"], rows)]
    )
    assert told == {
        "rows": 310,
        "labelled": 310,
        "truth": int(rows["truth"].hash().sum()) % (1 << 53),
        "wheel": "air-r1 1.0.0",
        "reference": [],
    }


def test_what_cannot_be_scored_together_is_said(house: House) -> None:
    house.model("a")
    house.model("b", task="binary", threshold=0.5)
    house.measure(pl.concat([answers("a"), answers("b", output="score")]))
    found = house.found()
    assert found["mae <= 2"].verdict is Verdict.INCONCLUSIVE
    assert found["mae <= 2"].sentence == (
        "mae <= 2: inconclusive; the models of this window have different tasks: "
        "regression (1), binary (1)"
    )
    assert found["truth"].value == 1.0
    assert {"prediction", "score"} <= set(found)


def test_models_of_different_thresholds(house: House) -> None:
    house.model("a", task="binary", threshold=0.5)
    house.model("b", task="binary", threshold=0.35)
    monitor = MonitorDeclaration("air", "air", checks=("recall >= 0.1", "brier <= 0.3"))
    house.measure(pl.concat([answers("a", output="score"), answers("b", output="score")]), monitor)
    found = house.found()
    assert found["brier <= 0.3"].verdict is Verdict.PASS
    assert found["recall >= 0.1"].sentence == (
        "recall >= 0.1: inconclusive; the models of this window decide at different thresholds: "
        "0.5 (1), 0.35 (1)"
    )
