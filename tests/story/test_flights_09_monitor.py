"""Step 9: the bias alarms once, one retraining answers it, and it waits for a person.

And the comparison says the other thing too, where that is true.
"""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("monitor")


@pytest.fixture(scope="module")
def retraining(world):
    (found,) = world.seamline("retraining", "list")
    return found


@pytest.fixture(scope="module")
def measured(world):
    found = world.seamline("monitor", "show", "air-time")["measurements"]
    return {(one["window"], one["subject"]): one for one in found if one["kind"] == "performance"}


def test_september_is_measured_on_every_flight_that_flew(world, measured):
    flown = [row for row in world.csv(9) if row["air_time"] not in ("", "NA")]
    mae, bias = measured["2013-09", "mae"], measured["2013-09", "bias"]
    assert (mae["n_rows"], mae["n_blocks"]) == (len(flown), 30)
    assert mae["value"] == pytest.approx(10.2, abs=0.1)
    assert bias["value"] == pytest.approx(8.7, abs=0.2)


def test_the_alarm_is_the_bias_and_not_the_error(world, measured):
    found = world.seamline("monitor", "show", "air-time")["measurements"]
    checks = {
        (one["window"], one["subject"]): one["verdict"] for one in found if one["kind"] == "check"
    }
    assert {key for key, verdict in checks.items() if verdict == "fail"} == {
        ("2013-09", "bias.abs <= 7")
    }
    assert checks["2013-09", "mae <= 15"] == "pass"
    assert measured["2013-09", "bias"]["low"] > 7


def test_one_alarm_makes_one_retraining(world, retraining):
    alarms = [fact for fact in world.facts("alarm.raised") if fact["body"]["monitor"] == "air-time"]
    assert [(one["body"]["window"], one["body"]["check"]) for one in alarms] == [
        ("2013-09", "bias.abs <= 7")
    ]
    assert len(world.facts("retraining.requested")) == 1
    assert retraining["caused_by"] == alarms[0]["id"]
    trained = [
        run for run in world.seamline("run", "list") if run["pipeline"] == "air-time-training"
    ]
    assert retraining["run_id"] in [run["id"] for run in trained]
    assert [run["requested_by"] for run in trained].count(retraining["requested_by"]) == 1


def test_candidate_and_incumbent_are_compared_on_the_same_rows(world, retraining):
    assert (retraining["candidate_version"], retraining["incumbent_version"]) == ("1.0.1", "1.0.0")
    found = world.get(f"/api/v1/evaluations/{retraining['evaluation_id']}")
    (check,) = found["evidence"]["against_checks"]
    assert check["value"] == pytest.approx(-4.0, abs=0.15)
    assert check["low"] == pytest.approx(-4.5, abs=0.25)
    assert check["high"] == pytest.approx(-3.5, abs=0.25)
    assert check["high"] < -3
    assert (check["verdict"], found["verdict"]) == ("pass", "pass")
    flown = [row for row in world.csv(9) if row["air_time"] not in ("", "NA")]
    assert check["n"] == len(flown)


def test_its_release_waits_for_a_person_in_staging(world, retraining):
    release = world.seamline("release", "show", retraining["release"])
    pins = {one["name"]: one["version"] for one in release["contents"]["packages"]}
    assert pins == {"air-time": "1.0.1", "late-arrival": "1.0.0"}
    mine = {
        one["environment"]: one
        for one in world.seamline("promotion", "list")
        if one["release"] == retraining["release"]
    }
    assert mine["development"]["phase"] == "live"
    waiting = world.seamline("promotion", "show", mine["staging"]["id"])
    assert waiting["phase"] == "awaiting_approval"
    assert waiting["why_not_yet"] == ["1 more approval by approver or admin"]
    assert "production" not in mine
    board = {one["name"]: one for one in world.seamline("board")["environments"]}
    assert board["production"]["live"]["alias"] == "2013-08"


def test_the_planted_hour_is_named_with_its_first_day_before_any_label(world):
    found = world.seamline("monitor", "show", "late-arrival")["measurements"]
    december = [one for one in found if one["window"] >= "2013-12-01"]
    assert not [one for one in december if one["kind"] == "performance" and one["n_rows"]]
    named = {one["subject"]: one for one in december if one["window"] == "2013-12-01"}
    assert "from 2013-12-01 on every value is 0" in named["hour"]["sentence"]
    assert "collapsed from 2013-12-01 on" in named["score"]["sentence"]
    assert "0 of 987 rows predicted late" in named["score"]["sentence"]


def test_the_days_before_it_have_no_such_verdict(world):
    found = world.seamline("monitor", "show", "late-arrival")["measurements"]
    before = [
        one
        for one in found
        if "2013-11-24" <= one["window"] < "2013-12-01" and one["verdict"] == "fail"
    ]
    assert not [one for one in before if "every value is 0" in one["sentence"]]
    assert not [one for one in before if one["subject"] == "score"]


def test_logged_rows_are_answered_rows(world):
    """Of the replay, and of the few days of step 7: every flight is in the log exactly once."""
    air = world.seamline("monitor", "show", "air-time")["measurements"]
    coverage = {one["window"]: one["sentence"] for one in air if one["subject"] == "truth"}
    for month in (7, 8):
        assert f" of {len(world.csv(month)):,} predictions" in coverage[f"2013-{month:02}"]
    late = world.seamline("monitor", "show", "late-arrival")["measurements"]
    rows = {one["window"]: one["n_rows"] for one in late if one["subject"] == "hour"}
    for day, flights in world.demo.year.days(date(2013, 9, 1), date(2013, 9, 5)):
        assert rows[day.isoformat()] == len(flights)
    table = pl.read_delta(str(world.workspace / "tables/_predictions/production"))
    assert table.select("prediction_id", "row").is_unique().all()


def test_in_november_the_same_retraining_would_hurt_and_it_says_so(world):
    """Trained on the three months before, judged on November beside the frozen model."""
    for month in (10, 11):
        last = world.demo.deliver(month)
    flights = f"datasets://flights@{last['version']}"
    autumn = {"flights": flights, "since": "2013-08-01", "until": "2013-11-01"}
    world.demo.submit("air-time-training@1.0.0", autumn, wait=True)
    assert world.demo.await_model("air-time", "1.0.2")["version"] == "1.0.2"
    november = {"flights": flights, "since": "2013-11-01", "until": "2013-12-01"}
    runs = {
        version: world.demo.submit(
            "air-time-prediction@1.0.0", {**november, "model": f"models://air-time@{version}"}
        )["id"]
        for version in ("1.0.0", "1.0.2")
    }
    for run in runs.values():
        world.seamline("run", "wait", run)
    found = world.seamline(
        *("evaluate", "air-time", "--version", "1.0.2", "--run", runs["1.0.2"]),
        *("--against", "1.0.0", "--against-run", runs["1.0.0"]),
        who="ada",
    )
    (check,) = found["evidence"]["against_checks"]
    assert (check["verdict"], found["verdict"]) == ("fail", "fail")
    assert check["value"] == pytest.approx(2.8, abs=0.3)
    assert check["low"] > 0
    assert "breaks the limit 0" in check["sentence"]
    assert len(world.seamline("retraining", "list")) == 1
