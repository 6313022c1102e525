"""The orchestrator's combining step: both teams, one team, none; and its fetching by tag."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import polars as pl
import pytest
import yaml
from kfp import compiler

ROWS = pl.DataFrame(
    {
        "ds": [date(2013, 9, 1)] * 2,
        "year": [2013, 2013],
        "month": [9, 9],
        "day": [1, 1],
        "carrier": ["UA", "AA"],
        "flight": [1545, 1141],
        "origin": ["EWR", "JFK"],
        "dest": ["IAH", "MIA"],
    }
)


@pytest.fixture
def combine(
    compiled: dict[str, Path], aggregate: ModuleType, run: Callable[..., Any], tmp_path: Path
) -> Callable[..., Any]:
    out = tmp_path / "aggregated.yaml"
    parts = (str(compiled[name]) for name in ("late_arrival_prediction", "air_time_prediction"))
    compiler.Compiler().compile(aggregate.compose(*parts), str(out))
    return lambda **given: run(out, "combine", given)


@pytest.fixture
def teams(tmp_path: Path) -> dict[str, Any]:
    late, air = tmp_path / "late", tmp_path / "air"
    ROWS.with_columns(score=pl.Series([0.5, 0.25]), label=pl.Series([1, 0])).write_parquet(late)
    ROWS.reverse().with_columns(prediction=pl.Series([160.0, 200.0])).write_parquet(air)
    return {
        name: SimpleNamespace(path=path, metadata={})
        for name, path in (("late_arrival", late), ("air_time", air))
    }


def test_both_teams_predictions_stand_side_by_side(
    combine: Callable[..., Any], teams: dict[str, Any]
) -> None:
    made = combine(**teams)
    table = made["combined"].frame()
    assert table.select("carrier", "score", "prediction").rows() == [
        ("AA", 0.25, 160.0),
        ("UA", 0.5, 200.0),
    ]
    assert made["combined"].metadata["missing"] == []
    assert made["summary"].metadata == {
        "flights": 2,
        "teams": 2,
        "expected_late_flights": 0.8,
        "expected_air_hours": 6.0,
    }


@pytest.mark.parametrize(
    ("there", "missing", "column"),
    [("late_arrival", "air_time", "score"), ("air_time", "late_arrival", "prediction")],
)
def test_one_team_s_predictions_are_enough(
    combine: Callable[..., Any], teams: dict[str, Any], there: str, missing: str, column: str
) -> None:
    made = combine(**{there: teams[there]})
    assert made["combined"].frame().height == 2
    assert column in made["combined"].frame().columns
    assert made["combined"].metadata["missing"] == [missing]


def test_with_nobody_s_predictions_there_is_nothing_to_combine(combine: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="nothing to combine"):
        combine()


@contextlib.contextmanager
def files_by_tag(files: dict[str, bytes], asked: list[str]) -> Iterator[str]:
    """The one route of a registry that downloading needs: GET {host}/{package}/{tag}."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['authorization']}")
            body = files[self.path]
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/kfp"
        finally:
            server.shutdown()
            thread.join()


def test_the_pipelines_are_fetched_by_tag_with_the_stock_registry_client(
    compiled: dict[str, Path],
    aggregate: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    files = {
        "/kfp/late_arrival_prediction/1.0.0": compiled["late_arrival_prediction"].read_bytes(),
        "/kfp/air_time_prediction/1.1.0": compiled["air_time_broken"].read_bytes(),
    }
    asked: list[str] = []
    out = tmp_path / "outlook.yaml"
    with files_by_tag(files, asked) as registry:
        given = {"registry": registry, "operations-tag": "1.1.0", "token": "s3", "out": str(out)}
        aggregate.main([word for name, value in given.items() for word in (f"--{name}", value)])
    assert asked == [f"{path} Bearer s3" for path in files]
    assert "wind_aloft" in out.read_text()
    assert yaml.safe_load(out.read_text())["pipelineInfo"]["name"] == "flight-outlook"
