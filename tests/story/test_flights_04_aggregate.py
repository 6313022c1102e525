"""Step 4: one pipeline of two teams'; when one team's part breaks, the other's rows still land."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("aggregate")


@pytest.fixture(scope="module")
def runs(world):
    """The whole one and the one with operations broken."""
    whole, half = (world.seamline("data", "show", f"predictions@{n}")["run_id"] for n in (1, 2))
    return [world.seamline("run", "show", run_id) for run_id in (whole, half)]


def test_every_august_flight_is_predicted_by_both_teams(world):
    rows = world.rows("predictions@1")
    assert rows.height == len(world.csv(8))
    assert (rows["ds"].min().isoformat(), rows["ds"].max().isoformat()) == (
        "2013-08-01",
        "2013-08-31",
    )
    assert rows.select("score", "label", "prediction").null_count().row(0) == (0, 0, 0)
    assert rows["score"].is_between(0, 1).all()
    assert rows["prediction"].is_between(15, 700).all()


def test_the_run_has_the_pipelines_of_both_teams_inside(runs):
    names = {task["name"] for task in runs[0]["tasks"]}
    assert {"late-arrival-prediction/predict", "air-time-prediction/predict", "combine"} <= names
    assert runs[0]["state"] == "succeeded"


def test_a_broken_part_stops_only_its_own_branch(runs):
    states = {t["name"]: t["state"] for t in runs[1]["tasks"] if t["kind"] != "dag"}
    assert runs[1]["state"] == "partially_failed"
    # What the whole run had computed already stands in for its like here.
    good = ("succeeded", "skipped")
    bad = [name for name, state in states.items() if state not in good]
    assert bad == ["air-time-prediction/predict"]
    assert states["combine"] == "succeeded"


def test_the_run_says_which_branch_failed_and_why(runs):
    said = runs[1]["sentence"]
    assert said.startswith("air-time-prediction/predict failed: ValueError")
    assert "flights has no column 'wind_aloft'" in said
    assert "8 of 9 tasks succeeded" in said
    tasks = {task["name"]: task for task in runs[1]["tasks"]}
    failed = tasks["air-time-prediction/predict"]
    assert "wind_aloft" in failed["error"]["message"]


def test_the_other_teams_rows_land_as_before(world):
    table = world.rows("predictions@2")
    half = table.filter(table["prediction"].is_null())
    assert half.height == len(world.csv(8))
    keys = ["ds", "carrier", "flight", "origin", "day"]
    whole = world.rows("predictions@1").sort(keys)
    assert half.sort(keys).select(*keys, "score").equals(whole.select(*keys, "score"))
