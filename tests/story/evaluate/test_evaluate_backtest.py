"""`seamline backtest`: window after window, trained anew for each; one that fails does not stop
the others; the gate counts what the release's own pipelines predicted."""

from __future__ import annotations

from typing import Any

import pytest

RUNS = ("training_run", "incumbent_training_run")
WEEKS = ["2026-W23", "2026-W24", "2026-W25", "2026-W26"]


@pytest.fixture(scope="module")
def tested(shop: Any) -> Any:
    before = {one["version"] for one in shop.api("/models")}
    said = shop.types("backtest", "shop==1.0.1", "--data", "visits@2", "--against", "1.0.0")
    assert said.code == 0, said
    after = {one["version"] for one in shop.api("/models")}
    assert len(after - before) == len(WEEKS)
    return said, after - before


def test_each_window_is_judged_by_what_was_trained_before_it(shop: Any, tested: Any) -> None:
    said, made = tested
    assert said.out.splitlines()[0] == "shop 1.0.1 on visits@2 against 1.0.0: pass"
    assert "4 windows by auc" in said.out
    [found] = shop.api("/backtests?model=shop")
    windows = found["evidence"]["windows"]
    assert [one["window"] for one in windows] == WEEKS
    assert {one["version"] for one in windows} == made
    starts = ["2026-06-01", "2026-06-08", "2026-06-15", "2026-06-22"]
    for one, start in zip(found["evidence"]["runs"], starts, strict=True):
        run = shop.api(f"/runs/{one['training_run']}")
        assert run["arguments"]["until"] == start
        assert run["arguments"]["visits"] == "datasets://visits@2"
    # A week has 7 days: too few for an interval of its own; together they have 28.
    assert {one["outcome"] for one in windows} == {"undecided"}
    assert all(one["metrics"]["auc"]["candidate"]["value"] > 0.6 for one in windows)
    [check] = [one for one in found["evidence"]["checks"] if one["check"] == "auc >= 0.6"]
    assert check["verdict"] == "pass" and check["n"] == 28 * 40
    facts = [one for one in shop.api("/facts?limit=1000") if one["kind"] == "backtest.recorded"]
    assert facts[0]["body"]["digest"] == found["digest"]


def test_models_of_a_back_test_are_nobody_s_newest(shop: Any, tested: Any) -> None:
    _, made = tested
    assert all(version.startswith("0.dev") for version in made)
    assert shop.api("/models/shop")["version"] == "1.0.1"


def test_asked_again_it_trains_nothing_anew(shop: Any, tested: Any) -> None:
    runs = {one["id"] for one in shop.api("/runs?limit=1000")}
    said = shop.types("backtest", "shop==1.0.1", "--data", "visits@2", "--against", "1.0.0")
    assert said.code == 0
    assert {one["id"] for one in shop.api("/runs?limit=1000")} == runs


def test_a_window_that_fails_is_errored_and_the_rest_is_judged(shop: Any, tested: Any) -> None:
    # Three days are before the first of these weeks: too few to learn from.
    words = ("--data", "visits@1", "--since", "2026-05-04", "--until", "2026-05-25")
    said = shop.types("backtest", "shop==1.0.1", *words)
    assert (said.code, said.out.splitlines()[0]) == (2, "shop 1.0.1 on visits@1: inconclusive")
    evidence = shop.api("/backtests?model=shop")[0]["evidence"]
    outcomes = [one["outcome"] for one in evidence["windows"]]
    assert outcomes == ["errored", "undecided", "undecided"]
    run = evidence["runs"][0]["training_run"]
    assert f"2026-W19 is errored: the training run {run} ended as failed" in evidence["sentences"]
    # Nothing is trained a second time, however often it is asked.
    runs = {one["id"] for one in shop.api("/runs?limit=1000")}
    assert shop.types("backtest", "shop==1.0.1", *words).code == 2
    assert {one["id"] for one in shop.api("/runs?limit=1000")} == runs


def test_the_incumbent_is_trained_anew_where_asked(shop: Any, tested: Any) -> None:
    """Each by its own arguments, but for the window's; what is there already is taken."""
    before = {one["id"] for one in shop.api("/runs?limit=1000")}
    shop.apply(back_test="retrain_incumbent = true\n")
    words = ("--data", "visits@2", "--since", "2026-06-08", "--until", "2026-06-22")
    said = shop.types("backtest", "shop==1.0.1", "--against", "1.0.0", *words)
    assert said.code in (0, 1, 2), said
    evidence = shop.api("/backtests?model=shop")[0]["evidence"]
    assert evidence["how"]["retrain_incumbent"] is True
    for one, start in zip(evidence["runs"], ["2026-06-08", "2026-06-15"], strict=True):
        ours, theirs = (shop.api(f"/runs/{one[run]}") for run in RUNS)
        assert (ours["arguments"]["seed"], theirs["arguments"]["seed"]) == (0, 7)
        assert theirs["arguments"]["until"] == start
        assert one["incumbent_version"].startswith("0.dev")
        made = shop.api(f"/models/shop?version={one['incumbent_version']}")
        assert made["run_id"] == one["incumbent_training_run"]
    assert all(one["metrics"]["auc"]["difference"]["value"] > 0.1 for one in evidence["windows"])
    after = {one["id"]: one for one in shop.api("/runs?limit=1000")}
    trained = [one for run, one in after.items() if one["pipeline"] == "shop-training"]
    assert len([one for one in trained if one["id"] not in before]) == 2
    # Against itself there is nothing to compare, and it says so.
    said = shop.types("backtest", "shop==1.0.0", "--against", "1.0.0", *words)
    assert "1.0.0 is the incumbent itself" in said.err
    shop.apply()


def test_the_gate_counts_it(shop: Any, tested: Any) -> None:
    shop.apply("backtest")
    body = {"alias": "tested", "models": ["shop@1.0.1"], "pipelines": ["shop-prediction@1.0.0"]}
    # The same contents are the same release, whoever named them first.
    tested_release = shop.api("/releases", body)["digest"]
    asked = {"release": tested_release, "environment": "development"}
    gates = {one["gate"]: one for one in shop.api("/promotions/plan", asked)["gates"]}
    assert "shop 1.0.1 on visits@" in gates["backtest"]["sentence"]
    other = {"alias": "other", "models": ["shop@1.0.1"], "pipelines": ["shop-training@1.0.0"]}
    asked["release"] = shop.api("/releases", other)["digest"]
    plan = shop.api("/promotions/plan", asked)
    gates = {one["gate"]: one for one in plan["gates"]}
    assert gates["backtest"]["verdict"] == "inconclusive"
    assert "was not back-tested by the release's pipelines" in gates["backtest"]["sentence"]
    shop.apply()
