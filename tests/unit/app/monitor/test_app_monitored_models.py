"""Of several models that answered in a window one is measured, and it is said which."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from seamline.app.declarations import MonitorDeclaration
from seamline.app.monitor import measure_monitor
from seamline.monitor.measurements import list_measurements
from seamline.monitor.windows import Window
from seamline.store.stores import Stores

DAY = date(2026, 1, 2)
MONITOR = MonitorDeclaration("air", "air", checks=("mae <= 1",))


def measure(stores: Stores, monkeypatch: pytest.MonkeyPatch, *answered: tuple[str, int]) -> Any:
    """The sentence on whose rows they are; None without one."""
    document = {
        "task": "regression",
        "threshold": None,
        "signature": {"inputs": [], "outputs": [{"name": "prediction", "datatype": "FP64"}]},
    }

    def subject(platform: Any, model: str, number: str) -> Any:
        version = SimpleNamespace(document=document, wheel_digest=f"{model} {number}")
        return measure_monitor._Subject(cast(Any, version), "prediction", None, {})

    monkeypatch.setattr(measure_monitor, "_subject", subject)
    rows = pl.DataFrame(
        [
            {"model": model, "model_version": "1.0.0", "ds": DAY, "row": 0, "features": "{}",
             "features_from": None,
             "outputs": '{"prediction":1.5}', "truth": "1.0"}
            for model, count in answered for _ in range(count)
        ]
    )  # fmt: skip
    window = Window(date(2026, 1, 1), date(2026, 2, 1), "2026-01")
    platform = cast(Any, SimpleNamespace(stores=stores))
    measure_monitor._measure_window(platform, MONITOR, window, rows, "ann")
    found = [one.measurement for one in list_measurements(stores, "air")]
    assert {one.n_rows for one in found if one.subject == "mae"} == {max(n for _, n in answered)}
    return next((one.sentence for one in found if one.subject == "models"), None)


def test_whose_rows_are_measured_is_said_and_kept_up(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measure(stores, monkeypatch, ("air-r2", 6)) is None
    said = measure(stores, monkeypatch, ("air-r1", 2), ("air-r2", 6), ("air-r3", 1))
    assert said == (
        "measured is air-r2 1.0.0, which answered 6 of 9 rows (66.7 %); what 2 others answered is "
        "in no figure here"
    )
    said = measure(stores, monkeypatch, ("air-r1", 6), ("air-r2", 6))
    assert "6 of 12 rows (50.0 %); what another answered" in said
