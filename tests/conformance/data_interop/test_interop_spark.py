"""Apache Spark (PySpark, in its own process and as a standalone cluster of one worker) reads and
writes Parquet; and the example whose preparation is Spark's, through the engine.

Installing and starting it takes minutes: with --soak. Its Delta is not driven: delta-spark brings
no jars, and those are not on PyPI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="session", params=["local", "standalone"])
def spark(
    request: pytest.FixtureRequest,
    spark_python: Path,
    open_peer: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    master = "local[1]"
    if request.param == "standalone":
        master = request.getfixturevalue("spark_master")
    with open_peer(tmp_path_factory.mktemp("spark"), master, spark_python) as opened:
        yield request.param, opened


def test_spark_reads_the_parquet_of_a_version(workspace: Any, spark: Any) -> None:
    how, reader = spark
    folder = workspace.folder / f"for-spark-{how}"
    workspace.seamline("data", "export", "calls@2", "--to", folder)
    found = reader.ask("parquet", folder)
    assert found["columns"] == [
        *(["id", "bigint"], ["began", "timestamp"], ["minutes", "double"], ["who", "string"]),
        *(["paid", "boolean"], ["born", "date"], ["cents", "bigint"], ["ds", "date"]),
    ]
    assert sorted(found["rows"], key=lambda row: row["id"]) == workspace.expected[2]
    some = reader.rows("parquet", folder, where="ds = DATE '2026-03-02'")
    assert some == [row for row in workspace.expected[2] if row["ds"] == "2026-03-02"]


def test_what_spark_wrote_is_a_source(workspace: Any, spark: Any, tmp_path: Path) -> None:
    how, writer = spark
    table = workspace.folder / f"spark-{how}"
    for version, ids in enumerate(((1, 2), (3,)), 1):
        rows = tmp_path / f"{version}.parquet"
        times = [datetime(2026, 3, one, 12, tzinfo=UTC) for one in ids]
        pl.DataFrame({"id": ids, "began": times, "who": ["Łucja" for _ in ids]}).write_parquet(rows)
        writer.ask("write", table, rows=str(rows), form="parquet")
        taken = workspace.seamline("data", "ingest", f"from-spark-{how}")
        assert (taken["version"], taken["rows_added"]) == (version, len(ids))
    found = workspace.read(f"from-spark-{how}@2").sort("id")
    assert found["id"].to_list() == [1, 2, 3]
    assert found["began"].to_list() == [datetime(2026, 3, one, 12, tzinfo=UTC) for one in (1, 2, 3)]
    assert set(found["who"]) == {"Łucja"}


def test_the_example_runs_as_its_readme_says(
    spark_python: Path, spark_master: str, serving: Any, tmp_path: Path
) -> None:
    """Spark reads exactly the version that was named, and what it wrote is a version with that
    run; then the same on the cluster, by its URL."""
    for name in ("spark", "scenarios"):
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    folder = tmp_path / "spark"
    environ = {key: value for key, value in os.environ.items() if "SEAMLINE" not in key}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"

    def run(command: str) -> str:
        words = ["bash", "-c", command]
        done = subprocess.run(
            words, cwd=folder, env=environ, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    with serving(folder, folder / ".seamline"):
        for line in (folder / "README.md").read_text().splitlines():
            if line.startswith("    "):
                run(line)
        check_hours(run, folder, 1)
        settings = json.dumps({"spark.driver.host": "127.0.0.1", "spark.executor.memory": "512m"})
        given = f"-a flights=datasets://flights@1 -a master={spark_master} -a settings='{settings}'"
        run(f"seamline run submit hub-hours@1.0.0 {given} --wait")
        check_hours(run, folder, 2)


def check_hours(run: Any, folder: Path, version: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # a run has ended before its output is a version
        listed = json.loads(run("seamline data list --json"))
        if any((one["name"], one["version"]) == ("hub-hours", version) for one in listed):
            break
        time.sleep(0.2)
    shown = json.loads(run(f"seamline data show hub-hours@{version} --json"))
    assert shown["rows"] == 1642
    asked = json.loads(run(f"seamline run show {shown['run_id']} --json"))
    assert asked["arguments"]["flights"] == "datasets://flights@1"
    run(f"seamline data export hub-hours@{version} --to hours-{version}.parquet")
    hours = pl.read_parquet(folder / f"hours-{version}.parquet").sort("day", "origin", "hour")
    flights = pl.read_csv(folder / "january.csv", null_values=["NA"], infer_schema_length=None)
    expected = (
        flights.with_columns(day=pl.date("year", "month", "day"))
        .group_by("day", "origin", "hour")
        .agg(
            planned=pl.len().cast(pl.Int64),
            cancelled=pl.col("dep_time").is_null().sum().cast(pl.Int64),
            mean_delay=pl.col("dep_delay").mean(),
        )
        .sort("day", "origin", "hour")
    )
    exact = ["day", "origin", "hour", "planned", "cancelled"]
    assert hours.select(exact).equals(expected.select(exact))
    assert (hours["mean_delay"] - expected["mean_delay"]).abs().max() < 0.0011  # type: ignore[operator]
