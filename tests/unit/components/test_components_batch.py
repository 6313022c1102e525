"""The component's own steps, on a real package and real files."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from seamline.components.batch import batch_predict_rows

model_wheel = runpy.run_path(str(Path(__file__).with_name("felt_wheel.py")))["model_wheel"]


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """answer(rows, **arguments) → (the predictions, their metadata)."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def ask(
        rows: pl.DataFrame | Path,
        wheel: bytes | None = None,
        family: Path | None = None,
        **given: Any,
    ) -> Any:
        for name in [one for one in sys.modules if one.split(".")[0] == "felt"]:
            del sys.modules[name]
        package = tmp_path / f"felt-{len(list(tmp_path.iterdir()))}.whl"
        package.write_bytes(wheel or model_wheel())
        if isinstance(rows, pl.DataFrame):
            rows.write_parquet(tmp_path / "rows.parquet")
            rows = tmp_path / "rows.parquet"
        made = SimpleNamespace(path=str(tmp_path / "predictions"), metadata={})
        batch_predict_rows(
            SimpleNamespace(path=str(rows), uri=""),
            SimpleNamespace(path=str(family or package), metadata={"module": "felt"}),
            made,
            **given,
        )
        return pl.read_parquet(made.path), made.metadata

    yield ask
    for name in [one for one in sys.modules if one.split(".")[0] == "felt"]:
        del sys.modules[name]


ROWS = pl.DataFrame({"id": [1, 2], "temp": [1, 2], "wind": [0.5, 0.25]})


def test_twin_and_model_say_the_same(answer: Callable[..., Any]) -> None:
    for twin, by in (("require", "twin"), ("prefer", "twin"), ("never", "model")):
        found, told = answer(ROWS, twin=twin)
        assert found["prediction"].to_list() == pytest.approx([1.5, 2.25])
        assert found["id"].to_list() == [1, 2]
        assert told == {"model": "felt", "model_version": "1.0.0", "rows": 2, "answered_by": by}


def test_days_of_a_folder_stay_and_files_without_rows_are_no_harm(
    answer: Callable[..., Any], tmp_path: Path
) -> None:
    for day, rows in (("2026-01-01", ROWS), ("2026-01-02", ROWS.clear())):
        folder = tmp_path / "version" / f"ds={day}"
        folder.mkdir(parents=True)
        rows.write_parquet(folder / "a.parquet")
    found, _ = answer(tmp_path / "version", keep=["temp"])
    assert found.columns == ["temp", "ds", "prediction", "model", "model_version"]
    assert [str(day) for day in found["ds"]] == ["2026-01-01"] * 2


@pytest.mark.parametrize(
    ("rows", "given", "told"),
    [
        (ROWS.drop("wind"), {}, "Missing columns: wind"),
        (ROWS.with_columns(wind=pl.Series(["a", "b"])), {}, r"wind \(wanted FP64, got str\)"),
        (ROWS.with_columns(wind=pl.Series([None, 1.0])), {}, r"wind \(null in a column"),
        (ROWS.clear(), {}, "has no rows"),
        (ROWS, {"query": "SELECT * FROM rows WHERE id > 9"}, "has no rows for SELECT"),
        (ROWS, {"keep": ["it"]}, "No column it to keep; id, temp, wind are"),
        (ROWS.rename({"id": "prediction"}), {}, "prediction would be kept, and is also predicted"),
        (ROWS, {"twin": "maybe"}, "write prefer, require or never"),
        (ROWS, {"default": "breeze-a"}, "default is 'breeze-a', but .* is no family"),
        (ROWS, {"wheel": model_wheel(said=9.0)}, "3.5 of sample row 0; when packaged, 9.0"),
    ],
)
def test_what_cannot_be_answered_ends_the_task_and_says_why(
    answer: Callable[..., Any], rows: pl.DataFrame, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        answer(rows, **given)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Path]:
    """Two models, told apart by station: b says twice as much."""
    folder = tmp_path / "breeze"
    folder.mkdir()
    models = []
    for key, scale in (("a", 1.0), ("b", 2.0)):
        name = f"breeze-{key}"
        wheel = model_wheel(3.5 * scale, name, scale=scale, scenario={"station": key})
        (folder / f"{key}.whl").write_bytes(wheel)
        models.append(
            {"key": [key], "model": name, "version": "1.0.0", "module": f"breeze_{key}",
             "file": f"{key}.whl"}
        )  # fmt: skip
    listed = {"family": "breeze", "keys": ["station"], "models": models}
    (folder / "family.json").write_text(json.dumps(listed))
    yield folder
    for name in [one for one in sys.modules if one.startswith("breeze_")]:
        del sys.modules[name]


STATIONS = pl.DataFrame(
    {"id": [1, 2, 3], "station": ["b", "a", "b"], "temp": [1, 2, 3], "wind": [1.0, 0.5, 0.25]}
)


def test_of_a_family_each_row_is_answered_by_its_own_model(
    answer: Callable[..., Any], family: Path
) -> None:
    found, told = answer(STATIONS, family=family)
    assert found.columns == ["id", "station", "prediction", "model", "model_version"]
    assert found["id"].to_list() == [1, 2, 3]
    assert found["prediction"].to_list() == pytest.approx([4.0, 2.5, 6.5])
    assert found["model"].to_list() == ["breeze-b", "breeze-a", "breeze-b"]
    by = {"answered_by": "model and twin"}
    assert told == {"model": "breeze", "models": 2, "rows": 3, **by}
    assert not [one for one in sys.path if str(family) in one]


def test_values_without_a_model(answer: Callable[..., Any], family: Path) -> None:
    rows = STATIONS.with_columns(station=pl.lit("bb"))
    with pytest.raises(ValueError, match="no model for station=bb; the nearest is station=b"):
        answer(rows, family=family)
    found, told = answer(rows, family=family, default="breeze-a")
    assert set(found["model"]) == {"breeze-a"}
    assert told["models"] == 1
    with pytest.raises(ValueError, match=r"default is 'breez-b', .* it has breeze-b"):
        answer(rows, family=family, default="breez-b")
    with pytest.raises(ValueError, match="No column station, which chooses the model"):
        answer(rows.drop("station"), family=family)
